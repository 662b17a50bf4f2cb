"""Write lines of output and of the log in a thread, so that a full pipe or a full disk never blocks the event loop."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from proxy.telemetry.formatter import LineFormatter

MAX_LINES = 1000
"""Lines that wait to be written. Further ones are dropped and counted."""

Print = Callable[[str], None]
"""Prints a line."""


class LineWriter:
    """Writes lines in a thread of its own. Never blocks and never raises."""

    def __init__(self, write: Callable[[str], None], max_lines: int = MAX_LINES) -> None:
        """`write` writes text; it can block, and raise OSError."""
        self._write = write
        self._max_lines = max_lines
        self._lines: deque[str] = deque()
        # Reentrant: a signal handler may log while the main thread is in `line`.
        self._changed = threading.Condition(threading.RLock())
        self._dropped = 0
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def line(self, line: str) -> None:
        """Write a line soon, or drop it if too many are waiting."""
        with self._changed:
            if len(self._lines) >= self._max_lines or self._is_closed:
                self._dropped += 1
                return
            self._lines.append(line)
            if self._thread is None:
                # A daemon, because it may be blocked when the process ends.
                self._thread = threading.Thread(target=self._run, name="output", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, timeout: float = 1.0) -> None:
        """Write the lines that are waiting, for at most `timeout` seconds."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        while lines := self._waiting():
            if self._writes(lines):
                self._report_dropped()

    def _waiting(self) -> list[str]:
        """Wait for lines and take them; none after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._is_closed)
            lines = [*self._lines]
            self._lines.clear()
            return lines

    def _writes(self, lines: list[str]) -> bool:
        """Write lines; count them if that fails."""
        try:
            self._write("".join(line + "\n" for line in lines))
        except OSError:
            with self._changed:
                self._dropped += len(lines)
            return False
        return True

    def _report_dropped(self) -> None:
        """Write how many lines were dropped, after the last line before them."""
        with self._changed:
            dropped, self._dropped = (0, self._dropped) if self._lines else (self._dropped, 0)
        if dropped:
            try:
                self._write(f"output: dropped {dropped} lines, because writing was blocked or failed\n")
            except OSError:
                with self._changed:
                    self._dropped += dropped


class LineHandler(logging.Handler):
    """Formats log records to lines."""

    def __init__(self, line: Print) -> None:
        super().__init__()
        self._line = line
        self.setFormatter(LineFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._line(self.format(record))
        except Exception as error:
            self._line(f"{record.levelname} {record.name}: invalid log record ({type(error).__name__})")


@contextmanager
def output(stream: TextIO | None, number: int) -> Iterator[Print]:
    """Print lines to a standard descriptor in a thread; nowhere if `stream`, that of Python, was closed (None)."""
    if stream is None:
        yield lambda line: None
        return
    encoding = stream.encoding

    def write(text: str) -> None:
        # Providers send text in any language, which the encoding of the terminal may not support.
        _write_all(number, text.encode(encoding, "backslashreplace"))

    writer = LineWriter(write)
    try:
        yield writer.line
    finally:
        writer.close()


def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything. Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # the terminal or pipe of a parent process that uses it without blocking
            select.select((), (descriptor,), ())
