"""One request to a provider and its response, on a connection of aiohttp's pool."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Protocol

from proxy.asgi import Header

MAX_HEADER = 32 * 1024
"""Bytes of a header."""
MAX_HEADERS = 200
READ_AHEAD = 64 * 1024
"""Bytes of a response that are buffered for its client before reading from the provider is paused."""


class Incoming(Protocol):
    """A response whose head has arrived. It must be closed unless it was read to its end."""

    status: int
    sent_headers: Mapping[str, str]
    """The headers of the request. Names are case-insensitive."""

    @property
    def raw_headers(self) -> Sequence[Header]:
        """Names in lower case."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the body was read to its end. Does not wait."""
        ...

    def read_nowait(self) -> bytes:
        """Bytes that have already arrived, b"" if none. Raises aiohttp.ClientError and OSError."""
        ...

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises aiohttp.ClientError and OSError."""
        ...

    def close(self) -> None:
        """Discard the rest of the response."""
        ...


class Held(Protocol):
    """A connection that an exchange holds until it is returned to the pool or closed."""

    @property
    def transport(self) -> asyncio.Transport | None: ...

    def release(self) -> None:
        """Return it to the pool, unless it cannot be used again."""
        ...

    def close(self) -> None: ...


class ConnectionProtocol(Protocol):
    """The protocol of a connection (`proxy.upstream.protocol`)."""

    _loop: asyncio.AbstractEventLoop

    def leave(self) -> None:
        """Ignore what still arrives."""
        ...

    def resume(self) -> None:
        """Continue to read from the provider."""
        ...


class Exchange:
    """A request and its response. Bytes that arrived before a failure are read before it is raised."""

    __slots__ = (
        "_connection",
        "_error",
        "_loop",
        "_parts",
        "_protocol",
        "_size",
        "_waiter",
        "is_complete",
        "raw_headers",
        "sent_headers",
        "status",
    )

    def __init__(self, connection: Held, protocol: ConnectionProtocol, sent_headers: Mapping[str, str]) -> None:
        self.status = 0
        """0 until the head has arrived."""
        self.raw_headers: list[Header] = []
        self.sent_headers = sent_headers
        self.is_complete = False
        """Whether the whole response has arrived."""
        self._connection: Held | None = connection
        self._protocol = protocol
        self._loop = protocol._loop
        self._parts: list[bytes] = []
        self._size = 0
        self._error: Exception | None = None
        """A copy of it is raised, because the frames of its traceback reference this object."""
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> None:
        """Wait for the head. Raises aiohttp.ClientError and OSError."""
        while not self.status:
            await self._arrival()

    @property
    def is_over(self) -> bool:
        return self.is_complete and not self._parts

    def read_nowait(self) -> bytes:
        parts = self._parts
        if not parts:
            if self._error:
                raise copy(self._error)
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        self._protocol.resume()
        return data

    async def read(self) -> bytes:
        while not self._parts and not self.is_complete:
            await self._arrival()
        return self.read_nowait()

    def close(self) -> None:
        """Abort the connection, because a provider that has stopped reading would keep the socket open."""
        if connection := self._connection:
            self._connection = None
            self._protocol.leave()
            if connection.transport:
                connection.transport.abort()
            connection.close()

    def add(self, data: bytes) -> None:
        """Add bytes of the body."""
        self._parts.append(data)
        self._size += len(data)

    @property
    def is_full(self) -> bool:
        return self._size > READ_AHEAD

    def complete(self, *, reusable: bool) -> None:
        """The response has ended: return the connection to the pool, or close it."""
        self.is_complete = True
        connection, self._connection = self._connection, None
        if connection and reusable:
            connection.release()
        elif connection:
            connection.close()
        self.wake()

    def fail(self, error: Exception) -> None:
        """The response has ended too early, and so has its connection."""
        self._error = error
        connection, self._connection = self._connection, None
        if connection:
            connection.close()
        self.wake()

    def wake(self) -> None:
        """Let the reader look at what has arrived."""
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():  # it is done if the reader was canceled
            waiter.set_result(None)

    def _arrival(self) -> asyncio.Future[None]:
        """Something that arrives next. Raises what the response failed with."""
        if self._error:
            raise copy(self._error)
        waiter = self._waiter = self._loop.create_future()
        return waiter
