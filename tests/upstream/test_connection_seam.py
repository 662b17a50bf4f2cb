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
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from proxy.errors import UpstreamError
from proxy.upstream.calls import UpstreamResponse
from proxy.upstream.connection import Connections, Connector, Request, Response
from tests.fakes import FakeClock, config_of
from tests.listening import until
from tests.providers.scripted import Exchange, FakeProvider, fake_provider, in_sequence, replies
from tests.providers.server import response_head

pytestmark = pytest.mark.anyio

SHORT, LONG = b"{}", b"x" * 100_000
HOOKS = ["Request", "connect", "_get", "set_response_params", "send", "start"]


class Spied(Connections):
    """Connections that record which hooks are called."""

    def __init__(self, url: str) -> None:
        self.provider = config_of(f"providers: [{{name: a, base_url: '{url}'}}]").providers[0]
        super().__init__(self.provider, FakeClock())
        self.called: list[str] = []
        self.limits: dict[str, Any] = {}
        called, limits = self.called, self.limits

        class SpiedConnector(Connector):
            async def _get(self, *arguments: Any) -> Connection | None:
                called.append("_get")
                return await super()._get(*arguments)

            async def connect(self, *arguments: Any, **named: Any) -> Connection:
                called.append("connect")
                connection = await super().connect(*arguments, **named)
                protocol: Any = connection.protocol
                set_response_params = type(protocol).set_response_params

                def spied(**params: Any) -> None:
                    called.append("set_response_params")
                    limits.update(params)
                    set_response_params(protocol, **params)

                protocol.set_response_params = spied
                return connection

        class SpiedRequest(Request):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                called.append("Request")
                super().__init__(*arguments, **named)

            async def send_short(self, connection: Connection, body: bytes) -> aiohttp.ClientResponse:
                called.append("send")
                return await super().send_short(connection, body)

            async def send(self, conn: Connection) -> aiohttp.ClientResponse:
                called.append("send")
                return await super().send(conn)

        class SpiedResponse(Response):
            async def start(self, connection: Connection) -> aiohttp.ClientResponse:
                called.append("start")
                return await super().start(connection)

            def close(self) -> None:
                called.append("close")
                super().close()

        self.connector_class, self.request_class, self.response_class = SpiedConnector, SpiedRequest, SpiedResponse


@asynccontextmanager
async def spied(provider: FakeProvider) -> AsyncIterator[Spied]:
    connections = Spied(provider.url)
    try:
        yield connections
    finally:
        await connections.close()


async def posted(connections: Connections, provider: FakeProvider, body: bytes = SHORT) -> aiohttp.ClientResponse:
    return await connections.post(
        URL(f"{provider.url}/v1/embeddings"), CIMultiDict({"Content-Type": "application/json"}), body
    )


@pytest.fixture(params=["", "1"], ids=["private parts", "plain"])
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", request.param)
    return bool(request.param)


@pytest.mark.parametrize("body", [SHORT, LONG], ids=["short", "long"])
async def test_each_hook_is_called_once_per_call(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELS_PROXY_PLAIN_HTTP", raising=False)
    async with fake_provider(replies({"answer": 1})) as provider, spied(provider) as connections:
        response = await posted(connections, provider, body)

        assert (response.status, await response.read()) == (200, b'{"answer":1}')
        assert connections.called == HOOKS
        assert provider.requests[0].body == body


async def test_plain_fallback_calls_the_hooks_that_protect_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", "1")
    async with fake_provider(replies({"answer": 1})) as provider, spied(provider) as connections:
        response = await posted(connections, provider)

        assert (response.status, await response.read()) == (200, b'{"answer":1}')
        assert connections.called == ["connect", "_get", "set_response_params", "start"]


async def test_fallback_sends_the_same_request_with_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    async with fake_provider(replies({})) as provider:
        for value in ("", "1"):
            monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", value)
            async with spied(provider) as connections:
                await (await posted(connections, provider)).read()
                names = ("auto_decompress", "read_bufsize", "max_line_size", "max_field_size", "max_headers")
                limits.append({name: connections.limits[name] for name in names})

        assert limits[0] == limits[1]
        first, second = provider.requests
        assert (first.target, first.headers, first.body) == (second.target, second.headers, second.body)


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
        await until(lambda: response.content.exception() is not None)
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

        assert await response.content.readany() == b"text"
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(response.content.readany(), 5)
        response.close()


async def test_response_closed_early_aborts_its_connection(plain: bool) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(response_head(200, {"Content-Length": "1000000"}) + b"x")
        await exchange.closed()

    async with fake_provider(endless) as provider, spied(provider) as connections:
        response = await posted(connections, provider)
        assert provider.open == 1
        response.close()
        assert connections.called[-1] == "close"
        await until(lambda: provider.open == 0, 1)


async def test_connection_with_unsolicited_bytes_is_not_reused(plain: bool) -> None:
    stray = asyncio.Event()

    async def talks(exchange: Exchange) -> None:
        await replies({"answer": 1})(exchange)
        await stray.wait()
        await exchange.send(response_head(200, {"Content-Length": "2"}) + b"no")

    async with fake_provider(in_sequence(talks, replies({"answer": 2}))) as provider, spied(provider) as connections:
        first = await (await posted(connections, provider)).read()
        ((protocol, _),) = next(iter(connections.session.connector._conns.values()))  # type: ignore[union-attr]
        stray.set()
        await until(lambda: bool(protocol.should_close))
        second = await (await posted(connections, provider)).read()

        assert (first, second) == (b'{"answer":1}', b'{"answer":2}')
        assert provider.connections == 2
