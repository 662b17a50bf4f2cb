"""The bytes of request bodies in memory: bounded for all calls, and shared between keys."""

from __future__ import annotations

import asyncio
from collections import deque

from proxy.errors import ServerBusy

_WAIT = 10.0
"""Seconds that a call waits until its body can be read."""
_MAX_WAITING = 100  # calls of one key

Waiter = asyncio.Future[bool]
"""A call that waits. The result is whether its bytes are reserved; False: it has waited too long."""


class BodyMemory:
    """Reserves the bytes of bodies before they are read.

    A key can have as many bytes as remain free: the first key half of all, the next one half of the rest, and so on.
    So no key can keep others out, and short bodies can be read even while the memory is nearly full.
    """

    def __init__(self, limit: int, seconds: float = _WAIT) -> None:
        """`limit`: bytes; `seconds`: how long a call waits for them."""
        self._limit = limit
        self._seconds = seconds
        self.used = 0
        self._used_by: dict[str, int] = {}
        self._waiting: dict[str, deque[tuple[int, Waiter]]] = {}
        """By key. The key whose last admission is the longest ago is first."""

    def resize(self, limit: int) -> None:
        """Change the limit, in bytes. Bodies that are in memory stay there."""
        self._limit = limit
        if self._waiting:
            self._admit()

    def lease(self, key: str) -> Lease:
        """Return a lease of no bytes for a call of this key. It must be released."""
        return Lease(self, key)

    def fits(self, key: str, size: int) -> bool:
        """Return whether a key can have this many more bytes now."""
        return self._used_by.get(key, 0) + size <= self._limit - self.used - size

    def has_waiting(self, key: str) -> bool:
        return key in self._waiting

    def take(self, key: str, size: int) -> bool:
        """Reserve bytes if they are free and no earlier call of this key waits. Returns whether they are reserved."""
        used = self._used_by.get(key, 0) + size
        if key in self._waiting or used > self._limit - self.used - size:
            return False
        self.used += size
        self._used_by[key] = used
        return True

    def add(self, key: str, size: int) -> None:
        """Reserve bytes; a negative number is given back."""
        self.used += size
        used = self._used_by.get(key, 0) + size
        if used:
            self._used_by[key] = used
        else:
            self._used_by.pop(key, None)
        if size < 0 and self._waiting:
            self._admit()

    async def wait(self, key: str, size: int) -> bool:
        """Wait until the bytes are reserved. Returns False if that takes too long, or too many calls wait."""
        if len(self._waiting.get(key, ())) >= _MAX_WAITING:
            return False
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._waiting.setdefault(key, deque()).append((size, waiter))
        timer = loop.call_later(self._seconds, _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.add(key, -size)
            raise
        finally:
            timer.cancel()
            self._leave(key, size, waiter)

    def _admit(self) -> None:
        """Admit the first call of each key in turn, as long as the bytes of one are free."""
        is_over = False
        while not is_over:
            is_over = True
            for key, queue in [*self._waiting.items()]:
                size, waiter = queue[0]
                if not waiter.done() and not self.fits(key, size):
                    continue
                is_over = False
                self._leave(key, size, waiter)
                if not waiter.done():
                    self.add(key, size)
                    waiter.set_result(True)
                    if key in self._waiting:
                        self._waiting[key] = self._waiting.pop(key)

    def _leave(self, key: str, size: int, waiter: Waiter) -> None:
        queue = self._waiting.get(key)
        if queue and (size, waiter) in queue:
            queue.remove((size, waiter))
            if not queue:
                del self._waiting[key]


class Lease:
    """The bytes that one call has reserved for its body."""

    __slots__ = ("_key", "_memory", "size")

    def __init__(self, memory: BodyMemory, key: str) -> None:
        self._memory = memory
        self._key = key
        self.size = 0

    def take(self, size: int) -> bool:
        """Reserve the first bytes, before the body is read. Returns False if the call must wait for them."""
        if not self._memory.take(self._key, size):
            return False
        self.size = size
        return True

    async def reserve(self, size: int) -> None:
        """Reserve the first bytes; wait for them if necessary. Raises ServerBusy."""
        if not self.take(size):
            if not await self._memory.wait(self._key, size):
                raise ServerBusy
            self.size = size

    def grow(self, size: int) -> None:
        """Reserve further bytes of a body whose length was not known.

        Raises ServerBusy at once: calls that wait for each other would not end.
        """
        if not self._memory.fits(self._key, size):
            raise ServerBusy
        self._memory.add(self._key, size)
        self.size += size

    def shrink_to(self, size: int) -> None:
        """Give back all but these bytes."""
        self._memory.add(self._key, size - self.size)
        self.size = size

    def release(self) -> None:
        """Give back all bytes."""
        if self.size:
            self._memory.add(self._key, -self.size)
            self.size = 0


def _give_up(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(False)
