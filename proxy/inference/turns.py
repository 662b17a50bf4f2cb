"""Long computations of many calls: one step of one of them in each iteration of the event loop."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from proxy.cooperative import NEXT_TURN, Cooperative

T = TypeVar("T")


class Turns:
    """Runs computations in turns, so that many of them stop the event loop no longer than one does."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # it is first come, first served

    async def run(self, work: Cooperative[T]) -> T:
        """Run a computation and return its result. Without a yield in it, there is no wait."""
        try:
            next(work)
            while True:
                async with self._turn:
                    await NEXT_TURN
                    next(work)
        except StopIteration as done:
            result: T = done.value
            return result
