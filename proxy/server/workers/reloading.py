"""Reloads of all workers: the leader reads the files, the others get what it has read, an administrator the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from proxy.server.workers.messages import Answer, Message, Reload, Reloaded
from proxy.server.workers.processes import Worker

APPLY_SECONDS = 30.0
"""How long an answer waits until all workers use a configuration."""


@dataclass(eq=False)
class _Request:
    sender: Worker | None
    """The worker that received the request of an administrator; None: SIGHUP."""
    number: int
    """Of the sender's requests."""
    leader: Worker | None = None
    """Which reads the files, None before."""
    result: Reloaded | None = None
    until: float = float("inf")
    """Monotonic seconds until which the answer waits."""


class Reloading:
    """The reloads in progress."""

    def __init__(self, send: Callable[[Worker, Message], None], on_signal_done: Callable[[bool], None]) -> None:
        """`on_signal_done` is called after each reload because of SIGHUP, with whether it succeeded."""
        self._send = send
        self._on_signal_done = on_signal_done
        self._requests: dict[int, _Request] = {}
        self._numbers = count(1)

    def request(self, sender: Worker | None, number: int, leader: Worker | None) -> None:
        """Request a reload, for a worker or for SIGHUP (None)."""
        identity = next(self._numbers)
        request = self._requests[identity] = _Request(sender, number)
        if leader:
            self._begin(identity, request, leader)

    def set_leader(self, leader: Worker) -> None:
        """Make another worker the leader, which repeats what the one before it did not finish."""
        for identity, request in self._requests.items():
            if request.result is None:
                self._begin(identity, request, leader)

    def reloaded(self, result: Reloaded, now: float) -> None:
        """The leader has read the files."""
        request = self._requests.get(result.request)
        if request is None:
            return
        request.result, request.until = result, now + APPLY_SECONDS
        if request.sender is None:
            del self._requests[result.request]
            self._on_signal_done(result.payload is not None)

    def finish(self, workers: list[Worker], now: float) -> None:
        """Send the answers for which nothing is left to wait."""
        waiting = [worker for worker in workers if worker.is_ready and not worker.is_stopping]
        for identity, request in [*self._requests.items()]:
            if request.sender not in workers and request.sender is not None:
                del self._requests[identity]
            elif request.result and (now >= request.until or _agree(waiting, request)):
                del self._requests[identity]
                generations = {worker.place.number: worker.generation for worker in waiting}
                assert request.sender, "those of SIGHUP have no answer"
                self._send(request.sender, Answer(request.number, request.result, generations))

    @property
    def next_at(self) -> float:
        """Monotonic seconds at which `finish` must be called."""
        return min((request.until for request in self._requests.values()), default=float("inf"))

    def _begin(self, identity: int, request: _Request, leader: Worker) -> None:
        request.leader = leader
        self._send(leader, Reload(identity, "SIGHUP: " if request.sender is None else "admin: "))


def _agree(workers: list[Worker], request: _Request) -> bool:
    """Whether all workers use what the leader has loaded."""
    leader = request.leader
    return leader is None or not leader.is_ready or all(each.generation == leader.generation for each in workers)
