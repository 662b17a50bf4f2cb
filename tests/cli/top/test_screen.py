"""The terminal of `top`: what it receives, keys, and that it is always restored."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest

from proxy.cli.terminal import Output, Styled
from proxy.cli.top.screen import TerminalScreen, opened

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J", "\x1b[?7h\x1b[?25h\x1b[?1049l"


class Terminal:
    """A terminal of 90 columns and 30 lines."""

    def __init__(self) -> None:
        self._user, self._program = pty.openpty()
        fcntl.ioctl(self._program, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        self.stdin: TextIO = os.fdopen(self._program, encoding="utf-8", closefd=False)
        self.stdout: TextIO = os.fdopen(self._program, "w", encoding="utf-8", closefd=False)
        self.output = Output(self.stdout)

    def types(self, text: str) -> None:
        os.write(self._user, text.encode())

    def receives(self, text: str) -> bool:
        """Wait for as many characters, and return whether they are these."""
        received = b""
        while len(received) < len(text.encode()):
            received += os.read(self._user, len(text.encode()) - len(received))
        return received.decode() == text

    def modes(self) -> list[object]:
        return list(termios.tcgetattr(self._program))

    def close(self) -> None:
        for stream in (self.stdin, self.stdout):
            stream.close()
        for each in (self._user, self._program):
            os.close(each)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_lines_are_written_in_the_alternate_screen_once(terminal: Terminal) -> None:
    with opened(terminal.output, terminal.stdin, terminal.stdout) as screen:
        assert (screen.size(), screen.has_keys) == ((90, 30), True)
        for _ in range(2):
            screen.show([[Styled("ok", "green"), Styled("  lab")], []])
        screen.show([[Styled("end")]])

    shown = "\x1b[H\x1b[32mok\x1b[0m  lab\x1b[K\r\r\n\x1b[K\x1b[J" + "\x1b[Hend\x1b[K\x1b[J"  # `\r\n` of the terminal
    assert terminal.receives(ENTER + shown + LEAVE)


def test_keys_are_read_without_a_line_end_and_special_keys_are_ignored(terminal: Terminal) -> None:
    with opened(terminal.output, terminal.stdin, terminal.stdout) as screen:
        terminal.types("sq")
        assert screen.keys(None) == "sq"
        terminal.types("\x1b[A")
        assert screen.keys(None) == ""
        assert screen.keys(0.0) == ""
        screen.wake()
        assert screen.keys(None) == ""


def test_another_size_of_the_terminal_ends_the_wait(terminal: Terminal) -> None:
    with opened(terminal.output, terminal.stdin, terminal.stdout) as screen:
        os.kill(os.getpid(), signal.SIGWINCH)
        assert screen.keys(None) == ""


def test_without_keys_it_waits_only(terminal: Terminal) -> None:
    with open(os.devnull, encoding="utf-8") as stdin, opened(terminal.output, stdin, terminal.stdout) as screen:
        terminal.types("q")
        assert (screen.has_keys, screen.keys(0.0)) == (False, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal_and_ends_the_process(number: signal.Signals, terminal: Terminal) -> None:
    before, handlers = terminal.modes(), [signal.getsignal(each) for each in signal.valid_signals()]

    def signaled() -> None:
        with opened(terminal.output, terminal.stdin, terminal.stdout) as screen:
            assert terminal.modes() != before
            os.kill(os.getpid(), number)
            screen.keys(None)

    with pytest.raises(SystemExit) as ended:
        signaled()
    assert (ended.value.code, terminal.modes()) == (128 + number, before)
    assert terminal.receives(ENTER + LEAVE)
    assert [signal.getsignal(each) for each in signal.valid_signals()] == handlers


def test_a_bug_restores_the_terminal(terminal: Terminal) -> None:
    before = terminal.modes()
    with pytest.raises(KeyError), opened(terminal.output, terminal.stdin, terminal.stdout):
        raise KeyError("bug")

    assert terminal.modes() == before
    assert terminal.receives(ENTER + LEAVE)


def test_a_full_pipe_of_wakes_does_not_block(terminal: Terminal) -> None:
    screen = TerminalScreen(terminal.output, terminal.stdin, terminal.stdout)
    for _ in range(70_000):
        screen.wake()

    assert screen.keys(None) == ""
