"""Terminal output of every command: help, colors, 80 columns, pipes, completion."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from proxy.cli.main import COMMANDS, main
from proxy.cli.text import width_of
from tests.paths import ROOT
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders, delayed, replies

LONG = "accounts/fireworks/models/" + "llama-v3p1-405b-instruct-" * 4 + "end"
CHINESE = "一个非常长的中文模型名称" * 6
ESCAPE = "\x1b"
NAMES = list(COMMANDS)
ALL = [*NAMES, "keys add", "keys rotate", "keys revoke", "keys list"]


@pytest.fixture
def config(tmp_path: Path, upstreams: FakeProviders) -> Path:
    """Two providers that list the same awkward ids, and one that fails with a long reason."""
    awkward = delayed(0.3, lists({"id": LONG, "created": 1715367049}, CHINESE, "gpt-4o"))
    wordy = replies({"error": {"message": "some words " * 15}}, 400)
    file = tmp_path / "config.yaml"
    file.write_text(
        f"""
providers:
  - {{name: a-provider-with-a-rather-long-name, base_url: "{upstreams.open(awkward).url}"}}
  - {{name: b, base_url: "{upstreams.open(awkward).url}"}}
  - {{name: refusing, base_url: "{upstreams.open(wordy).url}"}}
""",
        encoding="utf-8",
    )
    return file


def on_terminal(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit code and everything that a terminal of 80 columns receives."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    process = subprocess.Popen(  # noqa: S603  # our own command
        [sys.executable, "-m", "proxy", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**environ, "TERM": "xterm-256color", "PYTHONUTF8": "1", **(env or {})},
    )
    os.close(theirs)
    received = b"".join(_until_closed(ours))
    os.close(ours)
    return process.wait(30), received.decode().replace("\r\n", "\n")


def _until_closed(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux: no process has it open any more
            return
        if not data:
            return
        yield data


def without_escapes(output: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)


def report_lines(output: str) -> list[str]:
    """The report without the progress line, which is redrawn and finally erased."""
    return without_escapes(output.rpartition("\r")[2]).splitlines()


# -- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ALL)
def test_help_of_each_command_has_examples_and_fits_80_columns(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert re.search(rf"(?m)^  Examples?:\n    .*models-proxy {command}", result.stdout)
    assert [line for line in result.stdout.splitlines() if len(line) > 80] == []


def test_help_without_a_command_lists_all_commands_with_complete_sentences() -> None:
    result = CliRunner().invoke(main, [], terminal_width=80)
    assert (result.exit_code, result.stdout) == (2, "")
    shown = re.findall(r"(?m)^  ([a-z]+) +(.+)$", result.stderr.partition("Commands:")[2])
    assert [name for name, _ in shown] == NAMES
    assert [sentence for _, sentence in shown if not sentence.endswith(".") or sentence.endswith("...")] == []
    assert [line for line in result.stderr.splitlines() if len(line) > 80] == []


def command_named(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def test_examples_in_help_texts_use_existing_commands_and_options() -> None:
    example = r"(?m)^    (?:\S*=\S* |eval .*\()?models-proxy ([a-z]+)([^|\n)>]*)"
    helps = [CliRunner().invoke(main, [*name.split(), "--help"]).stdout for name in ("", *ALL)]
    examples = [match for text in helps for match in re.findall(example, text)]
    assert len(examples) > 10
    for name, rest in examples:
        command = command_named(name)
        if isinstance(command, click.Group):
            command = command.commands[rest.split()[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<= )--[a-z-]+", rest)) <= known | {"--help"}


# -- terminals and pipes -----------------------------------------------------------------------------------------------


def test_check_on_a_terminal_shows_progress_and_colors_and_fits_80_columns(config: Path) -> None:
    code, output = on_terminal("check", "--config", str(config))
    assert code == 1
    assert "waiting for a-provider-with" in without_escapes(output)
    assert f"{ESCAPE}[32m" in output
    lines = report_lines(output)
    assert [line for line in lines if width_of(line) > 80] == []
    assert "waiting for" not in "".join(lines), "the progress is erased"
    report = "".join("".join(line.split("  ")[0].split()) for line in lines)
    assert LONG in report, "a long id is folded, not truncated"
    assert CHINESE in report
    assert any(line.startswith("Error: 1 provider failed: refusing; ") for line in lines)


@pytest.mark.parametrize(
    "env", [pytest.param({"NO_COLOR": "1"}, id="NO_COLOR"), pytest.param({"TERM": "dumb"}, id="a dumb terminal")]
)
def test_output_without_colors_has_no_style_at_all(env: Mapping[str, str], config: Path) -> None:
    _, output = on_terminal("check", "--config", str(config), env=env)
    assert re.findall(r"\x1b\[[0-9;]*m", output) == []


def test_output_in_a_pipe_is_not_colored_folded_or_truncated(config: Path) -> None:
    result = CliRunner().invoke(main, ["check", "--config", str(config)], env={"FORCE_COLOR": "1", "COLUMNS": "40"})
    assert ESCAPE not in result.output
    lines = result.stdout.splitlines()
    assert {LONG, CHINESE} <= {line.split(" ")[0] for line in lines}
    assert [line for line in lines if line != line.rstrip()] == []


def test_characters_that_the_encoding_does_not_contain_are_escaped(config: Path) -> None:
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "proxy", "check", "--config", str(config)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False)
    assert b"\\u4e00\\u4e2a" in done.stdout


# -- completion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "registers"),
    [
        pytest.param("bash", "complete -o nosort -F _models_proxy_completion models-proxy", id="bash"),
        pytest.param("zsh", "compdef _models_proxy_completion models-proxy", id="zsh"),
        pytest.param("fish", "complete --no-files --command models-proxy", id="fish"),
    ],
)
def test_the_completion_script_of_a_shell_is_printed(shell: str, registers: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert (result.exit_code, result.stderr) == (0, "")
    assert registers in result.stdout


def test_the_bash_script_completes_commands_and_options(tmp_path: Path) -> None:
    command = tmp_path / "models-proxy"
    starts = "from proxy.cli.main import main; main(prog_name='models-proxy')"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{starts}" "$@"\n')
    command.chmod(0o755)
    script = """
eval "$(models-proxy completion bash)"
complete_() { COMP_WORDS=(models-proxy "$@"); COMP_CWORD=$#; COMPREPLY=(); _models_proxy_completion models-proxy; }
complete_ ke; echo "${COMPREPLY[@]}"
complete_ check --js; echo "${COMPREPLY[@]}"
complete_ completion z; echo "${COMPREPLY[@]}"
complete_ keys ro; echo "${COMPREPLY[@]}"
"""
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # noqa: S603
        ["/bin/bash", "-c", script], capture_output=True, text=True, env=environ, cwd=tmp_path, check=True
    )
    assert (done.stdout.splitlines(), done.stderr) == (["keygen keys", "--json", "zsh", "rotate"], "")


def test_an_unknown_shell_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not one of 'bash', 'zsh', 'fish'" in result.stderr
