"""A proxy with two keys, and raw connections to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from unittest.mock import patch

from proxy.api.request import RequestHead
from proxy.asgi import Handler, RawResponse
from proxy.server.deployment import Deployment
from proxy.server.gate import decide
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import completion
from tests.providers.scripted import FakeProvider, Script, fake_provider, replies
from tests.reliability.smuggling import KEY, OTHER

ANSWER = replies(completion("m"))
_RESPONSE = re.compile(rb"HTTP/1\.1 (\d{3})[^\r]*\r\n((?:[^\r]+\r\n)*)\r\n")
_REQUEST_ID = re.compile(rb"(?:^|\r\n)x-request-id: ([^\r]+)\r\n")


class Response(NamedTuple):
    status: int
    request_id: bytes
    is_last: bool
    """Whether the connection is closed after it."""


class Target(NamedTuple):
    served: Served
    decided: list[bytes]
    """The ids of the requests that the proxy found."""
    provider: FakeProvider


@asynccontextmanager
async def target(
    fetch: FakeFetch,
    clock: FakeClock,
    script: Script = ANSWER,
    protocol: Callable[..., asyncio.Protocol] | None = None,
) -> AsyncIterator[Target]:
    """A proxy with two keys, each with one model, and the provider of both."""
    fetch.lists("a", "m")
    fetch.lists("b", "hidden")
    async with fake_provider(script) as provider:
        text = f"""
providers: [{{name: a, base_url: "{provider.url}/v1"}}, {{name: b, base_url: "{provider.url}/v1"}}]
keys:
  - {{name: alice, hash: "{digest(KEY)}", models: [m]}}
  - {{name: other, hash: "{digest(OTHER)}", models: [hidden]}}
"""
        async with serving(config_of(text), fetch, clock, protocol=protocol) as served:
            decided: list[bytes] = []

            def recorded(deployment: Deployment, head: RequestHead) -> RawResponse | Handler:
                decided.append(head.request_id)
                return decide(deployment, head)

            with patch("proxy.server.protocol.decide", recorded):
                yield Target(served, decided, provider)


async def received_from(served: Served, segments: Iterable[bytes]) -> bytes:
    """All data of a connection until the proxy closes it. The proxy reads each segment before the next is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    reading = asyncio.create_task(all_of(reader))
    for segment in segments:
        if reading.done():
            break
        writer.write(segment)
        for _ in range(3):
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        received = await reading
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return received


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """All data until the connection is closed, or reset because more was sent after that."""
    received = b""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            received += data
    return received


def responses(received: bytes) -> list[Response]:
    found = []
    for match in _RESPONSE.finditer(received):
        request_id = _REQUEST_ID.search(match[2])
        if match[1] != b"100":
            is_last = b"connection: close\r\n" in match[2]
            found.append(Response(int(match[1]), request_id[1] if request_id else b"", is_last))
    return found
