"""Long work in short steps: a generator that yields wherever the event loop may run something else.

Pure packages use this module, so it imports no event loop.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Cooperative = Generator[None, None, T]
"""Work that yields between its steps and returns its result."""

BATCH_SIZE = 50
"""Models per step: small enough that fifty such works may each take a step in the same turn of the event loop."""


def batched(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """The items in tuples of at most `BATCH_SIZE`."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, BATCH_SIZE)):
        yield batch


def run_now(work: Cooperative[T]) -> T:
    """Run the work to its end without a pause and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


async def run_yielding(work: Cooperative[T]) -> T:
    """Run the work and return its result; between its steps the event loop may run something else."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        await _NEXT_TURN


class _NextTurn:
    """Awaiting it yields to the event loop once, as `asyncio.sleep(0)` does."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_NEXT_TURN = _NextTurn()
