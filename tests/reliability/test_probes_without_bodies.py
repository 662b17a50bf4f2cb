"""Probes neither wait for a request body nor read it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from proxy.server.protocol import Protocol
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import serving

pytestmark = pytest.mark.anyio

CONFIG = config_of("providers: [{name: lab, kind: static, models: [{id: m}]}]")
UNSENT = {
    "Content-Length": b"Content-Length: 1000000000\r\n\r\n",
    "a part of the body": b"Content-Length: 1000000000\r\n\r\nx",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n",
    "a part of a chunk": b"Transfer-Encoding: chunked\r\n\r\n5\r\nx",
    "Expect": b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "Upgrade": b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n",
}


@pytest.mark.parametrize("protocol", [Protocol, H11Protocol])
@pytest.mark.parametrize("unsent", UNSENT)
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
async def test_a_probe_responds_before_a_body_that_does_not_come_and_closes_the_connection(
    path: str, unsent: str, protocol: Any, fetch: FakeFetch, clock: FakeClock
) -> None:
    request = b"GET %b HTTP/1.1\r\nHost: proxy\r\n%b" % (path.encode(), UNSENT[unsent])
    async with serving(CONFIG, fetch, clock, protocol=protocol) as served, served.raw(request) as (reader, _):
        received = await asyncio.wait_for(reader.read(), 30)

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close" in head.lower()
    assert body.startswith(b'{"status":')


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
async def test_a_probe_never_reads_from_the_connection(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    messages: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        messages.append(message)

    headers = [(b"host", b"proxy"), (b"content-length", b"5")]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers}
    async with serving(CONFIG, fetch, clock) as served:
        await served.app({**scope, "query_string": b""}, receive, send)

    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
