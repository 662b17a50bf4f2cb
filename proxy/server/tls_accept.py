"""Accept TLS connections so that those with an unfinished handshake are counted, and closed first at the limit.

The event loop's own servers report a connection only after its handshake, which a client can delay for seconds.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from proxy.server.connections import ClientConnections

_BATCH = 64
"""Connections that are accepted in one step of the event loop."""
RETRY_SECONDS = 1.0
"""Seconds after which a listener is used again that could not accept, because no descriptor is free."""


class Handshake:
    """A connection that has no TLS yet. A `ClientConnection`."""

    def __init__(self, began: float) -> None:
        """`began`: event loop time."""
        self.idle_rank = (False, began)
        self.task: asyncio.Task[None] | None = None

    def check(self, now: float) -> None:
        """The event loop ends handshakes that take too long."""

    def close_idle(self) -> None:
        if self.task:
            self.task.cancel()


class TlsServer:
    """A listening socket whose connections begin with a TLS handshake. What uvicorn uses of an `asyncio.Server`."""

    def __init__(
        self,
        connections: ClientConnections,
        protocol: Callable[[], asyncio.BaseProtocol],
        listening: socket.socket,
        context: ssl.SSLContext,
        handshake_seconds: float,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Accepts from now on. Must be called on the event loop; `listening` must not block."""
        self._connections = connections
        self._protocol = protocol
        self._listening = listening
        self._context = context
        self._handshake_seconds = handshake_seconds
        self._retry_seconds = retry_seconds
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._accept_next()

    @property
    def sockets(self) -> Sequence[socket.socket]:
        return (self._listening,)

    def close(self) -> None:
        """Stop accepting. Can be called again."""
        if self._retry:
            self._retry.cancel()
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def wait_closed(self) -> None:
        """The socket is closed at once."""

    def _accept_next(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(_BATCH):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is free
                self._loop.remove_reader(self._listening)
                self._retry = self._loop.call_later(self._retry_seconds, self._accept_next)
                return
            connection.setblocking(False)
            self._begin(connection, address[0] if isinstance(address, tuple) else "")

    def _begin(self, connection: socket.socket, address: str) -> None:
        handshake, descriptor = Handshake(self._loop.time()), connection.fileno()
        if self._connections.begin(handshake, address, descriptor):
            handshake.task = self._loop.create_task(self._connect(connection), name="TLS handshake")
            handshake.task.add_done_callback(lambda _: self._connections.end(handshake, descriptor))
        else:
            connection.close()

    async def _connect(self, connection: socket.socket) -> None:
        settings: dict[str, Any] = {"ssl": self._context, "ssl_handshake_timeout": self._handshake_seconds}
        with suppress(OSError):  # also of the handshake
            try:
                await self._loop.connect_accepted_socket(self._protocol, connection, **settings)
            except BaseException:
                connection.close()
                raise
