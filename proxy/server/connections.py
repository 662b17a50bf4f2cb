"""All connections of clients: their number, and one timer for all of their timeouts."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Protocol

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from proxy.config.limits import Limits
from proxy.server.read_turns import ReadTurns

SWEEP_SECONDS = 1.0
"""Time between two checks of all timeouts, or less if a timeout is shorter than four times this."""
_SLICE = 500
"""Connections that are checked before other work has its turn."""
_SAMPLE = 1000
"""Connections that are compared to find the idlest ones."""
_BATCH = 64
"""Idle connections that are found at once."""
_LOG_SECONDS = 60.0

_log = logging.getLogger("models_proxy")


class ClientConnection(Protocol):
    """What is known of a connection here."""

    @property
    def idle_rank(self) -> tuple[bool, float] | None:
        """Idle connections are closed in ascending order; None if a request or a response is in progress."""
        ...

    def check(self, now: float) -> None:
        """Close the connection if one of its timeouts is over. `now`: event loop time."""
        ...

    def close_idle(self) -> None: ...


class ClientConnections:
    """The open connections of clients.

    Only a part of the file descriptors that the process can open is used for clients. The rest is reserved for
    connections to providers and for files.
    """

    def __init__(self, limits: Limits, first_reserved: float | None = None) -> None:
        """`first_reserved`: the first descriptor that is not for clients, by default `first_reserved_descriptor`."""
        self._first_reserved = first_reserved_descriptor() if first_reserved is None else first_reserved
        self.read_turns = ReadTurns()
        self._open: set[ClientConnection] = set()
        self._addresses: Counter[str] = Counter()
        self._handshakes: dict[int, tuple[ClientConnection, str]] = {}
        """Descriptor -> what stands for the connection until its TLS handshake is over, and its address."""
        self._idlest: deque[tuple[tuple[bool, float], ClientConnection]] = deque()
        self._may_scan = True
        self._timer: asyncio.TimerHandle | None = None
        self._logged_at = float("-inf")
        self.are_ending = False
        """Whether each connection is closed after its next response, because the server stops."""
        self.configure(limits)

    def configure(self, limits: Limits) -> None:
        """Apply other limits to new connections. Timeouts of open connections stay as they are."""
        self.limits = limits
        shortest = min(limits.header_timeout, limits.body_timeout, limits.write_timeout, limits.keepalive_timeout)
        self._interval = min(SWEEP_SECONDS, shortest / 4)

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, handshake: ClientConnection, address: str, descriptor: int) -> bool:
        """Add a connection whose TLS handshake begins: see `admit`. `admit` replaces it after the handshake."""
        if not self.admit(handshake, address, descriptor):
            return False
        self._handshakes[descriptor] = handshake, address
        return True

    def end(self, handshake: ClientConnection, descriptor: int) -> None:
        """A TLS handshake has ended, also with a failure."""
        if (found := self._handshakes.get(descriptor)) and found[0] is handshake:
            del self._handshakes[descriptor]
            self.discard(*found)

    def admit(self, connection: ClientConnection, address: str, descriptor: int) -> bool:
        """Add a new connection, if necessary after closing idle ones. Returns False if it must be closed.

        `descriptor`: that of its socket. The system assigns the lowest one that is free, so if it is reserved, all
        lower ones are in use, for whatever.
        """
        if found := self._handshakes.get(descriptor):
            self.end(found[0], descriptor)
        per_address = self.limits.connections_per_address
        if per_address is not None and self._addresses[address] >= per_address:
            return False
        if len(self._open) >= self.limits.connections and not self._close_idlest(1):
            return False
        excess = descriptor - self._first_reserved
        # Two more: for this connection, and for one to a provider, if it sends a call.
        if excess >= 0 and not self._close_idlest(int(excess) + 2):
            return False
        self._open.add(connection)
        if per_address is not None:
            self._addresses[address] += 1
        if self._timer is None:
            self._start_timer()
        return True

    def discard(self, connection: ClientConnection, address: str) -> None:
        """Remove a connection that was closed."""
        self._open.discard(connection)
        if self._addresses.get(address):
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def sweep(self, now: float) -> None:
        """Close all connections of which a timeout is over. `now`: event loop time."""
        self._check(tuple(self._open), now)

    def _check(self, connections: Iterable[ClientConnection], now: float) -> None:
        for connection in connections:
            if connection in self._open:
                connection.check(now)

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_timer)

    def _on_timer(self) -> None:
        self._may_scan = True
        self._sweep_slices(iter(tuple(self._open)))

    def _sweep_slices(self, rest: Iterator[ClientConnection]) -> None:
        """Check all connections, some in each iteration of the event loop."""
        loop = asyncio.get_running_loop()
        if batch := tuple(islice(rest, _SLICE)):
            self._check(batch, loop.time())
            loop.call_soon(self._sweep_slices, rest)
        elif self._open:
            self._start_timer()
        else:
            self._timer = None

    def _close_idlest(self, number: int) -> int:
        """Close the connections that have been idle for the longest time. Returns how many were closed."""
        self._log_limit()
        closed = 0
        while closed < number and (connection := self._next_idle()):
            self._open.discard(connection)
            connection.close_idle()
            closed += 1
        return closed

    def _next_idle(self) -> ClientConnection | None:
        """Return the idlest connection, None if no connection is idle."""
        while True:
            while self._idlest:
                rank, connection = self._idlest.popleft()
                if connection in self._open and connection.idle_rank == rank:
                    return connection
            if not self._may_scan:
                return None
            self._find_idlest()

    def _find_idlest(self) -> None:
        """Find several idle connections at once. If there is none, the next attempt is after the next sweep.

        Of many connections only a sample is compared: otherwise a flood of new ones would keep the event loop busy.
        """
        rest = iter(self._open)
        while not self._idlest and (sample := tuple(islice(rest, _SAMPLE))):
            ranked = ((rank, id(connection), connection) for connection in sample if (rank := connection.idle_rank))
            self._idlest.extend((rank, connection) for rank, _, connection in heapq.nsmallest(_BATCH, ranked))
        self._may_scan = bool(self._idlest)

    def _log_limit(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._logged_at + _LOG_SECONDS:
            self._logged_at = now
            _log.warning(
                "connection limit reached (%d open connections): closing idle connections; raise "
                "`server.limits.connections` or the number of open files (ulimit -n)",
                len(self._open),
            )


def raise_descriptor_limit() -> None:
    """Use all file descriptors that the system allows: the soft limit is often 1024, for the sake of `select`."""
    if resource:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # macOS rejects an unlimited number
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def first_reserved_descriptor() -> float:
    """Return the number of the first file descriptor that is reserved: one eighth of them are."""
    if resource:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return soft - soft // 8
    return float("inf")
