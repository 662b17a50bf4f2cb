"""Which bytes are parsed at once: one complete head, and at most its body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest

from proxy.config.limits import Limits
from proxy.errors import ApiError
from proxy.server.read_turns import ReadTurns
from proxy.server.receiver import Receiver
from proxy.server.timeouts import Timeouts

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def is_simple(data: bytes, *, max_head: int = 1000) -> bool:
    connection: Any = None  # nothing is parsed
    timeouts = Timeouts(connection, Limits(), asyncio.get_running_loop())
    return Receiver(connection, timeouts, max_head).is_simple(data)


def each(*cases: bytes) -> Iterable[bytes]:
    return cases


@pytest.mark.parametrize("data", each(GET, POST, POST + b"ab", POST + b"abcd", POST.replace(b"-L", b"-l") + b"abcd"))
async def test_a_complete_head_with_at_most_its_body_is_parsed_at_once(data: bytes) -> None:
    assert is_simple(data)


@pytest.mark.parametrize(
    "data",
    each(
        b"", b"GE", b"\r\n", GET[:-1], GET + b"G", GET + GET, POST + b"abcdG", POST + b"abcd" + GET,
        POST.replace(b": 4", b": four") + b"ab", POST.replace(b"Content-Length: 4", b"TE: x") + b"ab",
    ),
)  # fmt: skip
async def test_other_bytes_are_parsed_in_pieces(data: bytes) -> None:
    assert not is_simple(data)


async def test_a_head_that_is_larger_than_the_limit_is_parsed_in_pieces() -> None:
    assert [is_simple(POST + b"abcd", max_head=size) for size in (len(POST), len(POST) - 1)] == [True, False]


class FakeConnection:
    """Records what is parsed, which error is sent, and whether bytes are read."""

    def __init__(self) -> None:
        self.fed = 0
        self.refusals: list[str] = []
        self.is_reading = True
        self.is_full = False
        self.is_closed = False
        self.timers: list[Callable[[], None]] = []
        self.read_turns = ReadTurns()
        self.url = b"/"
        self.cycle = None
        self.share = None
        self.request_headers = ()
        self.parser = self.flow = self.transport = self.loop = self

    def feed(self, data: bytes | memoryview) -> None:
        self.fed += len(data)

    def refuse(self, error: ApiError) -> None:
        self.refusals.append(error.code)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def call_later(self, seconds: float, callback: Callable[..., None], *arguments: object) -> None:
        self.timers.append(partial(callback, *arguments))

    def time(self) -> float:
        return 0.0


def receiver(connection: Any) -> tuple[Receiver, Timeouts]:
    timeouts = Timeouts(connection, Limits(), connection.loop)
    return Receiver(connection, timeouts, 32 * 1024), timeouts


async def test_fields_beyond_the_limit_are_not_parsed() -> None:
    whole, parts = FakeConnection(), FakeConnection()
    head = b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 5000

    receiver(whole)[0].receive(head)
    dripped, _ = receiver(parts)
    for at in range(0, 1200, 60):
        dripped.receive(head[at : at + 60])
        if parts.refusals:
            break

    assert (whole.fed, whole.refusals) == (0, ["request_headers_too_large"])
    assert (parts.fed, parts.refusals) == (602, ["request_headers_too_large"])
    assert not is_simple(b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 500 + b"\r\n", max_head=32 * 1024)
    assert is_simple(b"GET / HTTP/1.1\r\n" + b"X: %b\r\n" % (b"1" * 90) * 100 + b"\r\n", max_head=32 * 1024)


async def test_what_follows_a_refused_request_is_read_slowly_and_only_up_to_a_limit() -> None:
    connection = FakeConnection()
    reading, timeouts = receiver(connection)
    timeouts.begin_lingering()
    is_reading = []
    for _ in range(4):
        reading.receive(bytes(256 * 1024))
        is_reading.append(connection.is_reading)
        connection.timers.pop()()
        is_reading.append(connection.is_reading)
    reading.receive(b"x")

    assert is_reading == [False, True] * 4
    assert (connection.is_closed, connection.fed) == (True, 0)


async def test_refused_requests_are_read_in_turns() -> None:
    loop: Any = FakeConnection()
    first, closed, second = connections = [FakeConnection(), FakeConnection(), FakeConnection()]
    turns = ReadTurns()
    transport: Any
    for transport in connections:
        turns.add(transport, loop)
    closed.close()
    states = []
    while loop.timers:
        loop.timers.pop()()
        states.append((first.is_reading, closed.is_reading, second.is_reading, len(loop.timers)))

    assert states == [(True, False, False, 1), (True, False, True, 0)]
