"""The private APIs of aiohttp that calls use: each of them is called when a call is sent over a socket.

If aiohttp renames one of them, a test must fail here instead of a protection being silently disabled.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from proxy.errors import UpstreamError
from proxy.upstream.connection import Connections
from proxy.upstream.connector import Connector, Reused
from proxy.upstream.exchange import Incoming
from proxy.upstream.response import UpstreamResponse
from tests.fakes import FakeClock, config_of
from tests.listening import until
from tests.providers.scripted import Exchange, FakeProvider, fake_provider, in_sequence, replies
from tests.providers.server import response_head

pytestmark = pytest.mark.anyio

SHORT, LONG = b"{}", b"x" * 100_000
HEADERS = {"Content-Type": "application/json", "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "test"}


class Spied(Connections):
    """Connections that record which hooks are called."""

    def __init__(self, url: str) -> None:
        self.provider = config_of(f"providers: [{{name: a, base_url: '{url}'}}]").providers[0]
        super().__init__(self.provider, FakeClock())
        self.called: list[str] = []
        called = self.called

        class SpiedConnector(Connector):
            def idle(self, key: ConnectionKey) -> Reused | None:
                called.append("idle")
                return super().idle(key)

            async def _get(self, *arguments: Any) -> Connection | None:
                called.append("_get")
                return await super()._get(*arguments)

            async def connect(self, *arguments: Any, **named: Any) -> Connection:
                called.append("connect")
                return await super().connect(*arguments, **named)

        self.connector_class = SpiedConnector


@asynccontextmanager
async def spied(provider: FakeProvider) -> AsyncIterator[Spied]:
    connections = Spied(provider.url)
    try:
        yield connections
    finally:
        await connections.close()


async def posted(connections: Connections, provider: FakeProvider, body: bytes = SHORT) -> Incoming:
    return await connections.send("POST", URL(f"{provider.url}/v1/embeddings"), CIMultiDict(HEADERS), body)


async def whole(response: Incoming) -> bytes:
    body = b""
    while part := await response.read():
        body += part
    return body


@pytest.fixture(params=["", "1"], ids=["private parts", "plain"])
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", request.param)
    return bool(request.param)


@pytest.mark.parametrize("body", [SHORT, LONG], ids=["short", "long"])
async def test_each_hook_is_called_once_per_call(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELS_PROXY_PLAIN_HTTP", raising=False)
    async with fake_provider(replies({"answer": 1})) as provider, spied(provider) as connections:
        bodies = [await whole(await posted(connections, provider, body)) for _ in range(2)]

        assert bodies == [b'{"answer":1}'] * 2
        assert connections.called == ["idle", "connect", "_get", "idle"], "the second call reuses the connection"
        assert [request.body for request in provider.requests] == [body] * 2


async def test_plain_fallback_calls_the_hooks_that_protect_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", "1")
    async with fake_provider(replies({"answer": 1})) as provider, spied(provider) as connections:
        response = await posted(connections, provider)

        assert (response.status, await whole(response)) == (200, b'{"answer":1}')
        assert connections.called == ["connect", "_get"]


@pytest.mark.parametrize("body", [SHORT, LONG, None], ids=["short", "long", "none"])
async def test_fallback_sends_the_same_request(body: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_provider(replies({})) as provider:
        for value in ("", "1"):
            monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", value)
            async with spied(provider) as connections:
                method = "GET" if body is None else "POST"
                url = URL(f"{provider.url}/v1/a%20b?c=d%2Fe", encoded=True)
                await whole(await connections.send(method, url, CIMultiDict(HEADERS), body))

        first, second = provider.requests
        assert (first.method, first.target, first.headers, first.body) == (
            second.method,
            second.target,
            second.headers,
            second.body,
        )


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_bytes_that_arrived_before_a_failure_are_read(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELS_PROXY_PLAIN_HTTP", raising=False)

    async def resets(exchange: Exchange) -> None:
        await exchange.head(200, {"Content-Encoding": coding})
        await exchange.chunk(gzip.compress(b"the rest") if coding == "gzip" else b"the rest")
        await asyncio.sleep(0.05)  # a reset discards what the kernel has not yet delivered
        exchange.reset()

    async with fake_provider(resets) as provider, spied(provider) as connections:
        response = await posted(connections, provider)
        await until(lambda: provider.open == 0)
        body = UpstreamResponse(response, connections.provider)

        assert (body.read_nowait() or await body.read()) == b"the rest"
        with pytest.raises(UpstreamError):
            await body.read()
        body.close()


async def test_a_response_with_invalid_http_ends_immediately(plain: bool) -> None:
    async def no_size(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.chunk(b"text")
        await asyncio.sleep(0.05)
        await exchange.send(b"no size\r\n")
        await exchange.closed()

    async with fake_provider(no_size) as provider, spied(provider) as connections:
        response = await posted(connections, provider)

        assert await response.read() == b"text"
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(response.read(), 5)
        response.close()


async def test_response_closed_early_aborts_its_connection(plain: bool) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(response_head(200, {"Content-Length": "1000000"}) + b"x")
        await exchange.closed()

    async with fake_provider(endless) as provider, spied(provider) as connections:
        response = await posted(connections, provider)
        assert provider.open == 1
        response.close()
        await until(lambda: provider.open == 0, 1)


async def test_connection_with_unsolicited_bytes_is_not_reused(plain: bool) -> None:
    stray = asyncio.Event()

    async def talks(exchange: Exchange) -> None:
        await replies({"answer": 1})(exchange)
        await stray.wait()
        await exchange.send(response_head(200, {"Content-Length": "2"}) + b"no")

    async with fake_provider(in_sequence(talks, replies({"answer": 2}))) as provider, spied(provider) as connections:
        first = await whole(await posted(connections, provider))
        ((protocol, _),) = next(iter(connections.session.connector._conns.values()))  # type: ignore[union-attr]
        stray.set()
        await until(lambda: bool(protocol.should_close))
        second = await whole(await posted(connections, provider))

        assert (first, second) == (b'{"answer":1}', b'{"answer":2}')
        assert provider.connections == 2
