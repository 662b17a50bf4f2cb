"""A worker's side of values of all workers (`proxy.server.workers.gathering`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from proxy.api.workers import OfWorkers, Subject
from proxy.server.workers.messages import Gather, Gathered, Message

_SECONDS = 3.0
"""Time limit for the supervisor's response; its own time limit for the workers is shorter."""


class WorkerValues:
    """Gets the values of all."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Gathered]] = {}
        self._numbers = count(1)

    def connect(self, send: Callable[[Message], None]) -> None:
        """`send`: to the supervisor."""
        self._send = send

    def gathered(self, message: Gathered) -> None:
        if (waiting := self._waiting.get(message.request)) and not waiting.done():
            waiting.set_result(message)

    async def gather(self, subject: Subject, own: bytes) -> OfWorkers:
        """Return the values of all workers, only its own if the supervisor does not respond."""
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(Gather(number, subject, own))
        try:
            async with asyncio.timeout(_SECONDS):
                gathered = await waiting
        except TimeoutError:
            return OfWorkers([own], {})
        finally:
            del self._waiting[number]
        return OfWorkers(gathered.parts, gathered.generations)
