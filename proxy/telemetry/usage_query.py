"""Totals of usage: queries and their sums. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from proxy.telemetry.days import Days
from proxy.telemetry.usage import Usage, UsageState
from proxy.telemetry.usage_rows import ClosedRows, Counts, Names, OpenRows

GROUPS = ("hour", "day", "key", "model", "provider")
"""The fields by which usage can be added up."""
MAX_TOTALS = 100_000
"""Maximum rows of one answer."""

TOO_MANY = b""
"""Sent by a process instead of an answer with too many rows."""

Labels = tuple[str, ...]
Totals = Mapping[Labels, Counts]
"""Values of `Query.by` -> what was used."""


class TooManyTotals(ValueError):
    """An answer has too many rows."""


class Query(Struct, frozen=True, array_like=True):
    """A selection of usage to add up."""

    begin: int
    end: int
    """Unix seconds; selects hours that begin from `begin` on and before `end`."""
    by: tuple[str, ...]
    """Values of `GROUPS`."""
    identity: str | None = None
    """Selects the usage of one caller; None: of all."""


class Elsewhere(NamedTuple):
    """Usage that is not in the `Usage` of this process."""

    hours: Sequence[tuple[int, ClosedRows | OpenRows]]
    """The start of an hour, in Unix seconds, and some of its rows."""
    last_used: Mapping[str, float]
    """Identity -> Unix seconds."""
    state: UsageState


class Answer(Struct, array_like=True):
    """The totals of one process."""

    totals: Sequence[tuple[Labels, tuple[int, int, int, int]]]
    last_used: Mapping[str, float]
    """Identity -> Unix seconds."""
    state: UsageState
    is_complete: bool | None = None
    """Whether the totals contain those of all replicas; None if this process cannot know."""


class PreparedQuery:
    """A query with a copy of the usage that it reads, so that it can run in a thread."""

    def __init__(
        self, usage: Usage, query: Query, elsewhere: Sequence[Elsewhere] = (), *, is_complete: bool | None = None
    ) -> None:
        self._query = query
        self._days = usage.days
        self._hours = [*usage.snapshot(query.begin, query.end)]
        self._last_used = dict(usage.last_used(query.identity))
        self._is_complete = is_complete
        states = [usage.state]
        for each in elsewhere:
            self._hours += [(start, rows) for start, rows in each.hours if query.begin <= start < query.end]
            if query.identity is None:
                _add_times(self._last_used, each.last_used)
            elif query.identity in each.last_used:
                _add_times(self._last_used, {query.identity: each.last_used[query.identity]})
            states.append(each.state)
        self._state = _of_all(states)

    def answer(self) -> Answer:
        """Raises TooManyTotals."""
        query = self._query
        totals: dict[Labels, Counts] = {}
        for start, rows in self._hours:
            labels_of = _Labels(query.by, start, self._days)
            for names, counts in rows.items(query.identity):
                labels = labels_of(names)
                before = totals.get(labels)
                totals[labels] = before.plus(counts) if before else counts
            if len(totals) > MAX_TOTALS:
                raise TooManyTotals
        return Answer([*totals.items()], self._last_used, self._state, self._is_complete)


class _Labels:
    """The labels of the rows of one hour."""

    def __init__(self, by: Sequence[str], start: int, days: Days) -> None:
        self._by = by
        self._fixed = {
            "hour": datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "day": days.day_of(start).isoformat(),
        }

    def __call__(self, names: Names) -> Labels:
        values = {**self._fixed, "key": names.identity, "model": names.model, "provider": names.provider}
        return tuple([values[name] for name in self._by])


def packed(value: Query | Answer) -> bytes:
    """Encode a value for another process."""
    return msgspec.msgpack.encode(value)


def unpacked_query(data: bytes) -> Query:
    return msgspec.msgpack.decode(data, type=Query)


def together(parts: Iterable[bytes]) -> Answer:
    """Merge the answers of several processes. Raises ValueError for invalid bytes, and TooManyTotals."""
    totals: dict[Labels, Counts] = {}
    last_used: dict[str, float] = {}
    states: list[UsageState] = []
    known: set[bool | None] = set()
    for part in parts:
        if part == TOO_MANY:
            raise TooManyTotals
        answer = msgspec.msgpack.decode(part, type=Answer)
        for labels, counts in answer.totals:
            totals[labels] = Counts(*counts).plus(totals.get(labels, Counts()))
        states.append(answer.state)
        known.add(answer.is_complete)
        _add_times(last_used, answer.last_used)
    if len(totals) > MAX_TOTALS:
        raise TooManyTotals
    is_complete = next((value for value in (False, True) if value in known), None)
    return Answer([*totals.items()], last_used, _of_all(states), is_complete)


def _add_times(times: dict[str, float], others: Mapping[str, float]) -> None:
    """Keep the last time of each identity."""
    for identity, time in others.items():
        times[identity] = max(time, times.get(identity, 0.0))


def _of_all(states: Sequence[UsageState]) -> UsageState:
    return UsageState(
        sum(state.rows for state in states),
        max((state.max_rows for state in states), default=0),
        min((state.since for state in states if state.since), default=None),
        max((state.daily_before for state in states if state.daily_before), default=None),
        sum(state.dropped for state in states),
    )


def shown(answer: Answer, by: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The totals in their order, as objects."""
    rows = sorted((tuple(labels), counts) for labels, counts in answer.totals)
    return [{**dict(zip(by, labels, strict=True)), **Counts(*counts)._asdict()} for labels, counts in rows]


def sum_of(answer: Answer) -> Counts:
    total = Counts()
    for _, counts in answer.totals:
        total = total.plus(Counts(*counts))
    return total
