"""Connections to providers: when they are reused, closed and replaced; over sockets, with a fake clock."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from multidict import CIMultiDict
from yarl import URL

from proxy.upstream.connection import Connections
from proxy.upstream.connector import Connector
from proxy.upstream.exchange import Incoming
from tests.fakes import FakeClock, config_of
from tests.listening import until
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, in_sequence, replies, resets

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_is_left_behind", "mode")]

FINE = replies({"answer": 1})
LONG = b"x" * 300_000


@pytest.fixture(params=["", "1"], ids=["private parts", "plain"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", request.param)


@asynccontextmanager
async def connected(provider: FakeProvider, clock: FakeClock, settings: str = "") -> AsyncIterator[Connections]:
    text = f"providers: [{{name: a, base_url: '{provider.url}', max_in_flight: 9{settings}}}]"
    connections = Connections(config_of(text).providers[0], clock)
    try:
        yield connections
    finally:
        await connections.close()


async def posted(connections: Connections, provider: FakeProvider, body: bytes = b"{}") -> bytes:
    """Send a call and return the body of its response."""
    headers = CIMultiDict({"Content-Type": "application/json"})
    response = await connections.send("POST", URL(f"{provider.url}/v1/embeddings"), headers, body)
    return b"".join([part async for part in parts_of(response)])


async def parts_of(response: Incoming) -> AsyncIterator[bytes]:
    while part := await response.read():
        yield part


async def closes(exchange: Exchange) -> None:
    exchange.keep = False


def after_seconds(clock: FakeClock, seconds: float, end: Callable[[Exchange], Awaitable[None]]) -> Script:
    async def script(exchange: Exchange) -> None:
        await clock.advance(seconds)
        await end(exchange)

    return script


async def begins_a_response(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 2")
    exchange.keep = False


@pytest.mark.parametrize("body", [b"{}", LONG], ids=["short", "long"])
@pytest.mark.parametrize("end", [closes, resets])
async def test_a_request_on_a_stale_connection_is_sent_again_on_a_new_one(
    end: Script, body: bytes, clock: FakeClock
) -> None:
    script = in_sequence(FINE, after_seconds(clock, 0.9, end), FINE)
    async with fake_provider(script) as provider, connected(provider, clock) as connections:
        answers = [await posted(connections, provider, body) for _ in range(2)]

        assert answers == [b'{"answer":1}'] * 2
        assert (len(provider.requests), provider.connections) == (3, 2)
        assert provider.requests[2] == provider.requests[1]
        assert provider.requests[2].body == body


async def test_a_request_on_a_stale_tls_connection_is_sent_again(tmp_path: Path, clock: FakeClock) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    script = in_sequence(FINE, closes, FINE, resets, FINE)
    async with (
        fake_provider(script, context) as provider,
        connected(provider, clock, f", ca_file: '{tmp_path}/ca.pem'") as connections,
    ):
        answers = [await posted(connections, provider) for _ in range(3)]

        assert answers == [b'{"answer":1}'] * 3
        assert (len(provider.requests), provider.connections) == (5, 3)


async def test_a_stale_connection_is_not_replaced_by_another_idle_one(clock: FakeClock) -> None:
    both = asyncio.Barrier(2)

    async def together(exchange: Exchange) -> None:
        await both.wait()
        await FINE(exchange)

    script = in_sequence(together, together, closes, FINE)
    async with fake_provider(script) as provider, connected(provider, clock) as connections:
        await asyncio.gather(posted(connections, provider), posted(connections, provider))
        assert await posted(connections, provider) == b'{"answer":1}'
        assert provider.connections == 3
        assert await posted(connections, provider) == b'{"answer":1}'
        assert provider.connections == 3, "the other idle connection was kept"


@pytest.mark.parametrize("end", [closes, resets])
async def test_a_provider_that_ends_the_connection_after_5_seconds_gets_no_second_request(
    end: Script, clock: FakeClock
) -> None:
    script = in_sequence(FINE, after_seconds(clock, 5, end), FINE)
    async with fake_provider(script) as provider, connected(provider, clock) as connections:
        await posted(connections, provider)
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await posted(connections, provider)
        assert len(provider.requests) == 2


@pytest.mark.parametrize("end", [closes, resets])
async def test_a_new_connection_that_ends_without_a_response_is_an_error(end: Script, clock: FakeClock) -> None:
    async with fake_provider(end) as provider, connected(provider, clock) as connections:
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await posted(connections, provider)
        assert len(provider.requests) == 1


async def test_a_request_is_sent_again_only_once(clock: FakeClock) -> None:
    async with fake_provider(in_sequence(FINE, closes)) as provider, connected(provider, clock) as connections:
        await posted(connections, provider)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await posted(connections, provider)
        assert len(provider.requests) == 3


async def test_a_request_with_the_first_bytes_of_a_response_is_not_sent_again(clock: FakeClock) -> None:
    script = in_sequence(FINE, begins_a_response, FINE)
    async with fake_provider(script) as provider, connected(provider, clock) as connections:
        await posted(connections, provider)
        with pytest.raises(aiohttp.ClientError):
            await posted(connections, provider)
        assert len(provider.requests) == 2


async def test_a_connection_that_ended_while_idle_is_not_used(clock: FakeClock) -> None:
    async def and_closes(exchange: Exchange) -> None:
        await FINE(exchange)
        exchange.keep = False

    async with fake_provider(and_closes) as provider, connected(provider, clock) as connections:
        for calls in (1, 2):
            await posted(connections, provider)
            await until(lambda: provider.open == 0)
            assert (len(provider.requests), provider.connections) == (calls, calls)


async def test_an_idle_connection_is_kept_for_10_seconds(clock: FakeClock) -> None:
    async with fake_provider(FINE) as provider, connected(provider, clock) as connections:
        assert connector_of(connections)._keepalive_timeout == 10.0


async def test_each_idle_connection_is_closed_in_time(clock: FakeClock) -> None:
    class Hasty(Connector):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **{**settings, "keepalive_timeout": 0.2})

    async with fake_provider(FINE) as provider, connected(provider, clock) as connections:
        connections.connector_class = Hasty
        await posted(connections, provider)
        await asyncio.sleep(0.1)
        await posted(connections, provider)
        connector = connector_of(connections)
        connector._cleanup()
        assert provider.open == 1
        handle = connector._cleanup_handle
        assert isinstance(handle, asyncio.TimerHandle)
        assert handle.when() - asyncio.get_running_loop().time() <= 1.0, "checked again within a second"
        await until(lambda: provider.open == 0)


async def test_a_reused_connection_that_was_in_use_during_a_check_is_closed_in_time_too(clock: FakeClock) -> None:
    class Hasty(Connector):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **{**settings, "keepalive_timeout": 0.2})

    async def checks(exchange: Exchange) -> None:
        connector._cleanup()
        assert connector._cleanup_handle is None, "no connection is idle"
        await FINE(exchange)

    script = in_sequence(FINE, checks)
    async with fake_provider(script) as provider, connected(provider, clock) as connections:
        connections.connector_class = Hasty
        connector = connector_of(connections)
        for _ in range(2):
            await posted(connections, provider)
        assert provider.connections == 1
        await until(lambda: provider.open == 0)


async def test_tcp_keep_alive_detects_a_lost_connection(clock: FakeClock) -> None:
    async with fake_provider(FINE) as provider, connected(provider, clock) as connections:
        await posted(connections, provider)
        ((protocol, _),) = next(iter(connector_of(connections)._conns.values()))
        assert protocol.transport is not None
        connection = protocol.transport.get_extra_info("socket")
        options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]

        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert [connection.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 10, 3]


def connector_of(connections: Connections) -> Connector:
    connector = connections.session.connector
    assert isinstance(connector, Connector)
    return connector
