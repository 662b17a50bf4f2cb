"""Record docs/demo.svg: `models-proxy demo`, and some of the commands that it prints, run by a real shell.

    .venv/bin/python scripts/record_demo.py [FILE]

The picture is reproducible except for the version: the random keys, the port and the ETag are replaced, and the rows of
providers, which respond in random order, are sorted. Lines that are too long for the picture end in `…`.
"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from html import unescape
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

ROOT = Path(__file__).parent.parent
WIDTH = 88
SHOWN = ("Merged", "Call", "Two providers", "Access rules", "A model that a key cannot", "Missing", "304")
"""First words of the commands' titles in the picture."""
_CELL = 12.2
"""The width of a character in pictures of rich."""


def record() -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """The start table of the demo, and for each command in the picture: its title, the command, its output."""
    with subprocess.Popen(
        [sys.executable, "-m", "proxy", "demo", "--port", "0"],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1"},
    ) as process:
        assert process.stdout is not None
        try:
            output = [line.rstrip("\n") for line in _until(process.stdout, "Press Ctrl-C")]
            commands = [
                (line[2:], _command_at(output, n + 1)) for n, line in enumerate(output) if line.startswith("# ")
            ]
            tried = [(shows, line, _run(line)) for shows, line in commands if shows.startswith(SHOWN)]
        finally:
            process.send_signal(signal.SIGINT)
    assert len(tried) == len(SHOWN), "the demo does not print a command that the picture shows"
    start = output[1 : next(number for number, line in enumerate(output) if line.startswith("Commands "))]
    ok = sorted(line for line in start if line.startswith("  ok "))
    return [output[0], *ok, *(line for line in start if line not in ok)][:-1], tried


def _until(lines: Iterable[str], last: str) -> Iterator[str]:
    for line in lines:
        yield line
        if line.startswith(last):
            return


def _command_at(output: list[str], number: int) -> str:
    """A command ends at an empty line."""
    return "\n".join(output[number : output.index("", number)])


def _run(line: str) -> list[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
    done = subprocess.run(["/bin/sh", "-ec", line], env=env, capture_output=True, encoding="utf-8", check=True)  # noqa: S603
    return done.stdout.splitlines()


def draw(start: list[str], tried: list[tuple[str, str, list[str]]]) -> str:
    """The picture, as SVG without external fonts."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(_command("models-proxy demo"))
    for line in start:
        console.print(_row(line), no_wrap=True, overflow="ellipsis")
    for shows, line, printed in tried:
        console.print()
        console.print(Text(f"# {shows}", style="bright_black"))
        console.print(_command(_steady(line)), overflow="fold")
        for answer in printed:
            console.print(Text(_steady(answer)), no_wrap=True, overflow="ellipsis")
    svg = console.export_svg(title="models-proxy demo", theme=SVG_EXPORT_THEME, unique_id="demo")
    svg = re.sub(r"\s*@font-face \{.*?\}\n", "\n", svg, flags=re.DOTALL)
    svg = re.sub(r'textLength="[\d.]+"( [^>]*>)([^<]+)<', _measured, svg)
    # Otherwise some viewers drop leading spaces, including non-breaking ones.
    return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)


def _measured(match: re.Match[str]) -> str:
    """A text with its real width: rich counts characters, but Chinese ones are two cells wide."""
    return f'textLength="{cell_len(unescape(match[2])) * _CELL:g}"{match[1]}{match[2]}<'


def _command(line: str) -> Text:
    return Text.assemble(("$ ", "green"), (line, "bold"))


def _row(line: str) -> Text:
    text = Text(_steady(line))
    text.highlight_regex(r"^  ok ", "green")
    text.highlight_regex(r"^  failing ", "yellow")
    return text


def _steady(text: str) -> str:
    """Replace the values that differ on each run, and the ETag, which every change of the list changes."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8000", text)
    text = re.sub(r"\b(ops|team|solo)-[\w-]{8}", r"\1-xxxxxxxx", text)
    return re.sub(r'"[0-9a-f]{32}"', '"xxxxxxxx"', text)


if __name__ == "__main__":
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "demo.svg"
    picture.write_text(draw(*record()), encoding="utf-8")
