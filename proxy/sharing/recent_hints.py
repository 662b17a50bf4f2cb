"""The hints of the last minute, for processes that start, and callbacks that are set, after they were announced."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from proxy.clock import SystemClock

KEPT_SECONDS = 60.0
"""Maximum seconds for which a hint is applied."""
MAX_KEPT = 200
"""Maximum number of hints. Above it, the oldest are dropped."""

Receive = Callable[[bytes, float], None]
"""Receives a hint, and the seconds since it was announced."""


class RecentHints:
    """Hints with the time at which they were announced."""

    def __init__(self, monotonic: Callable[[], float] = SystemClock.monotonic) -> None:
        self._now = monotonic
        self._hints: deque[tuple[float, bytes]] = deque(maxlen=MAX_KEPT)

    def add(self, hint: bytes, age: float = 0.0) -> None:
        self._hints.append((self._now() - age, hint))

    @property
    def each(self) -> Sequence[tuple[bytes, float]]:
        """The hints that can still apply, each with its age in seconds."""
        now = self._now()
        return [(hint, now - at) for at, hint in self._hints if now - at < KEPT_SECONDS]


class Listener:
    """Passes hints on to a callback. Hints that arrive before the callback is set are passed on when it is set."""

    def __init__(self, monotonic: Callable[[], float] = SystemClock.monotonic) -> None:
        self._early = RecentHints(monotonic)
        self.receive: Receive = self._early.add

    def listen(self, receive: Receive) -> None:
        """Replace the callback."""
        early, self._early = self._early.each, RecentHints()
        self.receive = receive
        for hint, age in early:
            receive(hint, age)
