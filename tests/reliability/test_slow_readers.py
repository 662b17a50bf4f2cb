"""Clients that stop reading are disconnected, whatever they requested."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, circuit_of, post, serving, until
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider, in_sequence, replies
from tests.providers.server import response_head
from tests.reliability.clients import GET, protocols, use_only_explicit_sweeps

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

WRITE_TIMEOUT = 60.0
CALL = post(b'{"model":"m"}')
STREAM = post(b'{"model":"m","stream":true}')
ERROR = GET.replace(b"/v1/models", b"/v1/models/" + b"x" * 8000)
REQUESTS: Mapping[str, bytes] = {
    "a cached list": GET,
    "Connection: close": GET.replace(b"Host", b"Connection: close\r\nHost"),
    "HTTP/1.0": GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "with a body": GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n{}"),
    "two lists": GET * 2,
    "two lists, the second closes": GET + GET.replace(b"Host", b"Connection: close\r\nHost"),
    "many errors": ERROR * 3000,
    "a call": CALL,
    "a call and a list": CALL + GET,
    "a stream": STREAM,
    "a stream in HTTP/1.0": STREAM.replace(b"HTTP/1.1", b"HTTP/1.0"),
}


async def streams_without_end(exchange: Exchange) -> None:
    await exchange.send(response_head(200, {"Content-Type": "text/event-stream"}))
    event = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * 10_000)
    while True:
        await exchange.send(event)


@asynccontextmanager
async def unread(request: bytes, fetch: FakeFetch, clock: FakeClock) -> AsyncIterator[tuple[Served, Any, Any]]:
    """A connection whose client reads nothing: the proxy, its protocol, and the reader of the client."""
    fetch.lists("a", "m", *(f"{'m' * 200}-{number}" for number in range(20_000)))
    script = streams_without_end if b"stream" in request else replies(completion("m", "x" * 9_000_000))
    async with fake_provider(in_sequence(*[script] * 3)) as provider:
        text = f"""
groups: {{default: {{models: ["*"], call: true}}}}
providers: [{{name: a, base_url: "{provider.url}/v1"}}]
"""
        async with serving(config_of(text), fetch, clock) as served:
            use_only_explicit_sweeps(served)
            if not request.startswith(b"POST"):  # from now on the list is rendered
                await served.client.get("/v1/models", headers={"Accept-Encoding": "identity", "Connection": "close"})
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(request)
            try:
                yield served, *await stalled(served), reader
            finally:
                writer.transport.abort()


async def stalled(served: Served) -> list[Any]:
    """The protocol of the connection, once no more can be written."""
    found: list[Any] = []
    sizes: list[int] = []

    def is_stalled() -> bool:
        found[:] = [c for c in protocols(served) if c.transport.get_write_buffer_size()]
        sizes.append(found[0].transport.get_write_buffer_size() if found else 0)
        return len(sizes) > 20 and sizes[-1] > 0 and len(set(sizes[-20:])) == 1

    await until(is_stalled)
    return found


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_client_that_reads_nothing_is_disconnected_after_write_timeout(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with unread(REQUESTS[name], fetch, clock) as (served, connection, _):
        sweep = served.app.connections.sweep
        now = asyncio.get_running_loop().time()
        sweep(now)
        sweep(now + WRITE_TIMEOUT - 1)
        await asyncio.sleep(0)
        assert connection in served.state.connections, "not before"
        sweep(now + WRITE_TIMEOUT)
        await until(lambda: connection not in served.state.connections)
        if name.startswith(("a call", "a stream")):
            await until(lambda: circuit_of(served.app, "a").in_flight == 0)
        await until(lambda: not served.state.tasks)


async def test_a_client_that_reads_slowly_is_never_disconnected(fetch: FakeFetch, clock: FakeClock) -> None:
    async with unread(STREAM, fetch, clock) as (served, connection, reader):
        now = asyncio.get_running_loop().time()
        for minute in range(5):
            served.app.connections.sweep(now + minute * (WRITE_TIMEOUT - 1))
            reader._transport.resume_reading()
            for _ in range(50):
                await reader.read(1_000_000)
            reader._transport.pause_reading()
            await stalled(served)
            served.app.connections.sweep(now + minute * (WRITE_TIMEOUT - 1) + WRITE_TIMEOUT - 2)
        await asyncio.sleep(0)
        assert connection in served.state.connections
        assert circuit_of(served.app, "a").in_flight == 1


async def test_what_is_written_for_a_client_that_reads_nothing_is_bounded(fetch: FakeFetch, clock: FakeClock) -> None:
    async with unread(STREAM, fetch, clock) as (_, connection, _):
        assert connection.transport.get_write_buffer_size() < 256 * 1024
