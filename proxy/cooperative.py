"""Long work in short steps: a generator that yields wherever its caller may look at something else."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Cooperative = Generator[None, None, T]
"""Work that yields between its steps and returns its result."""

BATCH_SIZE = 50
"""Models that are looked at in one step: so few that fifty such works may take their turns in the same moment."""


def batched(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """The items, a few at a time."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, BATCH_SIZE)):
        yield batch


def run_now(work: Cooperative[T]) -> T:
    """The result of the work, without looking at anything else."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
