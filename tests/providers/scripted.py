"""A provider whose behavior is a function: a script gets each request, and writes the response step by step.

In the event loop of the test (`fake_provider`), or in a thread (`FakeProviders`) where the test blocks: it waits for a
real process. The script can be replaced at any time.
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
    """One request, and the connection on which its response is written."""

    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep: bool = True
    """Whether the connection can be used again."""

    async def send(self, data: bytes) -> None:
        await send(self.writer, data)

    async def reply(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """A whole response."""
        lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        await self.send(response_head(status, self._closing(lines)) + body)

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """The head of a response whose body is chunked."""
        await self.send(response_head(status, self._closing({"Transfer-Encoding": "chunked", **(headers or {})})))

    async def stream(self, *, content_type: str = "text/event-stream", **headers: str) -> None:
        """The head of a stream of events."""
        await self.head(200, {"Content-Type": content_type, **headers})

    async def chunk(self, data: bytes) -> None:
        await self.send(chunk(data))

    async def end(self) -> None:
        """The end of a chunked body."""
        await self.chunk(b"")

    async def closed(self) -> None:
        """Returns when the other side has closed the connection."""
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
    """One provider on loopback."""

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
    """A provider that listens while this is entered, in the event loop of the test; it keeps connections alive."""
    provider = FakeProvider(script)
    await provider.start(tls)
    try:
        yield provider
    finally:
        await provider.stop()


class FakeProviders:
    """All providers of a test, in one thread; leaving the context ends whatever they still do.

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
        """Another provider, which listens from now on."""
        provider = FakeProvider(script, keep_alive=False)
        self._run(provider.start())
        self._providers.append(provider)
        return provider

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


# -- scripts -----------------------------------------------------------------------------------------------------------


def replies(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """One whole response: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)

    async def script(exchange: Exchange) -> None:
        await exchange.reply(content, status, headers)

    return script


def in_sequence(*scripts: Script) -> Script:
    """One for each request; the last one for all further requests."""
    waiting = list(scripts)

    async def script(exchange: Exchange) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(exchange)

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
    """Reads the request and sends nothing, until the other side closes the connection."""
    await exchange.closed()


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def not_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    exchange.keep = False
