"""The private APIs of uvicorn and httpx that the proxy uses are really called.

A release that renames one of them must turn a test red here, not disable a fast path or a protection silently. Those of
aiohttp are tested in `tests/upstream/test_connection_seam.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.asgi import RawResponse
from proxy.server.cycle import Cycle
from proxy.server.flow_control import WatchedFlowControl
from proxy.server.http_protocol import http_protocol
from proxy.server.protocol import Protocol
from proxy.server.request_parser import RequestParser
from proxy.server.run import Server
from proxy.upstream.transport import TrackedSockets
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import serving, until
from tests.providers.scripted import fake_provider, replies

pytestmark = pytest.mark.anyio

CONFIG = config_of("providers: [{name: lab, kind: static, models: [{id: m}]}]")
CALLABLE = config_of(
    "{groups: {default: {models: ['*'], call: true}}, providers: [{name: lab, kind: static, models: [{id: m}]}]}"
)
LIST = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


class Spied(Protocol):
    """The proxy's protocol, which records the hooks that uvicorn calls."""

    called: list[str]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = SpiedParser(self)

    def data_received(self, data: bytes) -> None:
        self.called.append("data_received")
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.called.append("on_response_complete")
        super().on_response_complete()

    def write_response(self, cycle: Cycle, response: RawResponse) -> None:
        self.called.append("write_response")
        super().write_response(cycle, response)

    def connection_lost(self, exc: Exception | None) -> None:
        self.called.append("connection_lost")
        super().connection_lost(exc)


class SpiedParser(RequestParser):
    """The proxy's parser of requests, which records the hooks that httptools calls."""

    _connection: Spied

    def on_headers_complete(self) -> None:
        self._connection.called.append("on_headers_complete")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._connection.called.append("on_body")
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._connection.called.append("on_message_complete")
        super().on_message_complete()


async def hooks_of(request: bytes, fetch: FakeFetch, clock: FakeClock) -> tuple[list[str], bytes]:
    """The hooks called for one request, and the status line of the response."""
    called: list[str] = []

    def protocol(**arguments: Any) -> asyncio.Protocol:
        spied = Spied(**arguments)
        spied.called = called
        return spied

    async with serving(CONFIG, fetch, clock, protocol=protocol) as served:
        await served.client.get("/v1/models", headers={"Connection": "close"})  # from now on the list is rendered
        await until(lambda: not served.app.connections)
        called.clear()
        async with served.raw(request) as (reader, _):
            status = await asyncio.wait_for(reader.readuntil(b"\r\n"), 30)
            served.app.connections.sweep(float("inf"))  # closes idle connections
            await asyncio.wait_for(reader.read(), 30)
        await until(lambda: not served.app.connections)
    return called, status.removesuffix(b"\r\n")


async def test_a_list_is_written_by_the_hook_without_a_task(fetch: FakeFetch, clock: FakeClock) -> None:
    called, status = await hooks_of(LIST, fetch, clock)

    assert status == b"HTTP/1.1 200 OK"
    assert called == [
        "data_received",
        "on_headers_complete",
        "write_response",
        "on_response_complete",
        "on_message_complete",
        "connection_lost",
    ]


async def test_upgrade_is_ignored_by_the_hook(fetch: FakeFetch, clock: FakeClock) -> None:
    called, status = await hooks_of(UPGRADE, fetch, clock)

    assert status == b"HTTP/1.1 200 OK"
    assert called.count("on_headers_complete") == 2, "for the original head, and without `Upgrade`"
    assert called.count("write_response") == 1


async def test_a_body_is_read_by_the_hook(fetch: FakeFetch, clock: FakeClock) -> None:
    called, status = await hooks_of(LIST.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"), fetch, clock)

    assert status == b"HTTP/1.1 200 OK"
    assert called.count("on_body") == 1


async def test_malformed_http_is_rejected(fetch: FakeFetch, clock: FakeClock) -> None:
    called, status = await hooks_of(b"no HTTP\r\n\r\n", fetch, clock)

    assert status == b"HTTP/1.1 400 Bad Request"
    assert called == ["data_received", "connection_lost"]


async def test_reading_is_resumed_by_the_overridden_flow_control(fetch: FakeFetch, clock: FakeClock) -> None:
    """Reading is paused by a long body, and resumed when that is read, through the object that replaces uvicorn's."""
    resumed: list[type[FlowControl]] = []

    class Flow(WatchedFlowControl):
        def resume_reading(self) -> None:
            resumed.append(type(self).__mro__[1])
            super().resume_reading()

    class WithFlow(Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            assert type(self.flow) is WatchedFlowControl
            self.flow = Flow(transport)

    async with serving(CALLABLE, fetch, clock, protocol=WithFlow) as served:
        await served.client.post("/v1/chat/completions", json={"model": "unknown", "user": "x" * 100_000})
        assert {*resumed} == {WatchedFlowControl}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Protocol, HttpToolsProtocol),
        (RequestParser, HttpToolsProtocol),
        (WatchedFlowControl, FlowControl),
        (Server, uvicorn.Server),
    ],
)
async def test_each_overridden_method_exists_in_the_library(ours: type, theirs: type) -> None:
    hooks = {"data_received", "connection_made", "connection_lost"}
    hooks |= {"on_header", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete"}
    hooks |= {"resume_reading", "startup", "shutdown", "handle_exit"}
    overridden = vars(ours).keys() & hooks

    assert overridden, "at least one is overridden"
    assert overridden <= set(dir(theirs))


async def test_the_plain_protocol_serves_lists_and_ignores_upgrade(
    fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_PROXY_PLAIN_HTTP", "1")
    plain = http_protocol()
    monkeypatch.delenv("MODELS_PROXY_PLAIN_HTTP")

    assert plain is not Protocol
    async with serving(CONFIG, fetch, clock, protocol=plain) as served:
        for headers in ({}, {"Connection": "Upgrade", "Upgrade": "h2c"}):
            answer = await served.client.get("/v1/models", headers=headers)
            assert (answer.status_code, [model["id"] for model in answer.json()["data"]]) == (200, ["m"])


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        pytest.param(b"GET http://other.example/v1/models", b"200 OK", b'"id":"m"', id="an absolute URL"),
        pytest.param(b"GET HTTP://other.example/v1/%6dodels?a=b", b"200 OK", b'"id":"m"', id="with a query"),
        pytest.param(b"GET https://other.example", b"404 Not Found", b"Unknown path /;", id="without a path"),
        pytest.param(
            b"CONNECT other.example:443", b"400 Bad Request", b"Method CONNECT is not supported", id="a tunnel"
        ),
    ],
)
async def test_the_plain_protocol_accepts_absolute_urls_and_rejects_tunnels(
    target: bytes, status: bytes, text: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    request = target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with serving(CONFIG, fetch, clock, protocol=H11Protocol) as served, served.raw(request) as (reader, _):
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert text in answer


async def test_httpcore_traces_each_connection_under_the_expected_event_name() -> None:
    """Without that event the transport would leak a socket whose TLS handshake is interrupted."""
    sockets: list[object] = []

    class Spying(TrackedSockets):
        async def _on_trace(self, event: str, info: dict[str, Any]) -> None:
            await super()._on_trace(event, info)
            if event == "connection.connect_tcp.complete":
                sockets.append(info["return_value"])

    async with (
        fake_provider(replies({})) as provider,
        Spying(httpx.AsyncHTTPTransport(trust_env=False), idle_timeout=5.0) as transport,
    ):
        response = await transport.handle_async_request(httpx.Request("GET", provider.url))
        await response.aclose()

    assert response.status_code == 200
    assert len(sockets) == 1
