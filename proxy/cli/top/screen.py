"""The terminal of `top`: the alternate screen with plain escape sequences, and single keys. POSIX only."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

from proxy.cli.terminal import Output
from proxy.cli.top.layout import Line

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
"""Alternate screen, no cursor, no wrapped lines: texts that are wider than expected are cut."""
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_ESCAPE = b"\x1b"
_END = (signal.SIGTERM, signal.SIGHUP)
_KEYS = 64
"""Maximum bytes of one read."""


class TerminalScreen:
    """Stdout in the alternate screen, and keys from stdin if it is a terminal. Use `opened`."""

    def __init__(self, output: Output, stdin: TextIO, stdout: TextIO) -> None:
        self._output = output
        self._stdin = stdin.fileno() if stdin.isatty() else None
        self._stdout = stdout.fileno()
        self.has_keys = self._stdin is not None
        self._modes = None if self._stdin is None else termios.tcgetattr(self._stdin)
        self._awake, self._waker = os.pipe()  # never closed: a thread may use it until the process ends
        os.set_blocking(self._awake, False)
        os.set_blocking(self._waker, False)
        self._shown = ""
        self._must_stop = False

    def size(self) -> tuple[int, int]:
        """At least one column and two lines."""
        size = os.get_terminal_size(self._stdout)
        return (size.columns or 80), max(2, size.lines or 24)

    def show(self, lines: Sequence[Line]) -> None:
        texts = ("".join(map(self._output.style, line)) + _ERASE_LINE for line in lines)
        text = _HOME + "\r\n".join(texts) + _ERASE_BELOW
        if text != self._shown:
            self._output.write(text)
            self._shown = text

    def keys(self, timeout: float | None) -> str | None:
        sources = [self._awake] if self._stdin is None else [self._awake, self._stdin]
        ready, _, _ = select.select(sources, [], [], timeout)
        if self._awake in ready:
            os.read(self._awake, _KEYS)
        if self._must_stop:
            self._stop()
            return ""
        if self._stdin not in ready:
            return ""
        data = os.read(self._stdin, _KEYS) if self._stdin is not None else b""
        if not data:
            return None
        # Arrows and other special keys send escape sequences; their letters are not keys.
        return "" if data.startswith(_ESCAPE) else data.decode("ascii", "ignore")

    def wake(self) -> None:
        """End `keys`. Can be called in any thread."""
        with suppress(BlockingIOError):  # the pipe is full, so `keys` wakes up anyway
            os.write(self._waker, b".")

    # -- modes of the terminal -----------------------------------------------------------------------------------------

    def enter(self) -> None:
        if self._stdin is not None:
            tty.setcbreak(self._stdin)
        self._output.write(_ENTER)
        self._shown = ""

    def leave(self) -> None:
        with suppress(OSError, termios.error):  # the terminal was closed
            self._output.write(_LEAVE)
            if self._stdin is not None and self._modes is not None:
                termios.tcsetattr(self._stdin, termios.TCSADRAIN, self._modes)

    def stop_soon(self, number: int, frame: FrameType | None) -> None:
        """Stop the process in `keys`: the signal handler can run during a write."""
        self._must_stop = True
        self.wake()

    def _stop(self) -> None:
        """Stop the process (Ctrl-Z) with a restored terminal, and continue later."""
        self._must_stop = False
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.enter()


@contextmanager
def opened(output: Output, stdin: TextIO, stdout: TextIO) -> Iterator[TerminalScreen]:
    """Open a screen. The terminal is restored however the block ends; SIGTERM and SIGHUP raise SystemExit.

    `output` writes to `stdout`, which is a terminal; `stdin` may be one.
    """
    screen = TerminalScreen(output, stdin, stdout)
    handlers = {
        **dict.fromkeys(_END, _exit),
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTSTP: screen.stop_soon,
        signal.SIGWINCH: lambda number, frame: screen.wake(),
    }
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        screen.enter()
        yield screen
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        screen.leave()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
