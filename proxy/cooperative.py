"""Cooperative multitasking for long computations: generators that yield where the event loop may run other tasks.

It does not import asyncio, because pure packages use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Cooperative = Generator[None, None, T]
"""A computation that yields between its steps and returns its result."""

BATCH_SIZE = 50
"""Models per step: so small that 50 computations can take a step in the same iteration of the event loop."""


class _NextTurn:
    """Awaiting it yields to the event loop once, as `asyncio.sleep(0)` does."""

    def __await__(self) -> Generator[None, None, None]:
        yield


NEXT_TURN = _NextTurn()


def batched(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Yield the items in tuples of at most `BATCH_SIZE`."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, BATCH_SIZE)):
        yield batch


def run_now(work: Cooperative[T]) -> T:
    """Run the computation without yielding to the event loop and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


async def run_yielding(work: Cooperative[T], pause: Callable[[], Awaitable[None]] = lambda: NEXT_TURN) -> T:
    """Run the computation, with a pause between its steps, and return its result.

    `pause`: yields to the event loop at least once.
    """
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        await pause()
