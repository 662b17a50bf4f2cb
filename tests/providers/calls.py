"""Providers whose models are called, and a proxy in front of them: real sockets in the event loop of the test.

A callee keeps every byte that it got. What it says is written by the test, step by step where it matters.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
import msgspec
import uvicorn
from uvicorn.server import ServerState

from proxy.config import Config
from proxy.inference.circuit import Circuit
from proxy.server.app import Proxy
from proxy.server.protocol import Protocol
from proxy.upstream.connection import Connections
from tests.fakes import FakeClock, FakeFetch, breathe

PATIENCE = 10.0
"""Seconds after which something that should have happened has not."""


@dataclass(frozen=True)
class Received:
    """One request, byte for byte."""

    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        return self._line[0]

    @property
    def target(self) -> str:
        return self._line[1]

    @property
    def headers(self) -> dict[str, str]:
        """By their names in lower case; none may come twice."""
        lines = [line.partition(":") for line in self.head.decode("latin-1").split("\r\n")[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in lines}
        assert len(headers) == len(lines), f"a header came twice: {lines}"
        return headers

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def _line(self) -> Sequence[str]:
        return self.head.decode("latin-1").split("\r\n")[0].split(" ")


@dataclass
class Exchange:
    """One request and the way back: what the test's script of an answer is given."""

    received: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep: bool = True
    """Whether the connection can be used again."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """The head of an answer whose body comes in chunks."""
        await self.send(head(status, {"Transfer-Encoding": "chunked", **(headers or {})}))

    async def stream(self, *, content_type: str = "text/event-stream", **headers: str) -> None:
        await self.head(200, {"Content-Type": content_type, **headers})

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def left(self) -> None:
        """Returns when the other side has closed the connection."""
        with suppress(ConnectionError):
            await self.reader.read()
        self.keep = False

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()
        self.keep = False


Script = Callable[[Exchange], Awaitable[None]]


class Callee:
    """One provider on loopback; what it says may be changed at any time."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received: list[Received] = []
        self.connections = 0
        """All that were ever opened."""
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._tasks)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer), name="callee")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            keep = True
            while keep:
                exchange = Exchange(await _receive(reader), reader, writer)
                self.received.append(exchange.received)
                await self.script(exchange)
                keep = exchange.keep
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has seen enough
        finally:
            writer.close()
            if reader.exception():  # looked at, or else the event loop may report it when it is collected
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async def end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def callee(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Callee]:
    """A provider that listens while this is entered."""
    made = Callee(script)
    server = await asyncio.start_server(made._connected, "127.0.0.1", 0, limit=256 * 1024, ssl=tls)
    made.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.end()


async def _receive(reader: asyncio.StreamReader) -> Received:
    top = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n", top)
    return Received(top[:-4], await reader.readexactly(int(length[1])) if length else b"")


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status in set(HTTPStatus) else 'Odd'}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# -- what a callee may say ---------------------------------------------------------------------------------------------


def says(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """One whole answer: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}

    async def script(exchange: Exchange) -> None:
        await exchange.send(head(status, lines) + content)

    return script


def in_turn(*scripts: Script) -> Script:
    """One after the other; the last one for all further requests."""
    waiting = list(scripts)

    async def script(exchange: Exchange) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(exchange)

    return script


def streams(*events: bytes) -> Script:
    """Whole events, each as a piece of its own."""

    async def script(exchange: Exchange) -> None:
        await exchange.stream()
        for event in events:
            await exchange.chunk(event)
        await exchange.end()

    return script


async def hangs(exchange: Exchange) -> None:
    """Takes the call and never says a word."""
    await exchange.left()


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def says_no_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    exchange.keep = False


def completion(model: str, text: str = "hello") -> dict[str, Any]:
    """An answer of chat completions."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def piece(model: str, text: str) -> bytes:
    """An event of a streamed chat completion."""
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [delta]}
    return b"data: %b\n\n" % msgspec.json.encode(said)


DONE = b"data: [DONE]\n\n"


# -- the proxy in front ------------------------------------------------------------------------------------------------


@dataclass
class Served:
    """A proxy that listens, in the event loop of the test."""

    app: Proxy
    port: int
    state: ServerState
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> httpx.AsyncClient:
        return self.clients[0]

    async def call(self, model: str = "m", *, path: str = "/v1/chat/completions", **fields: object) -> httpx.Response:
        """One call without a key."""
        return await self.client.post(path, json={"model": model, **fields})

    @asynccontextmanager
    async def raw(self, request: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection on which these bytes were sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def post(body: bytes, path: str = "/v1/chat/completions", **headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = {"Host": "proxy", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{text}\r\n".encode() + body


@asynccontextmanager
async def serving(config: Config, fetch: FakeFetch, clock: FakeClock, *, settle: bool = True) -> AsyncIterator[Served]:
    """The proxy behind a real socket; everybody has been asked for a list on entry."""
    app = Proxy(config, clock=clock, fetch=fetch)
    settings = uvicorn.Config(app, http=Protocol, lifespan="off", log_config=None, access_log=False)
    settings.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    async with app.lifespan():
        server = await loop.create_server(
            lambda: Protocol(config=settings, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE)
        try:
            async with client:
                if settle:
                    await breathe()
                yield Served(app, port, state, [client])
        finally:
            server.close()
            for task in list(state.tasks):
                task.cancel()
            await asyncio.gather(*state.tasks, return_exceptions=True)
            for connection in list(state.connections):
                connection.transport.abort()
            await breathe()


async def until(is_so: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Returns as soon as it is so; fails when it never is."""
    async with asyncio.timeout(seconds):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.002)


def circuit_of(app: Proxy, provider: str) -> Circuit:
    """Its circuit, once any model was called."""
    assert app.forwarder is not None
    return app.forwarder.circuits[provider]


def connections_of(app: Proxy, provider: str) -> Connections:
    """Its connections, once any model was called."""
    assert app.forwarder is not None
    return app.forwarder.endpoints[provider].connections
