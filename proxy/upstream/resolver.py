"""DNS lookups of providers' host names: a slow or failing name server never delays other providers.

Each lookup has its own thread, because `getaddrinfo` cannot be canceled, and there is one per host at a time. In a pool
of threads, ten names that hang would stop all other lookups, and the shutdown of the process.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

FRESH_SECONDS = 10.0
"""How long addresses are used without another lookup."""
KEPT_SECONDS = 86_400.0
"""How long the last addresses are used while lookups fail or hang."""
PATIENCE = 0.5
"""Seconds that a request with older addresses waits for a lookup before it uses them."""

Address = tuple[Any, ...]
"""A row of `socket.getaddrinfo`: family, type, protocol, canonical name, socket address."""


class _Known(NamedTuple):
    """The addresses of a host, and the monotonic seconds at which they were looked up."""

    addresses: Sequence[Address]
    at: float


def _look_up(host: str) -> Sequence[Address]:
    return socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)


class Resolver:
    """The addresses of hosts, for one event loop."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        look_up: Callable[[str], Sequence[Address]] = _look_up,
        patience: float = PATIENCE,
    ) -> None:
        """`monotonic` returns seconds. `look_up` blocks, and is called in a thread."""
        self._look_up = look_up
        self._monotonic = monotonic
        self._patience = patience
        self._known: dict[str, _Known] = {}
        self.running: dict[str, asyncio.Future[Sequence[Address]]] = {}
        """Host -> its lookup in progress."""

    async def resolve(self, host: str) -> Sequence[Address]:
        """The addresses of a host, also old ones if the lookup fails or hangs. Raises OSError and UnicodeError."""
        known, now = self._known.get(host), self._monotonic()
        if known and now < known.at + FRESH_SECONDS:
            return known.addresses
        lookup = self.running.get(host) or self._start(host)
        if known is None or now >= known.at + KEPT_SECONDS:
            # Shielded: one canceled waiter must not cancel the others.
            return await asyncio.shield(lookup)
        await asyncio.wait([lookup], timeout=self._patience)
        return lookup.result() if lookup.done() and not lookup.exception() else known.addresses

    def _start(self, host: str) -> asyncio.Future[Sequence[Address]]:
        loop = asyncio.get_running_loop()
        lookup = self.running[host] = loop.create_future()

        def run() -> None:
            try:
                deliver: Callable[..., None] = lookup.set_result
                outcome: object = self._look_up(host)
            except Exception as error:
                deliver, outcome = lookup.set_exception, error
            with suppress(RuntimeError):  # the event loop was closed
                loop.call_soon_threadsafe(deliver, outcome)

        lookup.add_done_callback(lambda done: self._finish(host, done))
        # A daemon thread does not delay the end of the process.
        threading.Thread(target=run, name=f"look up {host}", daemon=True).start()
        return lookup

    def _finish(self, host: str, lookup: asyncio.Future[Sequence[Address]]) -> None:
        del self.running[host]
        if lookup.exception() is None:
            self._known[host] = _Known(lookup.result(), self._monotonic())
