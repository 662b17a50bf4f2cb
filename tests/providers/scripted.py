"""A provider whose behavior is a function: a script receives each request and writes the response step by step.

It runs in the event loop of the test (`fake_provider`), or in a thread (`FakeProviders`) if the test blocks. The
script can be replaced at any time.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from tests.providers.server import Request, Server, chunk, read_request, reset, response_head, send

T = TypeVar("T")


@dataclass
class Exchange:
    """One request, and the connection for its response."""

    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep: bool = True
    """Whether the connection stays open for further requests."""

    async def send(self, data: bytes) -> None:
        await send(self.writer, data)

    async def reply(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete response."""
        lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        await self.send(response_head(status, self._closing(lines)) + body)

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of a response with a chunked body."""
        await self.send(response_head(status, self._closing({"Transfer-Encoding": "chunked", **(headers or {})})))

    async def stream(self, *, content_type: str = "text/event-stream", **headers: str) -> None:
        """Send the head of an event stream."""
        await self.head(200, {"Content-Type": content_type, **headers})

    async def chunk(self, data: bytes) -> None:
        await self.send(chunk(data))

    async def end(self) -> None:
        """Send the end of a chunked body."""
        await self.chunk(b"")

    async def closed(self) -> None:
        """Wait until the client closes the connection."""
        with suppress(ConnectionError):
            await self.reader.read()
        self.keep = False

    def reset(self) -> None:
        reset(self.writer)
        self.keep = False

    def _closing(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return headers if self.keep else {**headers, "Connection": "close"}


Script = Callable[[Exchange], Awaitable[None]]


class FakeProvider(Server):
    """One provider on the loopback interface."""

    def __init__(self, script: Script, *, keep_alive: bool = True) -> None:
        super().__init__()
        self.script = script
        self._keep_alive = keep_alive

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = True
        while keep:
            exchange = Exchange(await read_request(reader), reader, writer, self._keep_alive)
            self.requests.append(exchange.request)
            await self.script(exchange)
            keep = exchange.keep


@asynccontextmanager
async def fake_provider(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeProvider]:
    """Run a provider in the event loop of the test, with keep-alive connections."""
    provider = FakeProvider(script)
    await provider.start(tls)
    try:
        yield provider
    finally:
        await provider.stop()


class FakeProviders:
    """All providers of a test, in one thread, stopped when the context exits.

    They close the connection after each response.
    """

    def __enter__(self) -> FakeProviders:
        self._providers: list[FakeProvider] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake providers")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for provider in self._providers:
            self._run(provider.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, script: Script) -> FakeProvider:
        """Start another provider."""
        provider = FakeProvider(script, keep_alive=False)
        self._run(provider.start())
        self._providers.append(provider)
        return provider

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


# -- scripts -----------------------------------------------------------------------------------------------------------


def replies(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """One complete response: bytes unchanged, any other value as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)

    async def script(exchange: Exchange) -> None:
        await exchange.reply(content, status, headers)

    return script


def in_sequence(*scripts: Script) -> Script:
    """One script for each request, the last one for all further requests."""
    remaining = list(scripts)

    async def script(exchange: Exchange) -> None:
        await (remaining.pop(0) if len(remaining) > 1 else remaining[0])(exchange)

    return script


def delayed(seconds: float, script: Script) -> Script:
    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await script(exchange)

    return late


def requires_header(name: str, value: str, refusal: Script, script: Script) -> Script:
    """`script` for requests with this header, `refusal` for all others."""

    async def chosen(exchange: Exchange) -> None:
        await (script if exchange.request.headers.get(name) == value else refusal)(exchange)

    return chosen


async def hangs(exchange: Exchange) -> None:
    """Read the request and send nothing until the client closes the connection."""
    await exchange.closed()


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def not_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    exchange.keep = False
