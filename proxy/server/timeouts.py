"""What one connection of a client can take its time for: heads, bodies, reading responses, and being idle.

No timer is set per request: `ClientConnections` calls `check` for every connection once per second.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Protocol

from proxy.config.limits import Limits
from proxy.errors import ApiError, RequestTimeout

RATE_SECONDS = 30.0
"""The time over which `body_rate` is an average."""
LINGER_SECONDS = 2.0
"""How long a client can receive an error response while it is still sending."""
_TCP_INFO = getattr(socket, "TCP_INFO", None)  # Linux
_BYTES_ACKED = struct.Struct("120xQ")  # `tcpi_bytes_acked` in linux/tcp.h
_CLOSED_BY_PEER = frozenset({7, 8, 9})  # TCP_CLOSE, TCP_CLOSE_WAIT and TCP_LAST_ACK in linux/tcp_states.h


class Cycle(Protocol):
    """uvicorn's state of one request and its response."""

    response_complete: bool
    more_body: bool
    waiting_for_100_continue: bool


class Flow(Protocol):
    """uvicorn's flow control of one connection."""

    read_paused: bool


class Connection(Protocol):
    """The HTTP protocol of one connection."""

    transport: asyncio.Transport
    bytes_received: int

    @property
    def flow(self) -> Flow: ...

    @property
    def cycle(self) -> Cycle | None:
        """The last request, None before the first one and after an error."""
        ...

    @property
    def has_begun(self) -> bool:
        """Whether a part of a request head was received."""
        ...

    def refuse(self, error: ApiError) -> None:
        """Send an error response, and close the connection when the client has received it."""
        ...


class Timeouts:
    """The timeouts of one connection. Times are those of the event loop."""

    __slots__ = ("_acked", "_connection", "_limits", "_time", "_unread_since", "_upload", "deadline", "lingers")

    def __init__(self, connection: Connection, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._limits = limits
        self._time = loop.time
        self.deadline = self._time() + limits.header_timeout
        """When the connection is closed if no request is in progress then."""
        self.lingers = False
        """Whether an error was sent, and everything that is received is discarded."""
        self._upload: _Upload | None = None
        self._acked = 0
        self._unread_since: float | None = None

    def begin_head(self) -> None:
        """A request has begun on a connection that was idle."""
        self.deadline = self._time() + self._limits.header_timeout

    def begin_idling(self) -> None:
        """A response is complete."""
        self.deadline = self._time() + self._limits.keepalive_timeout

    def begin_lingering(self) -> None:
        """An error was sent."""
        self.lingers = True
        self.deadline = self._time() + LINGER_SECONDS

    def check(self, now: float) -> None:
        """Close the connection if one of its times is over."""
        connection = self._connection
        cycle = connection.cycle
        if connection.transport.get_write_buffer_size():
            self._check_reading(now)
        elif self._unread_since is not None:
            self._unread_since = None
        if cycle is None or cycle.response_complete:
            if now >= self.deadline and self._unread_since is None:
                self._expire()
        elif cycle.more_body:
            self._check_body(now, cycle)
            return
        elif connection.flow.read_paused and _is_closed_by_peer(connection.transport):
            connection.transport.abort()  # a disconnect is only reported while reading
        self._upload = None

    def _expire(self) -> None:
        if self.lingers:
            self._connection.transport.abort()
        elif self._connection.has_begun:
            seconds = self._limits.header_timeout
            self._connection.refuse(RequestTimeout(f"The request head was not complete within {seconds:g} s."))
        else:
            self._connection.transport.close()

    def _check_reading(self, now: float) -> None:
        """Close the connection if the client does not read its response."""
        acked = _progress(self._connection.transport)
        if self._unread_since is None or acked != self._acked:
            self._unread_since, self._acked = now, acked
        elif now - self._unread_since >= self._limits.write_timeout:
            self._connection.transport.abort()

    def _check_body(self, now: float, cycle: Cycle) -> None:
        """Refuse the request if its body stops or is too slow, unless the server has stopped reading it."""
        connection, limits = self._connection, self._limits
        upload = self._upload
        if connection.flow.read_paused or cycle.waiting_for_100_continue:
            self._upload = None
        elif upload is None or upload.cycle is not cycle:
            self._upload = _Upload(cycle, now, connection.bytes_received)
        elif problem := upload.problem(now, connection.bytes_received, limits):
            self._upload = None
            connection.refuse(RequestTimeout(problem))


class _Upload:
    """The progress of one request body."""

    __slots__ = ("_began", "_began_with", "_received", "_received_at", "cycle")

    def __init__(self, cycle: Cycle, now: float, received: int) -> None:
        """`received`: bytes on the connection until now."""
        self.cycle = cycle
        self._received_at = self._began = now
        self._received = self._began_with = received

    def problem(self, now: float, received: int, limits: Limits) -> str:
        """Return the limit that the body exceeds, "" if none."""
        if received != self._received:
            self._received, self._received_at = received, now
        elif now - self._received_at >= limits.body_timeout:
            return f"No data of the request body was received for {limits.body_timeout:g} s."
        if now - self._began >= RATE_SECONDS:
            if received - self._began_with < limits.body_rate * (now - self._began):
                return (
                    f"The request body was received at less than {limits.body_rate:,} bytes per second "
                    f"on average over {RATE_SECONDS:g} s."
                )
            self._began, self._began_with = now, received
        return ""


def _progress(transport: asyncio.Transport) -> int:
    """Return a number that changes when the client reads.

    On Linux it is the number of acknowledged bytes. Elsewhere it is the size of the write buffer, which also changes
    when the server writes; but that stops when the buffer is full.
    """
    info = _tcp_info(transport)
    return _BYTES_ACKED.unpack_from(info)[0] if len(info) >= _BYTES_ACKED.size else transport.get_write_buffer_size()


def _is_closed_by_peer(transport: asyncio.Transport) -> bool:
    return _tcp_info(transport)[:1] in {bytes([state]) for state in _CLOSED_BY_PEER}


def _tcp_info(transport: asyncio.Transport) -> bytes:
    """Return `struct tcp_info`, b"" if the system has none."""
    if _TCP_INFO is None:
        return b""
    try:
        info: bytes = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED.size)
    except OSError:
        return b""
    return info
