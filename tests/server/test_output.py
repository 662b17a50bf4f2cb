"""Output in a thread: order, dropped lines, and destinations that block or fail."""

from __future__ import annotations

import threading
from collections.abc import Callable

from proxy.server.output import LineWriter

TIMEOUT = 30.0


class Destination:
    """Collects what is written, is full while `is_full`, and blocks until `opened` is set."""

    def __init__(self) -> None:
        self.text = ""
        self.is_full = False
        self.opened = threading.Event()
        self.opened.set()
        self.calls = threading.Semaphore(0)

    def write(self, data: bytes) -> None:
        self.calls.release()
        assert self.opened.wait(TIMEOUT)
        if self.is_full:
            raise OSError
        self.text += data.decode()

    def wait_for_call(self) -> None:
        assert self.calls.acquire(timeout=TIMEOUT)


def writer_to(destination: Destination, max_lines: int = 100) -> LineWriter[str]:
    return LineWriter(
        destination.write, str.encode, lambda number: b"dropped %d" % number, max_lines=max_lines, pause=0
    )


def test_lines_are_written_in_order_before_close_returns() -> None:
    destination = Destination()
    writer = writer_to(destination)
    for number in range(50):
        writer.line(f"line {number}")
    writer.close(TIMEOUT)

    assert destination.text == "".join(f"line {number}\n" for number in range(50))


def test_lines_of_several_threads_are_all_written_once() -> None:
    destination = Destination()
    writer = writer_to(destination, max_lines=10_000)

    def write(name: str) -> None:
        for number in range(500):
            writer.line(f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close(TIMEOUT)

    lines = destination.text.splitlines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name} {number}" for number in range(500)]


def test_lines_beyond_the_limit_are_dropped_and_counted_after_the_last_line_before_them() -> None:
    destination = Destination()
    destination.opened.clear()
    writer = writer_to(destination, max_lines=2)
    writer.line("being written")
    destination.wait_for_call()
    for number in range(5):
        writer.line(f"line {number}")
    destination.opened.set()
    writer.close(TIMEOUT)

    assert destination.text == "being written\nline 0\nline 1\ndropped 3\n"
    assert writer.total_dropped == 3


def test_lines_that_cannot_be_written_are_counted_as_soon_as_writing_works_again() -> None:
    destination = Destination()
    destination.is_full = True
    writer = writer_to(destination)
    for number in range(3):
        writer.line(f"line {number}")
        destination.wait_for_call()
    destination.is_full = False
    writer.line("after")
    writer.close(TIMEOUT)

    assert destination.text == "after\ndropped 3\n"
    assert writer.total_dropped == 3


def test_close_does_not_wait_for_a_destination_that_blocks() -> None:
    destination = Destination()
    destination.opened.clear()
    writer = writer_to(destination)
    writer.line("never read")
    destination.wait_for_call()
    writer.close(timeout=0.01)
    writer.line("after the end")
    destination.opened.set()

    assert writer.total_dropped == 1


def test_a_line_that_cannot_be_rendered_is_replaced_without_its_text() -> None:
    destination = Destination()

    def render(line: str) -> bytes:
        raise ValueError(line)

    failing: Callable[[str], bytes] = render
    writer = LineWriter(destination.write, failing, lambda number: b"", pause=0)
    writer.line("sk-canary-in-a-line")
    writer.close(TIMEOUT)

    assert destination.text == "output: a line could not be rendered (ValueError)\n"
