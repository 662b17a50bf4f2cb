"""Connections that clients have opened, and that the server has not accepted when it stops."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager

import pytest

from proxy.server.app import Proxy
from proxy.server.run import Server
from proxy.server.systemd import ServiceManager
from proxy.store import Report, Store
from tests.fakes import FakeClock, FakeFetch, config_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

CONFIG = config_of("providers: [{name: lab, kind: static, models: [m]}]")
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLIENTS = 20


class NoObserver:
    def on_start(self, reports: Sequence[Report]) -> None: ...
    def on_report(self, report: Report) -> None: ...
    def on_ready(self, url: str, store: Store) -> None: ...


@asynccontextmanager
async def listening(
    fetch: FakeFetch, clock: FakeClock, *, is_handed_down: bool = False
) -> AsyncIterator[tuple[Server, socket.socket]]:
    app = Proxy(CONFIG, clock=clock, fetch=fetch)
    server = Server(app, CONFIG, NoObserver(), ServiceManager(None), is_handed_down=is_handed_down)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        yield server, listener


async def everything_from(client: socket.socket) -> bytes:
    """What is received until the end of the connection. Raises ConnectionResetError."""
    parts: list[bytes] = []
    while part := await asyncio.get_running_loop().sock_recv(client, 4096):
        parts.append(part)
    return b"".join(parts)


async def test_waiting_connections_are_served_and_closed(fetch: FakeFetch, clock: FakeClock) -> None:
    async with listening(fetch, clock) as (server, listener):
        with ExitStack() as stack:
            # The event loop cannot accept them: nothing is awaited before the shutdown.
            clients = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(CLIENTS)]
            for client in clients:
                client.setblocking(False)
            for client in clients[1:]:
                client.send(REQUEST)
            server.handle_exit(signal.SIGINT, None)
            stopping = asyncio.create_task(server.shutdown([listener]))
            served = await asyncio.gather(*map(everything_from, clients[1:]))
            clients[0].send(REQUEST)  # on its way when the listener was closed
            served.append(await everything_from(clients[0]))
            await stopping
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(clients[0].getpeername())

    assert [reply.split(b"\r\n", 1)[0] for reply in served] == [b"HTTP/1.1 200 OK"] * CLIENTS
    assert all(b"\r\nconnection: close\r\n" in reply for reply in served)


async def test_a_waiting_connection_without_a_request_does_not_keep_the_server(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with listening(fetch, clock) as (server, listener):
        with socket.create_connection(listener.getsockname()) as client:
            client.setblocking(False)
            async with asyncio.timeout(10):
                await server.shutdown([listener])
                assert await everything_from(client) == b""


async def test_connections_at_a_socket_that_was_handed_down_wait_for_the_next_server(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with listening(fetch, clock, is_handed_down=True) as (server, listener):
        with listener.dup() as kept, ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(kept.getsockname())) for _ in range(CLIENTS)]
            await server.shutdown([listener])
            kept.setblocking(False)
            accepted = [stack.enter_context(kept.accept()[0]).getpeername() for _ in clients]
            assert sorted(accepted) == sorted(client.getsockname() for client in clients)


async def test_a_request_that_has_arrived_at_an_idle_connection_is_served(fetch: FakeFetch, clock: FakeClock) -> None:
    async with listening(fetch, clock) as (server, listener):
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            await loop.sock_sendall(client, REQUEST)
            assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 200 OK")
            client.send(REQUEST)  # the event loop cannot read it: nothing is awaited before the shutdown
            server.handle_exit(signal.SIGINT, None)
            await server.shutdown([listener])
            served = await everything_from(client)
    assert served.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\nconnection: close\r\n" in served
