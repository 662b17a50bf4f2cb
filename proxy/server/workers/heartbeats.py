"""Detects workers that hang: each sends `Alive` by a timer of its event loop, and the supervisor counts intervals
without one.

Intervals are counted, not seconds: after all processes were suspended together, each misses one interval at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from proxy.server.workers.messages import Alive, Message
from proxy.server.workers.processes import Worker

INTERVAL = 5.0
"""Seconds between two heartbeats of a worker, and between two checks."""
MAX_MISSED = 6
"""Intervals in a row without a heartbeat, after which a worker hangs."""
MAX_MISSED_AT_START = 24
"""The same before the first heartbeat, when a worker has no event loop yet."""


class Heartbeats:
    """Counts the intervals that each worker misses."""

    def __init__(self, monotonic: Callable[[], float], interval: float = INTERVAL) -> None:
        """`interval`: seconds."""
        self.interval = interval
        self._now = monotonic
        self.next_at = monotonic() + interval
        """Monotonic seconds at which `hanging` must be called."""

    def received(self, worker: Worker) -> None:
        """Record a heartbeat of a worker."""
        worker.has_responded, worker.missed = True, 0

    def hanging(self, workers: Collection[Worker]) -> Sequence[Worker]:
        """Return the workers that hang, when a check is due. Workers that stop have their own time limit."""
        if self._now() < self.next_at:
            return ()
        self.next_at = self._now() + self.interval
        for worker in workers:
            worker.missed += 1
        return [worker for worker in workers if not worker.is_stopping and worker.missed > _limit(worker)]


def _limit(worker: Worker) -> int:
    return MAX_MISSED if worker.has_responded else MAX_MISSED_AT_START


class Heartbeat:
    """A worker's side: a message at intervals, while the event loop runs."""

    def __init__(self, interval: float) -> None:
        """`interval`: seconds."""
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None

    def start(self, send: Callable[[Message], None]) -> None:
        """Send heartbeats until `stop`. Must be called on the event loop."""
        self._timer = asyncio.get_running_loop().call_later(self._interval, self.start, send)
        send(Alive())

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
