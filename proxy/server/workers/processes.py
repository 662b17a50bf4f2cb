"""Values: the workers of a supervisor, and the places that a worker and its successors have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from proxy.server.workers.channel import Channel
from proxy.server.workers.messages import FromWorker, Settings, ToWorker
from proxy.server.workers.sockets import Group

FIRST_BACKOFF, MAX_BACKOFF = 1.0, 30.0
"""Seconds until the next start after a worker ended soon; doubled each time in a row. The first time it is at once."""
STABLE_SECONDS = 10.0
"""A worker that ends earlier has ended soon."""


class Start(NamedTuple):
    """What a new worker gets from the supervisor."""

    number: int
    """From 1."""
    settings: Settings
    """Those in use."""
    sockets: Group
    channel: Channel[ToWorker]
    packed: bytes | None
    """The last valid configuration; None for the one that the supervisor was started with."""
    reports_start: bool
    """Whether it is the leader from the start, and reports the start of the server."""
    heartbeat: float
    """Seconds between two messages `Alive`."""


@dataclass(eq=False)
class Place:
    """What a worker and its successors have in common."""

    number: int
    sockets: Group
    is_open: bool = True
    """Whether a worker can be started; otherwise those of other places must be ready first."""
    worker: Worker | None = None
    ended_soon: int = 0
    """How many workers in a row ended soon after their start."""
    start_at: float = 0.0
    """Monotonic seconds."""

    def ended(self, now: float) -> float:
        """The worker has ended. Returns the seconds until the next one is started."""
        assert self.worker, "has ended"
        is_early = now < self.worker.started_at + STABLE_SECONDS
        self.worker = None
        return self.failed(now) if is_early else self._start_in(now, 0)

    def failed(self, now: float) -> float:
        """A worker has ended soon, or could not be started. Returns the seconds until the next one is started."""
        return self._start_in(now, self.ended_soon + 1)

    def _start_in(self, now: float, ended_soon: int) -> float:
        self.ended_soon = ended_soon
        seconds = min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** (ended_soon - 2)) if ended_soon > 1 else 0.0
        self.start_at = now + seconds
        return seconds


@dataclass(eq=False)
class Worker:
    """A process."""

    pid: int
    place: Place
    channel: Channel[FromWorker]
    started_at: float
    """Monotonic seconds."""
    is_connected: bool = True
    """Whether messages can be sent."""
    is_ready: bool = False
    generation: str = ""
    """Of the configuration that it uses, "" until it is ready."""
    is_stopping: bool = False
    has_responded: bool = False
    """Whether its event loop has run."""
    missed: int = 0
    """Intervals in a row without a heartbeat."""
    kill_at: float = float("inf")
    """Monotonic seconds."""
