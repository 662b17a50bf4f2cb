"""The conditions of all workers, so that each one can answer probes for all without waiting for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import msgspec

from proxy.api.workers import Condition
from proxy.server.workers.messages import Message, OtherConditions, OwnCondition
from proxy.server.workers.processes import Worker

INTERVAL = 0.5
"""Seconds between two checks of a worker's own condition."""

_ENCODE = msgspec.msgpack.encode
_DECODE = msgspec.msgpack.Decoder(Condition).decode


class Conditions:
    """The last condition of each worker."""

    def __init__(self, send: Callable[[Worker, Message], None]) -> None:
        self._send = send
        self._known: dict[Worker, bytes] = {}
        self._is_over = False

    def changed(self, worker: Worker, data: bytes, workers: Collection[Worker]) -> None:
        """Record the new condition of a worker. `workers`: all workers."""
        self._known[worker] = data
        self.announce(workers)

    def remove(self, worker: Worker, workers: Collection[Worker]) -> None:
        """Remove a worker that has ended."""
        if self._known.pop(worker, None):
            self.announce(workers)

    def end(self, workers: Collection[Worker]) -> None:
        """Stop: from now on, each worker responds for itself."""
        self._known.clear()
        self.announce(workers)
        self._is_over = True

    def announce(self, workers: Collection[Worker]) -> None:
        """Send the known conditions to all workers."""
        for worker in () if self._is_over else workers:
            self._send(worker, OtherConditions([data for other, data in self._known.items() if other is not worker]))


class WorkerConditions:
    """A worker's side: sends its own condition when it changes, and keeps those of the others."""

    def __init__(self) -> None:
        self.others: Sequence[Condition] = ()
        self._sent = b""
        self._timer: asyncio.TimerHandle | None = None

    def start(self, own: Callable[[], Condition], send: Callable[[Message], None]) -> None:
        """Report the condition of this process now, and until `stop`. Must be called on the event loop."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self.start, own, send)
        data = _ENCODE(own())
        if data != self._sent:
            self._sent = data
            send(OwnCondition(data))

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def received(self, message: OtherConditions) -> None:
        """The conditions of the others have changed."""
        self.others = [_DECODE(part) for part in message.parts]
