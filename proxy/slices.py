"""Long work in short steps: a generator that yields wherever its caller may look at something else."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that yields between its steps and returns its result."""

LENGTH = 50
"""Models that are looked at in one step: so few that fifty such works may take their turns in the same moment."""


def slices(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """The items, a few at a time."""
    iterator = iter(items)
    while some := tuple(islice(iterator, LENGTH)):
        yield some


def at_once(work: Steps[T]) -> T:
    """The result of the work, without looking at anything else."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
