"""Write lines of output and of the log in a thread, so that a full pipe or a full disk never blocks the event loop."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TextIO, TypeVar

from proxy.telemetry.lines import dropped_text

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

MAX_LINES = 2000
"""Lines that wait to be written. Further ones are dropped and counted."""
_CHUNK = 20
"""Lines that are rendered and written at once: other threads have to wait while lines are rendered."""
_PAUSE = 0.05
"""Seconds in which further lines are collected: waking the thread for each line would cost more than the line."""

Print = Callable[[str], None]
"""Prints a line."""


class Writer(Protocol[T_contra]):
    """Writes lines. Never blocks and never raises."""

    total_dropped: int

    def line(self, line: T_contra) -> None:
        """Write a line soon, or drop it."""

    def close(self) -> None: ...


class LineWriter(Generic[T]):
    """Renders and writes lines in a thread of its own. Never blocks and never raises."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        render: Callable[[T], bytes],
        dropped: Callable[[int], bytes],
        *,
        max_lines: int = MAX_LINES,
        pause: float = _PAUSE,
    ) -> None:
        """`write` can block, and raise OSError; `render` returns a line without its end; `dropped` returns the line
        after this many lines that could not be written."""
        self.total_dropped = 0
        """Lines that were dropped since the start."""
        self._write = write
        self._render = render
        self._dropped_line = dropped
        self._max_lines = max_lines
        self._pause = pause
        self._lines: deque[T] = deque()
        # Reentrant: a signal handler may log while the main thread is in `line`.
        self._changed = threading.Condition(threading.RLock())
        self._unreported = 0
        self._is_closed = False
        self._is_awake = False
        """Whether the thread will look at the lines again before it waits. Set to False only by the thread."""
        self._thread: threading.Thread | None = None

    def line(self, line: T) -> None:
        """Write a line soon, or drop it if too many are waiting."""
        if len(self._lines) >= self._max_lines or self._is_closed:
            self._drop(1)
            return
        self._lines.append(line)
        if not self._is_awake:
            self._wake()

    def close(self, timeout: float = 1.0) -> None:
        """Write the lines that are waiting, for at most `timeout` seconds."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join(timeout)

    def _drop(self, number: int) -> None:
        with self._changed:
            self._unreported += number
            self.total_dropped += number

    def _wake(self) -> None:
        with self._changed:
            self._is_awake = True
            if self._thread is None:
                # A daemon, because it may be blocked when the process ends.
                self._thread = threading.Thread(target=self._run, name="output", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while self._wait():
            while self._lines:
                chunk = [self._lines.popleft() for _ in range(min(_CHUNK, len(self._lines)))]
                if self._writes(chunk) and not self._lines:
                    self._report_dropped()
            with self._changed:
                if not self._is_closed:
                    self._changed.wait(self._pause)

    def _wait(self) -> bool:
        """Wait for lines. Returns False after `close`, when all are written."""
        with self._changed:
            while not self._lines:
                if self._is_closed:
                    return False
                self._is_awake = False
                if not self._lines:  # none was added by a thread that saw `_is_awake` before
                    self._changed.wait()
            self._is_awake = True
            return True

    def _writes(self, lines: list[T]) -> bool:
        """Write lines; count them if that fails."""
        try:
            self._write(b"".join([self._rendered(line) for line in lines]))
        except OSError:
            self._drop(len(lines))
            return False
        return True

    def _rendered(self, line: T) -> bytes:
        try:
            return self._render(line) + b"\n"
        except Exception as error:  # a bug: the thread must go on, and the line can contain a secret
            return f"output: a line could not be rendered ({type(error).__name__})\n".encode()

    def _report_dropped(self) -> None:
        """Write how many lines were dropped, after the last line before them."""
        with self._changed:
            dropped, self._unreported = self._unreported, 0
        if dropped:
            try:
                self._write(self._dropped_line(dropped) + b"\n")
            except OSError:
                with self._changed:
                    self._unreported += dropped


class DirectWriter(Generic[T]):
    """Writes lines at once, without a thread: for a process that has few, and is copied (`os.fork`).

    A line that would block is dropped.
    """

    def __init__(
        self, write: Callable[[bytes], None], render: Callable[[T], bytes], dropped: Callable[[int], bytes]
    ) -> None:
        """See `LineWriter`. `write` must raise BlockingIOError instead of blocking."""
        self.total_dropped = 0
        self._write = write
        self._render = render
        self._dropped_line = dropped
        self._unreported = 0

    def line(self, line: T) -> None:
        try:
            self._write(self._render(line) + b"\n")
            if self._unreported:
                self._write(self._dropped_line(self._unreported) + b"\n")
                self._unreported = 0
        except OSError:
            self.total_dropped += 1
            self._unreported += 1

    def close(self) -> None:
        """Nothing waits."""


@contextmanager
def output(stream: TextIO | None, number: int) -> Iterator[Print]:
    """Print lines to a standard descriptor in a thread; nowhere if `stream`, that of Python, was closed (None)."""
    if stream is None:
        yield lambda line: None
        return
    encoding = stream.encoding

    def encoded(text: str) -> bytes:
        # Providers send text in any language, which the encoding of the terminal may not support.
        return text.encode(encoding, "backslashreplace")

    writer = LineWriter(descriptor(number), encoded, lambda dropped: encoded(dropped_text(dropped)))
    try:
        yield writer.line
    finally:
        writer.close()


def descriptor(number: int) -> Callable[[bytes], None]:
    """Return a function that writes to a file descriptor, and raises OSError."""

    def write(data: bytes) -> None:
        _write_all(number, data)

    return write


def unblocked(number: int) -> Callable[[bytes], None]:
    """Return a function that writes to a file descriptor, and raises OSError, also if that would block."""

    def write(data: bytes) -> None:
        if not select.select((), (number,), (), 0)[1]:
            raise BlockingIOError
        os.write(number, data[: select.PIPE_BUF])  # a pipe that is writable has room for that

    return write


def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything. Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # the terminal or pipe of a parent process that uses it without blocking
            select.select((), (descriptor,), ())
