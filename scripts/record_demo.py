"""Record docs/demo.svg: `models-proxy demo`, and some of the commands that it prints, run by a real shell.

    .venv/bin/python scripts/record_demo.py [FILE]

The picture is reproducible except for the version: the random keys, the port and the ETag are replaced, and the rows of
providers, which respond in random order, are sorted. Lines that are too long for the picture end in `…`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from proxy.cli.text import width_of, wrap

ROOT = Path(__file__).parent.parent
WIDTH = 88
SHOWN = ("Merged", "Call", "Two providers", "Access rules", "A model that a key cannot", "Missing", "304")
"""First words of the commands' titles in the picture."""
_CELL, _LINE, _MARGIN, _TITLE = 12.2, 24.4, 10, 40
"""Widths and heights in the picture: of a character, a line, the margin, the title."""
_STYLE = """\
<style>
text{font:20px "Fira Code",monospace;fill:#c5c8c6;white-space:pre}.title{font:bold 18px sans-serif;text-anchor:middle}
.command{font-weight:bold}.prompt,.ok{fill:#98a84b}.failing{fill:#d0b344}.comment{fill:#9a9b99}
</style>"""
_BUTTONS = "".join(
    f'<circle cx="{x}" cy="22" r="7" fill="{fill}"/>' for x, fill in ((26, "#ff5f57"), (48, "#febc2e"), (70, "#28c840"))
)

Row = list[tuple[str, str]]
"""A line of the picture: its parts, each with a style."""


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
    rows = [*_command("models-proxy demo"), *map(_start_row, start)]
    for shows, line, printed in tried:
        rows += [[], [("comment", f"# {shows}")], *_command(_steady(line))]
        rows += [[("output", _shortened(_steady(answer)))] for answer in printed]
    width, height = WIDTH * _CELL + 2 * _MARGIN, len(rows) * _LINE + _TITLE + 2 * _MARGIN
    texts = (text for number, row in enumerate(rows, 1) for text in _texts(row, _TITLE + number * _LINE))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width:g} {height:g}">',
            _STYLE,
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#292929"/>{_BUTTONS}',
            f'<text class="title" x="{width / 2:g}" y="27">models-proxy demo</text>',
            *texts,
            "</svg>\n",
        ]
    )


def _texts(row: Row, y: float) -> Iterator[str]:
    """Each part with its real width: Chinese characters are two cells wide in a terminal, but not in every font."""
    x = 0
    for style, text in row:
        # Some viewers drop leading spaces, but no non-breaking ones.
        words = escape(text).replace(" ", "&#160;")
        place = f'x="{_MARGIN + x * _CELL:g}" y="{y:g}" textLength="{width_of(text) * _CELL:g}"'
        yield f'<text class="{style}" {place}>{words}</text>'
        x += width_of(text)


def _command(line: str) -> list[Row]:
    first, *others = (part for line in line.split("\n") for part in wrap(line, WIDTH - 2))
    return [[("prompt", "$ "), ("command", first)], *([("command", other)] for other in others)]


def _start_row(line: str) -> Row:
    """A line of the start table, with its state in color."""
    text = _shortened(_steady(line))
    state = re.match("  (ok|failing) ", text)
    return [(state[1], state[0]), ("output", text[state.end() :])] if state else [("output", text)]


def _shortened(text: str) -> str:
    """The text, or as much of it as fits the picture, with `…`."""
    if width_of(text) <= WIDTH:
        return text
    while width_of(text) >= WIDTH:
        text = text[:-1]
    return f"{text}…"


def _steady(text: str) -> str:
    """Replace the values that differ on each run, and the ETag, which every change of the list changes."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8000", text)
    text = re.sub(r"\b(ops|team|solo)-[\w-]{8}", r"\1-xxxxxxxx", text)
    return re.sub(r'"[0-9a-f]{32}"', '"xxxxxxxx"', text)


if __name__ == "__main__":
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "demo.svg"
    picture.write_text(draw(*record()), encoding="utf-8")
