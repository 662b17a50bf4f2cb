"""Clients that take too long to send a request are disconnected. Time is passed to the sweep of all connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, run_pending_tasks
from tests.listening import TIMEOUT, Served, post, serving, until
from tests.reliability.clients import GET, OPEN, Refusal, protocols, refusal, use_only_explicit_sweeps, with_limits

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

CONFIG = config_of(OPEN)
TIMED_OUT = Refusal(408, "request_timeout", closes=True)
HEADER_TIMEOUT, BODY_TIMEOUT, KEEPALIVE_TIMEOUT = 10.0, 60.0, 75.0
UPLOAD = post(b"x" * 1_000_000)
HEAD = UPLOAD.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


class Client:
    """A connection, and the time of the sweeps."""

    def __init__(self, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served = served
        self._reader = reader
        self._writer = writer
        self._now = asyncio.get_running_loop().time()

    @property
    def protocol(self) -> Any:
        (protocol,) = protocols(self._served)
        return protocol

    async def send(self, data: bytes) -> None:
        before = self.protocol.bytes_received
        self._writer.write(data)
        await until(lambda: bool(self.protocol.bytes_received == before + len(data)))

    async def wait(self, seconds: float) -> None:
        self._now += seconds
        self._served.app.connections.sweep(self._now)
        await run_pending_tasks()

    @property
    def is_open(self) -> bool:
        return any(not c.transport.is_closing() and not c._timeouts.lingers for c in protocols(self._served))

    async def received(self) -> bytes:
        """Everything until the proxy closes the connection."""
        return await asyncio.wait_for(self._reader.read(), TIMEOUT)

    async def response(self) -> bytes:
        """The status of one response, which is read completely."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), TIMEOUT)
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return head[9:12]


@asynccontextmanager
async def client(fetch: FakeFetch, clock: FakeClock, limits: str = "") -> AsyncIterator[Client]:
    config = config_of(with_limits(limits)) if limits else CONFIG
    async with serving(config, fetch, clock) as served:
        if not limits:
            use_only_explicit_sweeps(served)
        async with served.raw(b"") as (reader, writer):
            await until(lambda: len(served.state.connections) == 1)
            yield Client(served, reader, writer)


async def test_a_silent_connection_is_closed_without_a_response(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.wait(HEADER_TIMEOUT - 1)
        assert slow.is_open
        await slow.wait(1.1)
        assert await slow.received() == b""


@pytest.mark.parametrize("data", [GET[:1], GET[:-1], b"\r\n"], ids=["one byte", "all but one", "an empty line"])
async def test_an_incomplete_head_is_408_after_header_timeout(data: bytes, fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.wait(5)
        await slow.send(data)
        await slow.wait(HEADER_TIMEOUT - 6)
        assert slow.is_open
        await slow.wait(1.1)
        assert refusal(await slow.received()) == TIMED_OUT


async def test_single_bytes_do_not_extend_header_timeout(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        for at in range(9):
            await slow.send(GET[at : at + 1])
            await slow.wait(1)
            assert slow.is_open
        await slow.send(GET[9:10])
        await slow.wait(1.1)
        assert refusal(await slow.received()) == TIMED_OUT


async def test_the_second_head_of_a_connection_has_header_timeout_too(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.send(GET)
        assert await slow.response() == b"200"
        await slow.send(GET[:20])
        await slow.wait(HEADER_TIMEOUT - 1)
        assert slow.is_open
        await slow.wait(1.1)
        assert refusal(await slow.received()) == TIMED_OUT


async def test_an_idle_connection_is_closed_after_keepalive_timeout(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.send(GET)
        assert await slow.response() == b"200"
        await slow.wait(KEEPALIVE_TIMEOUT - 1)
        assert slow.is_open
        await slow.wait(1.1)
        assert await slow.received() == b""


async def test_a_body_that_stops_is_408_after_body_timeout(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.send(HEAD)
        for _ in range(3):
            await slow.send(b"x" * 100_000)
            await slow.wait(1)
            await slow.wait(29)
            assert slow.is_open
        await slow.send(b"x" * 100_000)  # fast enough for `body_rate`
        await slow.wait(1)
        await slow.wait(BODY_TIMEOUT)
        received = await slow.received()
    assert refusal(received) == TIMED_OUT
    assert b"No data of the request body was received for 60 s." in received


async def test_a_body_that_is_slower_than_body_rate_over_30_s_is_408(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.send(HEAD)
        await slow.wait(1)
        for second in range(30):
            assert slow.is_open, f"after {second} s"
            await slow.send(b"x" * 1000)
            await slow.wait(1)
        received = await slow.received()
    assert refusal(received) == TIMED_OUT
    assert b"less than 1,024 bytes per second on average over 30 s" in received


async def test_a_body_as_fast_as_body_rate_is_received(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.send(HEAD)
        await slow.wait(1)
        for _ in range(12):
            await slow.send(b"x" * 10 * 1024)
            await slow.wait(10)
        assert slow.is_open


async def test_a_chunked_body_in_single_bytes_is_408(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.send(HEAD.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n")
        await slow.wait(1)
        for _ in range(30):
            await slow.send(b"1\r\nx\r\n")
            await slow.wait(1)
        assert refusal(await slow.received()) == TIMED_OUT


async def test_a_client_that_waits_for_100_continue_is_not_slow(fetch: FakeFetch, clock: FakeClock) -> None:
    """It can wait as long as the proxy does not read the body."""
    async with client(fetch, clock) as slow:
        await slow.send(HEAD.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        await run_pending_tasks()
        cycle = slow.protocol.cycle
        cycle.waiting_for_100_continue = True
        for _ in range(3):
            await slow.wait(BODY_TIMEOUT)
        assert slow.is_open
        cycle.waiting_for_100_continue = False
        await slow.wait(1)
        await slow.wait(BODY_TIMEOUT)
        assert refusal((await slow.received()).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")) == TIMED_OUT


async def test_the_timeouts_are_settings(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock, "header_timeout: 100ms, keepalive_timeout: 100ms") as slow:
        assert await slow.received() == b"", "closed by the timer of the server"


async def test_a_client_that_sends_on_after_an_error_is_disconnected(fetch: FakeFetch, clock: FakeClock) -> None:
    async with client(fetch, clock) as slow:
        await slow.send(b"GET /" + b"x" * 40_000)
        assert refusal(await slow.received()).status == 414
        await slow.send(b"x" * 100_000)
        assert slow.protocol.transport.is_closing() is False, "the client may still read the error"
        await slow.wait(2.1)
        await until(lambda: not slow._served.state.connections)
