"""The application behind a real socket, in the event loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import uvicorn
from uvicorn.server import ServerState

from proxy.config import Config
from proxy.inference.circuit import Circuit
from proxy.server.app import Proxy
from proxy.server.protocol import http_protocol
from proxy.upstream.connection import Connections
from tests.fakes import FakeClock, FakeFetch, breathe

TIMEOUT = 10.0
"""Seconds after which a condition that should be true is a failure."""
TURN = 0.002
"""Seconds between two looks at a condition."""


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
async def serving(
    config: Config,
    fetch: FakeFetch,
    clock: FakeClock,
    *,
    settle: bool = True,
    protocol: Callable[..., asyncio.Protocol] | None = None,
) -> AsyncIterator[Served]:
    """The proxy behind a real socket; every provider has been asked for its list on entry."""
    app = Proxy(config, clock=clock, fetch=fetch)
    make: Callable[..., asyncio.Protocol] = protocol or http_protocol()
    settings = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False)
    settings.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    async with app.lifespan():
        server = await loop.create_server(
            lambda: make(config=settings, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=TIMEOUT)
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


async def until(is_so: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Returns as soon as the condition is true; fails when it never is.

    The seconds are counted in turns of the event loop, in which everything here runs: time in which a busy machine
    runs something else does not count.
    """
    for _ in range(round(seconds / TURN)):
        if is_so():
            return
        await asyncio.sleep(TURN)
    raise AssertionError(f"not true within {seconds:g} s")


def circuit_of(app: Proxy, provider: str) -> Circuit:
    """Its circuit, once any model was called."""
    assert app.deployment.forwarder is not None
    return app.deployment.forwarder.circuits[provider]


def connections_of(app: Proxy, provider: str) -> Connections:
    """Its connections, once any model was called."""
    assert app.deployment.forwarder is not None
    return app.deployment.forwarder.endpoints[provider].connections
