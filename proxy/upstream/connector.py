"""The connector of aiohttp: never reuse a connection that received unsolicited bytes, and reuse others cheaply."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection

from proxy.upstream.protocol import Protocol, Turns

IDLE_SECONDS = 10.0
"""How long an idle connection is kept: shorter than most providers keep it, so that it is seldom closed in use."""
_IDLE_CHECK_SECONDS = 1.0
_TCP_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Socket options of Linux: seconds without data, seconds between two probes, and probes."""
_opens_new: ContextVar[bool] = ContextVar("opens_new", default=False)
"""Whether the current call must not reuse a connection. `ClientSession.request` has no parameter for it."""


class Connector(aiohttp.TCPConnector):
    """Never reuses a connection that received unsolicited bytes: they would corrupt the next caller's response."""

    def __init__(self, monotonic: Callable[[], float], **options: Any) -> None:
        super().__init__(socket_factory=_socket, **options)
        self._factory = partial(Protocol, self._loop, monotonic, Turns(self._loop))  # type: ignore[assignment]  # `partial` is invariant

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if isinstance(protocol, Protocol) and not protocol.should_close:
                protocol.use()
                return connection
            connection.close()

    def idle(self, key: ConnectionKey) -> Reused | None:
        """Return an idle connection, None if there is none that can be used.

        Does what `connect` does with idle connections, without suspending.
        """
        oldest = self._loop.time() - IDLE_SECONDS
        connections = self._conns.get(key) or deque()
        while connections:
            protocol, since = connections.popleft()
            if (
                isinstance(protocol, Protocol)
                and since >= oldest
                and protocol.is_connected()
                and not protocol.should_close
            ):
                protocol.use()
                self._acquired.add(protocol)
                return Reused(self, key, protocol)
            protocol.close()
        return None

    def put_back(self, key: ConnectionKey, protocol: Protocol) -> None:
        """Do what `Connection.release` does with a connection that `idle` returned. It can be reused."""
        self._acquired.discard(protocol)
        if self._closed:
            protocol.close()
            return
        self._conns[key].append((protocol, self._loop.time()))
        if self._cleanup_handle is None:  # it is, if a check found no idle connection
            self._cleanup_handle = self._loop.call_later(_IDLE_CHECK_SECONDS, self._cleanup)

    def drop(self, protocol: Protocol) -> None:
        self._acquired.discard(protocol)
        protocol.close()

    async def _get(self, key: Any, traces: list[Any]) -> Connection | None:
        return None if _opens_new.get() else await super()._get(key, traces)

    def _cleanup(self) -> None:
        """Close idle connections. aiohttp would check the others only after another `keepalive_timeout`."""
        super()._cleanup()
        if self._cleanup_handle is not None:
            self._cleanup_handle.cancel()
            self._cleanup_handle = self._loop.call_later(_IDLE_CHECK_SECONDS, self._cleanup)


class Reused:
    """A connection that was idle. Costs less than aiohttp's `Connection`, and needs no finalizer."""

    __slots__ = ("_connector", "_key", "protocol")

    def __init__(self, connector: Connector, key: ConnectionKey, protocol: Protocol) -> None:
        self._connector = connector
        self._key = key
        self.protocol = protocol

    @property
    def transport(self) -> asyncio.Transport | None:
        return self.protocol.transport

    def release(self) -> None:
        self._connector.put_back(self._key, self.protocol)

    def close(self) -> None:
        self._connector.drop(self.protocol)


@contextmanager
def only_new_connections() -> Iterator[None]:
    token = _opens_new.set(True)
    try:
        yield
    finally:
        _opens_new.reset(token)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an address of `getaddrinfo` that detects a connection that was lost without being closed."""
    family, kind, protocol = address[:3]
    created = socket.socket(family, kind, protocol)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_KEEPALIVE.items():
        if option := getattr(socket, name, None):
            created.setsockopt(socket.IPPROTO_TCP, option, value)
    return created
