"""Values of all workers, such as metrics, so that each can answer for all.

The last answers are kept: they stand for a worker that does not respond, and the counters of one that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import count

from proxy.api.workers import Subject
from proxy.server.workers.messages import Gather, Gathered, Measure, Measured, Message, ValueMessage
from proxy.server.workers.processes import Worker
from proxy.server.workers.usage import UsageOfWorkers
from proxy.telemetry.merging import counters_of

GATHER_SECONDS = 1.0
"""How long the answers of all workers are waited for."""


@dataclass(eq=False)
class _Request:
    sender: Worker
    number: int
    """Of the sender's requests."""
    subject: Subject
    waiting: set[Worker]
    """Workers that have not answered yet."""
    until: float
    """Monotonic seconds."""


class Gathering:
    """The requests in progress, and the last answers."""

    def __init__(
        self, send: Callable[[Worker, Message], None], monotonic: Callable[[], float], before: bytes = b""
    ) -> None:
        """`before`: the counters of an earlier server (`counters_of`), b"" without any."""
        self._send = send
        self._now = monotonic
        self._requests: dict[int, _Request] = {}
        self._numbers = count(1)
        self._last: dict[tuple[Worker, Subject], bytes] = {}
        self.usage = UsageOfWorkers(send, monotonic)
        self.ended = before
        """The counters of all workers that have ended, b"" without any."""

    def handle(self, worker: Worker, message: ValueMessage, workers: Collection[Worker]) -> None:
        """Process a message of a worker."""
        if isinstance(message, Gather):
            self.gather(worker, message, [other for other in workers if other is not worker])
        elif isinstance(message, Measured):
            self.measured(worker, message)
        else:
            self.usage.handle(worker, message, workers)

    def gather(self, sender: Worker, message: Gather, others: Collection[Worker]) -> None:
        """Collect the values of all workers for one. Its own are in the message."""
        self._last[sender, message.subject] = message.own
        number = next(self._numbers)
        waiting = {other for other in others if other.is_ready and other.is_connected}
        until = self._now() + GATHER_SECONDS
        self._requests[number] = _Request(sender, message.request, message.subject, waiting, until)
        for other in waiting:
            self._send(other, Measure(number, message.subject))

    def measured(self, worker: Worker, message: Measured) -> None:
        """A worker has answered."""
        self._last[worker, message.subject] = message.data
        if request := self._requests.get(message.request):
            request.waiting.discard(worker)

    def remove(self, worker: Worker) -> None:
        """Remove a worker that has ended, and keep its counters."""
        self.usage.remove(worker)
        for request in self._requests.values():
            request.waiting.discard(worker)
        self._last.pop((worker, "calls"), None)
        self._last.pop((worker, "status"), None)
        if metrics := self._last.pop((worker, "metrics"), None):
            self.ended = counters_of([self.ended, metrics] if self.ended else [metrics])

    def finish(self, workers: Collection[Worker]) -> None:
        """Send the results that are complete, or late."""
        self.usage.finish()
        for number, request in [*self._requests.items()]:
            if not request.waiting or self._now() >= request.until or request.sender not in workers:
                del self._requests[number]
                self._send(request.sender, self._result(request, workers))

    @property
    def next_at(self) -> float:
        """Monotonic seconds at which `finish` must be called."""
        return min([self.usage.next_at, *(request.until for request in self._requests.values())])

    def _result(self, request: _Request, workers: Collection[Worker]) -> Gathered:
        parts = [data for worker in workers if (data := self._last.get((worker, request.subject)))]
        if request.subject == "metrics" and self.ended:
            parts.append(self.ended)
        generations = {worker.place.number: worker.generation for worker in workers if not worker.is_stopping}
        return Gathered(request.number, parts, generations)
