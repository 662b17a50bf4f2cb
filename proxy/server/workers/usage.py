"""Usage of several workers: the leader keeps the usage of all workers, and each worker can query it.

Each row is in one process only: a worker sends what it has counted to the leader, then discards it. For a query, the
other workers send their rows first, then the leader gets the query; messages between two processes keep their order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from proxy.server.workers.messages import Message
from proxy.server.workers.processes import Worker
from proxy.server.workers.usage_messages import GetUsage, UsageMessage, UsagePart, UsageParts, UsageReply, UsageRows

ANSWER_SECONDS = 1.0
"""Time limit for the responses of all workers."""
_MAX_WAITING = 10_000
"""Messages that wait for a leader."""


@dataclass(eq=False)
class _PendingQuery:
    sender: Worker
    number: int
    """The number that the sender gave it."""
    query: bytes
    waiting: set[Worker]
    """Workers that have not responded yet."""
    until: float
    """Monotonic seconds."""
    is_sent_to_leader: bool = False
    parts: list[bytes] = field(default_factory=list)


class UsageOfWorkers:
    """The supervisor's side."""

    def __init__(self, send: Callable[[Worker, Message], None], monotonic: Callable[[], float]) -> None:
        self._send = send
        self._now = monotonic
        self._pending: dict[int, _PendingQuery] = {}
        self._numbers = count(1)
        self._leader: Worker | None = None
        self._waiting: deque[UsageRows] = deque(maxlen=_MAX_WAITING)
        """Rows that were not sent to a leader yet."""

    def handle(self, worker: Worker, message: UsageMessage, workers: Collection[Worker]) -> None:
        """Process a message of a worker."""
        match message:
            case UsageRows():
                self._waiting.append(message)
                self._send_waiting()
            case GetUsage():
                number = next(self._numbers)
                others = {each for each in workers if each.is_ready and each.is_connected and each is not self._leader}
                pending = _PendingQuery(worker, message.request, message.query, others, self._now() + ANSWER_SECONDS)
                self._pending[number] = pending
                for other in others:
                    self._send(other, GetUsage(number, message.query))
            case UsagePart():
                if found := self._pending.get(message.request):
                    found.waiting.discard(worker)
                    found.parts.append(message.data)

    def set_leader(self, leader: Worker | None) -> None:
        """Make another worker the leader, which keeps the usage of all workers."""
        self._leader = leader
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Send rows to the leader, unless it is stopping."""
        leader = self._leader
        while self._waiting and leader and leader.is_connected and not leader.is_stopping:
            self._send(leader, self._waiting.popleft())

    @property
    def rest(self) -> list[bytes]:
        """The rows that were not sent to a leader."""
        return [message.data for message in self._waiting]

    def remove(self, worker: Worker) -> None:
        """Remove a worker that has ended."""
        for pending in self._pending.values():
            pending.waiting.discard(worker)

    def finish(self) -> None:
        """Continue the queries to which all recipients have responded, or whose time limit is over."""
        leader = self._leader
        for number, pending in [*self._pending.items()]:
            is_late = self._now() >= pending.until
            if pending.waiting and not is_late:
                continue
            if not pending.is_sent_to_leader and not is_late and leader and leader.is_connected:
                pending.is_sent_to_leader = True
                pending.waiting = {leader}
                self._send(leader, GetUsage(number, pending.query))
            else:
                del self._pending[number]
                self._send(pending.sender, UsageParts(pending.number, pending.parts))

    @property
    def next_at(self) -> float:
        """Monotonic seconds at which `finish` must be called."""
        return min((pending.until for pending in self._pending.values()), default=float("inf"))


class Counted(Protocol):
    """The usage of this process: `proxy.server.usage.UsageKeeper`."""

    pass_on: Callable[[bytes], None] | None

    def receive(self, rows: bytes) -> None: ...
    async def part(self, query: bytes) -> bytes: ...


class WorkerUsage:
    """A worker's side."""

    def __init__(self) -> None:
        self._answers: dict[int, asyncio.Future[list[bytes]]] = {}
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self, send: Callable[[Message], None], counted: Counted) -> None:
        """`send`: to the supervisor."""
        self._send, self._counted = send, counted
        counted.pass_on = lambda rows: send(UsageRows(rows))

    def handle(self, message: UsageReply) -> None:
        match message:
            case UsageRows():
                self._counted.receive(message.data)
            case GetUsage():
                task = asyncio.create_task(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case UsageParts():
                if (waiting := self._answers.get(message.request)) and not waiting.done():
                    waiting.set_result(message.parts)

    async def _answer(self, message: GetUsage) -> None:
        self._send(UsagePart(message.request, await self._counted.part(message.query)))

    async def fetch(self, query: bytes) -> list[bytes]:
        """Return the responses of all workers (`telemetry.usage_query`), none if the supervisor does not respond."""
        number = next(self._numbers)
        waiting: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._answers[number] = waiting
        self._send(GetUsage(number, query))
        try:
            async with asyncio.timeout(2 * ANSWER_SECONDS):
                return await waiting
        except TimeoutError:
            return []
        finally:
            del self._answers[number]
