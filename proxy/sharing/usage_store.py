"""The interface to the store that keeps the usage of all replicas (`proxy.sharing.usage`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import NamedTuple, Protocol

from proxy.telemetry.usage_rows import Counts, Names, Rows

MAX_ROWS = 1_000_000
"""Maximum number of rows of all hours. Further ones are counted as `other`."""
KEPT_DAYS = 92
"""Days for which an hour is kept: a day more than is shown, in any time zone."""
MAX_BATCH = 200
"""Rows, and last requests, of one batch: the server is busy with it for up to 3 ms."""


class Batch(NamedTuple):
    """Rows to add, at most `MAX_BATCH`. One that may have been added already can be added again."""

    number: int
    """Greater than that of each earlier batch of the process."""
    rows: Sequence[tuple[int, Names, Counts]]
    """Each with the start of its hour, in Unix seconds."""
    used: Mapping[str, float]
    """Identity -> Unix seconds of its last request."""


class HourState(NamedTuple):
    """One hour in the index."""

    version: int
    """It changes with the rows."""
    rows: int


class Index(NamedTuple):
    """The hours that have rows."""

    hours: Mapping[int, HourState]
    """By their start, in Unix seconds."""
    daily_before: date | None
    """For the days before, only totals per day are kept."""

    @property
    def rows(self) -> int:
        return sum(state.rows for state in self.hours.values())


class UsageStore(Protocol):
    """Keeps the usage of several processes. Methods never raise; None: the store cannot be used now."""

    async def add(self, batch: Batch) -> int | None:
        """Add rows. Returns the number of calls that were not counted, because their hour cannot be stored."""

    async def index(self) -> Index | None: ...

    async def rows(self, start: int) -> Rows | None:
        """The rows of an hour."""

    async def used_since(self, time: float) -> Mapping[str, float] | None:
        """Identity -> Unix seconds of its last request, if that was not before `time`."""

    async def claim_maintenance(self, seconds: float) -> bool:
        """Whether this process, and no other one for this time, is to merge and remove rows."""

    async def merge(self, start: int, target: int) -> bool:
        """Add the rows of an hour to another one of the same day. Returns whether all are moved."""

    async def remove(self, starts: Sequence[int]) -> None:
        """Remove hours."""

    async def correct(self, rows: int, daily_before: date | None) -> None:
        """Store the number of rows, and the day before which only totals per day are kept."""


def batches(
    rows: Iterable[tuple[int, Names, Counts]], used: Mapping[str, float], numbers: Iterator[int]
) -> Iterator[Batch]:
    """Divide rows and last requests into batches."""
    rows, requests = iter(rows), iter(used.items())
    while True:
        some, others = [*islice(rows, MAX_BATCH)], dict(islice(requests, MAX_BATCH))
        if not some and not others:
            return
        yield Batch(next(numbers), some, others)
