"""Connections whose TLS handshake is not over count as connections of clients."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from typing import cast

import pytest
import trustme

from proxy.config.limits import Limits
from proxy.server.connections import ClientConnections
from proxy.server.tls_accept import TlsServer
from proxy.upstream.event_loop import EventLoop
from tests.listening import until

pytestmark = pytest.mark.anyio

AUTHORITY = trustme.CA()


class Connected(asyncio.Protocol):
    """A connection after its handshake: greets, and is never idle."""

    idle_rank = None

    def __init__(self, connections: ClientConnections) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        descriptor = transport.get_extra_info("socket").fileno()
        self.is_admitted = self._connections.admit(self, "127.0.0.1", descriptor)
        cast(asyncio.Transport, transport).write(b"hello" if self.is_admitted else b"full!")

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self, "127.0.0.1")

    def check(self, now: float) -> None: ...
    def close_idle(self) -> None: ...


class Served:
    """A server, and what it counts."""

    def __init__(self, limits: Limits, handshake_seconds: float = 10.0, retry_seconds: float = 1.0) -> None:
        self.connections = ClientConnections(limits, first_reserved=float("inf"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.address = self.listening.getsockname()
        self.server = TlsServer(
            self.connections,
            lambda: Connected(self.connections),
            self.listening,
            context,
            handshake_seconds,
            retry_seconds,
        )

    async def counts(self, number: int) -> bool:
        """Wait until so many connections are counted."""
        await until(lambda: len(self.connections) == number)
        return True

    async def greeting(self) -> bytes:
        """What a client gets after its handshake. Raises OSError."""
        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        reader, writer = await asyncio.open_connection(*self.address, ssl=context)
        try:
            return await reader.readexactly(5)
        finally:
            writer.close()

    async def silent(self) -> socket.socket:
        client = socket.socket()
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, self.address)
        return client

    async def is_closed(self, client: socket.socket) -> bool:
        try:
            return await asyncio.get_running_loop().sock_recv(client, 1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served(Limits(connections=3))
    yield served
    served.server.close()
    await served.server.wait_closed()


async def test_they_are_counted_and_the_idlest_is_closed_for_a_new_one(served: Served) -> None:
    clients = []
    for number in (1, 2, 3):
        clients.append(await served.silent())
        assert await served.counts(number)
    assert await served.greeting() == b"hello"
    assert await served.is_closed(clients[0])
    for client in clients:
        client.close()
    assert await served.counts(0)


async def test_a_connection_is_counted_once_after_its_handshake(served: Served) -> None:
    greetings = [await served.greeting() for _ in range(10)]
    assert greetings == [b"hello"] * 10
    assert await served.counts(0)
    assert [each.getsockname() for each in served.server.sockets] == [served.address]


async def test_a_failed_handshake_is_not_counted_any_more(served: Served) -> None:
    client = await served.silent()
    assert await served.counts(1)
    await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\n\r\n")
    assert await served.counts(0)
    client.close()


async def test_a_handshake_that_takes_too_long_ends() -> None:
    served = Served(Limits(connections=3), handshake_seconds=0.05)
    client = await served.silent()
    assert await served.is_closed(client)
    assert await served.counts(0)
    client.close()
    served.server.close()


async def test_addresses_are_limited_during_the_handshake() -> None:
    served = Served(Limits(connections=10, connections_per_address=1))
    client, other = await served.silent(), await served.silent()
    assert await served.is_closed(other)
    other.close()
    client.close()
    assert await served.counts(0)
    assert await served.greeting() == b"hello"
    served.server.close()
    served.server.close()  # as uvicorn does


async def test_the_event_loop_uses_it_for_sockets_that_it_listens_at() -> None:
    def listen() -> tuple[bool, int]:
        with asyncio.Runner(loop_factory=EventLoop) as runner:
            return runner.run(listening())

    async def listening() -> tuple[bool, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        served: list[tuple[socket.socket, float]] = []
        loop.accept_tls = lambda protocol, sock, context, seconds: served.append((sock, seconds))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            await loop.create_server(asyncio.Protocol, sock=bound, ssl=context, backlog=2048)
            assert served == [(bound, EventLoop.handshake_seconds)]
            return bound.getblocking(), bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

    assert await asyncio.to_thread(listen) == (False, 1)


class NoDescriptor:
    """A listening socket that cannot accept, because no descriptor is free, until `is_free`."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.is_free = False
        self.attempts = 0

    def fileno(self) -> int:
        return self._listening.fileno()

    def close(self) -> None:
        self._listening.close()

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        if self.is_free:
            return self._listening.accept()
        raise OSError(errno.EMFILE, "too many open files")


async def test_a_listener_without_free_descriptors_is_tried_again() -> None:
    served = Served(Limits(connections=3), retry_seconds=0.01)
    listening = NoDescriptor(served.listening)
    served.server._listening = listening  # type: ignore[assignment]
    greeting = asyncio.create_task(served.greeting())
    await until(lambda: listening.attempts >= 3)
    listening.is_free = True
    assert await greeting == b"hello"
    served.server.close()
