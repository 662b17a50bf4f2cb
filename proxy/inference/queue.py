"""The queue of calls that wait for a slot at one provider: bounded, and fair between keys. Pure."""

from __future__ import annotations

from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable, MutableMapping

Waiter = Future[bool]
"""A call that waits. The result is whether it has a slot; False: it was rejected for a call of another key."""


class FairQueue:
    """Calls that wait, by key.

    The key with the fewest calls in progress is next; of equal ones that whose last admission is the longest ago, then
    the order of arrival. So a key without a call in progress waits for at most one call of each other key, however
    many calls those have, and however long they take. A key with `key_limit` calls in progress waits for one of its
    own to end.
    """

    def __init__(
        self, size: int, new_waiter: Callable[[], Waiter], held: MutableMapping[str, int], key_limit: int
    ) -> None:
        """`size`: calls that can wait; `new_waiter` returns a pending future; `held`: calls in progress by key, to
        which admitted ones are added."""
        self._size = size
        self._key_limit = key_limit
        self._new_waiter = new_waiter
        self._held = held
        self.waiting: dict[str, OrderedDict[Waiter, None]] = {}
        self._length = 0
        self._admissions = 0
        self._last_admission: dict[str, int] = {}
        """Of the keys that were admitted since the queue was last empty."""

    def __len__(self) -> int:
        return self._length

    def configure(self, size: int, key_limit: int) -> None:
        """Change the limits. Calls that wait already are not rejected."""
        self._size = size
        self._key_limit = key_limit

    def join(self, key: str) -> Waiter | None:
        """Add a call of a key. `leave` must follow. None: the queue is full, and no key has more calls in it.

        In a full queue, the newest call of the key with the most calls is rejected instead: calls of one key cannot
        keep those of others out.
        """
        if self._length >= self._size and not self._reject_for(key):
            return None
        waiter = self._new_waiter()
        self.waiting.setdefault(key, OrderedDict())[waiter] = None
        self._length += 1
        return waiter

    def admit(self) -> bool:
        """Give a slot to the next call. Returns False if no call waits that can have it."""
        while self.waiting:
            key = min(self.waiting, key=self._turn)
            if self._held.get(key, 0) >= self._key_limit:
                return False
            waiter = next(iter(self.waiting[key]))
            is_canceled = waiter.done()  # and its task has not run since
            if not is_canceled:
                self._admissions += 1
                self._last_admission[key] = self._admissions
                self._held[key] = self._held.get(key, 0) + 1
                waiter.set_result(True)
            self._remove(key, waiter)
            if not is_canceled:
                return True
        return False

    def leave(self, key: str, waiter: Waiter) -> bool:
        """Stop waiting. Returns whether the call already has a slot, which must then be released."""
        if waiter in self.waiting.get(key, ()):
            self._remove(key, waiter)
        return waiter.done() and not waiter.cancelled() and waiter.result()

    def _turn(self, key: str) -> tuple[int, int]:
        return self._held.get(key, 0), self._last_admission.get(key, 0)

    def _reject_for(self, key: str) -> bool:
        """Reject a waiting call of a key that has more of them than this one would have. Returns False without any."""
        longest = max(self.waiting, key=self._count, default=key)
        if self._count(longest) <= self._count(key) + 1:
            return False
        waiter = next(reversed(self.waiting[longest]))
        self._remove(longest, waiter)
        if not waiter.done():
            waiter.set_result(False)
        return True

    def _count(self, key: str) -> int:
        return len(self.waiting.get(key, ()))

    def _remove(self, key: str, waiter: Waiter) -> None:
        del self.waiting[key][waiter]
        self._length -= 1
        if not self.waiting[key]:
            del self.waiting[key]
        if not self.waiting:
            self._last_admission.clear()
