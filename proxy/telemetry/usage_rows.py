"""Usage by hour: the values, and a compact form of hours that have ended. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from sys import intern
from typing import NamedTuple

OTHER_CALLERS = ":other"
"""The identity of rows that count several callers. No caller has it: names of keys contain no `:`, and identities of
users begin with the kind of their login."""


class Names(NamedTuple):
    """The labels of a row."""

    identity: str
    """The identity of the caller, "" for callers without one, or `OTHER_CALLERS`."""
    model: str
    """The requested id, "" for requests without an existing model."""
    provider: str
    """The provider of the last attempt, "" without one."""


class Counts(NamedTuple):
    """Calls, and the tokens that providers reported for them."""

    requests: int = 0
    failed: int = 0
    """Requests that ended with an error, or early for another reason than a disconnected client."""
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(
            self.requests + other.requests,
            self.failed + other.failed,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def highest(self, other: Counts) -> Counts:
        """Return the later of two states of the same row: counts only increase."""
        return Counts(*map(max, self, other))


Rows = Mapping[Names, Counts]

_COUNTS = len(Counts._fields)
MAX_COUNT = 2**63 - 1


class ClosedRows:
    """Rows that rarely change: 48 bytes each, and the names."""

    __slots__ = ("_counts", "_identities", "_models", "_names", "_providers")

    def __init__(self, rows: Rows) -> None:
        ordered = sorted(rows.items())
        # Interned: other hours have the same names.
        self._names = tuple(sorted({intern(str(name)) for names, _ in ordered for name in names}))
        numbers = {name: number for number, name in enumerate(self._names)}
        self._identities = array("I", [numbers[names.identity] for names, _ in ordered])
        self._models = array("I", [numbers[names.model] for names, _ in ordered])
        self._providers = array("I", [numbers[names.provider] for names, _ in ordered])
        self._counts = array("Q", [min(count, MAX_COUNT) for _, counts in ordered for count in counts])

    def __len__(self) -> int:
        return len(self._identities)

    @property
    def requests(self) -> int:
        """The sum of all rows."""
        return sum(self._counts[::_COUNTS])

    def items(self, identity: str | None = None) -> Iterator[tuple[Names, Counts]]:
        """The rows, or only those of one caller."""
        start, end = 0, len(self)
        if identity is not None:
            number = bisect_left(self._names, identity)
            if number == len(self._names) or self._names[number] != identity:
                return
            start, end = bisect_left(self._identities, number), bisect_right(self._identities, number)
        names, counts = self._names, self._counts
        for row in range(start, end):
            yield (
                Names(names[self._identities[row]], names[self._models[row]], names[self._providers[row]]),
                Counts(*counts[row * _COUNTS : (row + 1) * _COUNTS]),
            )


class OpenRows:
    """The rows that an hour has now. Their counts are read with `items`, which can run in a thread: reading those of
    60,000 rows takes as long as serving a thousand lists."""

    def __init__(self, rows: Mapping[Names, Sequence[int]]) -> None:
        self._rows = dict(rows)

    def items(self, identity: str | None = None) -> Iterator[tuple[Names, Counts]]:
        for names, row in self._rows.items():
            if identity is None or names.identity == identity:
                yield names, Counts(*row)


def merged(one: Rows, other: Rows) -> Rows:
    """The highest counts of two states of the same rows."""
    rows = dict(one)
    for names, counts in other.items():
        rows[names] = rows[names].highest(counts) if names in rows else counts
    return rows


def summed(one: Rows, other: Rows) -> Rows:
    rows = dict(one)
    for names, counts in other.items():
        rows[names] = rows[names].plus(counts) if names in rows else counts
    return rows
