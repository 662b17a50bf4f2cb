"""Output in a thread: order, dropped lines, and log records without secrets."""

from __future__ import annotations

import logging
import threading

from proxy.server.output import LineHandler, LineWriter

TIMEOUT = 10.0


class Destination:
    """Collects what is written, is full while `is_full`, and blocks until `opened` is set."""

    def __init__(self) -> None:
        self.text = ""
        self.is_full = False
        self.opened = threading.Event()
        self.opened.set()
        self.calls = threading.Semaphore(0)

    def write(self, text: str) -> None:
        self.calls.release()
        assert self.opened.wait(TIMEOUT)
        if self.is_full:
            raise OSError
        self.text += text

    def wait_for_call(self) -> None:
        assert self.calls.acquire(timeout=TIMEOUT)


def test_lines_are_written_in_order_before_close_returns() -> None:
    destination = Destination()
    writer = LineWriter(destination.write)
    for number in range(5):
        writer.line(f"line {number}")
    writer.close(TIMEOUT)

    assert destination.text == "".join(f"line {number}\n" for number in range(5))


def test_lines_beyond_the_limit_are_dropped_and_counted_after_the_last_line_before_them() -> None:
    destination = Destination()
    destination.opened.clear()
    writer = LineWriter(destination.write, max_lines=2)
    writer.line("being written")
    destination.wait_for_call()
    for number in range(5):
        writer.line(f"line {number}")
    destination.opened.set()
    writer.close(TIMEOUT)

    dropped = "output: dropped 3 lines, because writing was blocked or failed\n"
    assert destination.text == f"being written\nline 0\nline 1\n{dropped}"


def test_lines_that_cannot_be_written_are_counted_as_soon_as_writing_works_again() -> None:
    destination = Destination()
    destination.is_full = True
    writer = LineWriter(destination.write)
    for number in range(3):
        writer.line(f"line {number}")
        destination.wait_for_call()
    destination.is_full = False
    writer.line("after")
    writer.close(TIMEOUT)

    assert destination.text == "after\noutput: dropped 3 lines, because writing was blocked or failed\n"


def test_close_does_not_wait_for_a_destination_that_blocks() -> None:
    destination = Destination()
    destination.opened.clear()
    writer = LineWriter(destination.write)
    writer.line("never read")
    destination.wait_for_call()
    writer.close(timeout=0.01)
    writer.line("after the end")
    destination.opened.set()


def logged(*arguments: object, error: Exception | None = None) -> list[str]:
    lines: list[str] = []
    record = logging.LogRecord("models_proxy", logging.ERROR, "file.py", 1, arguments[0], arguments[1:], None)
    if error:
        try:
            raise error
        except Exception as raised:
            record.exc_info = (type(raised), raised, raised.__traceback__)
    LineHandler(lines.append).emit(record)
    return lines


def test_exceptions_are_logged_without_their_text() -> None:
    (line,) = logged("task failed", error=ValueError("sk-canary-in-a-text"))

    first, *stack = line.splitlines()
    assert first.endswith(" ERROR models_proxy: task failed")
    assert stack[0] == "ValueError"
    assert "in logged" in stack[1]
    assert "canary" not in line


def test_an_invalid_log_record_is_one_line_without_its_values() -> None:
    assert logged("%d", "sk-canary-value") == ["ERROR models_proxy: invalid log record (TypeError)"]
