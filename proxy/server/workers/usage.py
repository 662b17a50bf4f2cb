"""Usage of several workers: the leader keeps that of all, and each answers for all.

Each row is in one process only: a worker passes on what it has counted, and has it no longer. To answer for all, the
others pass on their rows first, then the leader is asked; messages between two processes keep their order.
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
from proxy.server.workers.usage_messages import AskUsage, UsageMessage, UsagePart, UsageParts, UsageReply, UsageRows

ANSWER_SECONDS = 1.0
"""How long the answers of all workers are waited for."""
_MAX_WAITING = 10_000
"""Messages that wait for a leader."""


@dataclass(eq=False)
class _Question:
    sender: Worker
    number: int
    """Of the sender's questions."""
    query: bytes
    waiting: set[Worker]
    """Workers that have not answered yet."""
    until: float
    """Monotonic seconds."""
    leader_is_asked: bool = False
    parts: list[bytes] = field(default_factory=list)


class UsageOfWorkers:
    """The supervisor's side."""

    def __init__(self, send: Callable[[Worker, Message], None], monotonic: Callable[[], float]) -> None:
        self._send = send
        self._now = monotonic
        self._questions: dict[int, _Question] = {}
        self._numbers = count(1)
        self._leader: Worker | None = None
        self._waiting: deque[UsageRows] = deque(maxlen=_MAX_WAITING)
        """Rows that no leader has."""

    def handle(self, worker: Worker, message: UsageMessage, workers: Collection[Worker]) -> None:
        """Do what a worker has sent."""
        match message:
            case UsageRows():
                self._waiting.append(message)
                self._send_waiting()
            case AskUsage():
                number = next(self._numbers)
                others = {each for each in workers if each.is_ready and each.is_connected and each is not self._leader}
                question = _Question(worker, message.request, message.query, others, self._now() + ANSWER_SECONDS)
                self._questions[number] = question
                for other in others:
                    self._send(other, AskUsage(number, message.query))
            case UsagePart():
                if asked := self._questions.get(message.request):
                    asked.waiting.discard(worker)
                    asked.parts.append(message.data)

    def led_by(self, leader: Worker | None) -> None:
        """Another worker keeps the usage of all from now on."""
        self._leader = leader
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Pass on rows to the leader, unless it ends."""
        leader = self._leader
        while self._waiting and leader and leader.is_connected and not leader.is_stopping:
            self._send(leader, self._waiting.popleft())

    @property
    def rest(self) -> list[bytes]:
        """The rows that no leader has."""
        return [message.data for message in self._waiting]

    def left(self, worker: Worker) -> None:
        """A worker has ended."""
        for question in self._questions.values():
            question.waiting.discard(worker)

    def finish(self) -> None:
        """Go on with questions to which all that were asked have responded, or too late."""
        leader = self._leader
        for number, question in [*self._questions.items()]:
            is_late = self._now() >= question.until
            if question.waiting and not is_late:
                continue
            if not question.leader_is_asked and not is_late and leader and leader.is_connected:
                question.leader_is_asked = True
                question.waiting = {leader}
                self._send(leader, AskUsage(number, question.query))
            else:
                del self._questions[number]
                self._send(question.sender, UsageParts(question.number, question.parts))

    @property
    def next_at(self) -> float:
        """Monotonic seconds at which `finish` must be called."""
        return min((question.until for question in self._questions.values()), default=float("inf"))


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
            case AskUsage():
                task = asyncio.create_task(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case UsageParts():
                if (waiting := self._answers.get(message.request)) and not waiting.done():
                    waiting.set_result(message.parts)

    async def _answer(self, message: AskUsage) -> None:
        self._send(UsagePart(message.request, await self._counted.part(message.query)))

    async def ask(self, query: bytes) -> list[bytes]:
        """The answers of all workers (`telemetry.usage_query`), none if the supervisor does not respond."""
        number = next(self._numbers)
        waiting: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._answers[number] = waiting
        self._send(AskUsage(number, query))
        try:
            async with asyncio.timeout(2 * ANSWER_SECONDS):
                return await waiting
        except TimeoutError:
            return []
        finally:
            del self._answers[number]
