"""The share of each caller's key in one iteration of the event loop, however many connections it has.

A key that has used its share waits for the next iteration, after the requests of others that have arrived meanwhile.
Work is estimated, not measured: reading a clock twice per request would cost more than all of this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container

BUDGET = 3000
"""The budget of one key in one iteration, in about microseconds of CPU."""
LOW = BUDGET // 2
REQUEST = 45
"""The cost of a request that arrives alone. Calls continue in separate tasks, so only their start is counted."""
MAX_SHARES = 50_000
"""Maximum shares of keys and users."""
BYTES_PER_UNIT = 2048
"""Bytes of a response that are written at the cost of 1."""


class Share:
    """The share of one key."""

    __slots__ = ("_is_scheduled", "_loop", "_waiting", "key", "left")

    def __init__(self, key: str | None, loop: asyncio.AbstractEventLoop) -> None:
        self.key = key
        self.left = BUDGET
        """What can be used until the next iteration. Not above 0: further requests must `wait`."""
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_scheduled = False

    def renew_soon(self) -> None:
        """Renew the share in the next iteration. Called when it is `LOW`, so that few requests cause a callback."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._renew)

    def wait(self, resume: Callable[[], None]) -> None:
        """Call `resume` in a later iteration, in the order of arrival. It may use the share."""
        self._waiting.append(resume)

    def _renew(self) -> None:
        self._is_scheduled = False
        self.left = BUDGET
        while self._waiting and self.left > 0:
            self._waiting.popleft()()


class Shares:
    """The shares of all keys, by name; None for requests whose caller was not identified."""

    __slots__ = ("_shares",)

    def __init__(self) -> None:
        self._shares: dict[str | None, Share] = {}

    def limit_to(self, identities: Container[str]) -> None:
        """Discard the shares of removed callers. Their connections keep theirs."""
        self._shares = {key: share for key, share in self._shares.items() if not key or key in identities}

    def of(self, key: str | None, loop: asyncio.AbstractEventLoop) -> Share:
        share = self._shares.get(key)
        if share is None:
            if len(self._shares) >= MAX_SHARES:  # of users; keys are few
                self._shares.clear()  # connections keep theirs
            share = self._shares[key] = Share(key, loop)
        return share
