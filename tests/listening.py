"""Serve the application on a real socket, in the event loop of the test."""

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
from proxy.server.http_protocol import http_protocol
from proxy.upstream.connection import Connections
from tests.attempts import Attempts
from tests.fakes import FakeClock, FakeFetch, log_failures, run_pending_tasks

TIMEOUT = 10.0
"""Seconds to wait for a condition before the test fails."""
TURN = 0.002
"""Seconds between two checks of a condition."""


@dataclass
class Served:
    """A proxy that listens on a port."""

    app: Proxy
    port: int
    state: ServerState
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> httpx.AsyncClient:
        return self.clients[0]

    async def call(self, model: str = "m", *, path: str = "/v1/chat/completions", **fields: object) -> httpx.Response:
        """Send one call without a key."""
        return await self.client.post(path, json={"model": model, **fields})

    @asynccontextmanager
    async def raw(self, request: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection and send these bytes."""
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
    """Return the bytes of a POST request."""
    lines = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
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
    """Serve the proxy on a real socket. With `settle`, every list was fetched on entry."""
    app = Proxy(config, clock=clock, fetch=fetch)
    log_failures(app)
    make: Callable[..., asyncio.Protocol] = protocol or http_protocol()
    settings = uvicorn.Config(app, ws="none", lifespan="off", proxy_headers=False, log_config=None, access_log=False)
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
                    await run_pending_tasks()
                served = Served(app, port, state, [client])
                app.telemetry.add(served.attempts)
                yield served
        finally:
            server.close()
            for task in list(state.tasks):
                task.cancel()
            await asyncio.gather(*state.tasks, return_exceptions=True)
            for connection in list(state.connections):
                connection.transport.abort()
            await run_pending_tasks()


async def until(is_so: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Return as soon as the condition is true; fail after `seconds`.

    The seconds are counted in iterations of the event loop, so that time in which a busy machine runs other processes
    does not count.
    """
    for _ in range(round(seconds / TURN)):
        if is_so():
            return
        await asyncio.sleep(TURN)
    raise AssertionError(f"not true within {seconds:g} s")


def circuit_of(app: Proxy, provider: str) -> Circuit:
    """The circuit of a provider. Requires that a model was called before."""
    assert app.deployment.forwarder is not None
    return app.deployment.forwarder.circuits[provider]


def connections_of(app: Proxy, provider: str) -> Connections:
    """The connections to a provider. Requires that a model was called before."""
    assert app.deployment.forwarder is not None
    return app.deployment.forwarder.endpoints[provider].connections
