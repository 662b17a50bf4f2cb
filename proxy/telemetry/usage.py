"""Usage by caller, model, provider and hour, and the time of each caller's last request.

It contains no prompts and no responses. The number of rows is bounded: before the bound is reached, the hours of the
oldest day are merged, then the oldest day is removed; further rows of the current hour are counted as `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from proxy.telemetry.counters import OTHER
from proxy.telemetry.days import Days
from proxy.telemetry.events import CallGroup, EndedRequest, Observer
from proxy.telemetry.usage_rows import OTHER_CALLERS, ClosedRows, Counts, Names, OpenRows, Rows, summed

MAX_IDENTITIES = 100_000
"""Maximum callers whose last request is kept; the oldest are removed."""
_SPARE = 0.9
"""The part of `max_rows` from which rows are removed."""
_NO_FAILURE = frozenset({"ok", "client_disconnected"})

Hours = Mapping[int, Rows]
"""The start of an hour, in Unix seconds -> its rows."""


class OldDay(NamedTuple):
    """A day whose rows must be merged or removed."""

    day: date
    hours: Mapping[int, ClosedRows]


class UsageState(NamedTuple):
    """The state of usage, for `/health`."""

    rows: int
    max_rows: int
    since: str | None
    """The first day with usage."""
    daily_before: str | None
    """For the days before, only totals per day are kept, because there were too many rows. None: there are none."""
    dropped: int = 0
    """Calls that are missing from totals, because there were too many rows, or because the store rejected them."""


class Usage(Observer):
    """The usage that this process has counted, received from other processes, or restored."""

    def __init__(
        self,
        time: Callable[[], float],
        days: Days,
        is_listed: Callable[[str], bool],
        *,
        max_days: int,
        max_rows: int,
    ) -> None:
        """`time`: Unix seconds; `is_listed` returns whether a model is in the catalog: clients can send any id.

        `max_days`: complete days that are kept.
        """
        self.days = days
        self.max_days = max_days
        self.max_rows = max_rows
        self.rows = 0
        self.daily_before: date | None = None
        """For the days before, only totals are kept: there were too many rows."""
        self.dropped = 0
        """Calls of days that were removed because there were too many rows."""
        self.tracks = False
        """Whether changes are recorded for `take_changes`."""
        self._time = time
        self._is_listed = is_listed
        self._open: dict[int, dict[Names, list[int]]] = {}
        self._closed: dict[int, ClosedRows] = {}
        self._hour = 0
        self._changed: set[tuple[int, Names]] = set()
        self._touched: set[int] = set()
        """Past hours that got rows since `hours_to_close`."""
        self._used: dict[str, float] = {}
        self._used_now: dict[str, float] = {}
        """Identity -> Unix seconds of the last request: until `take_used`, and since then."""

    # -- events --------------------------------------------------------------------------------------------------------

    def requests_ended(self, requests: Sequence[EndedRequest]) -> None:
        identities = {labels[-1] for labels, _ in requests} - {""}
        self._used_now.update(dict.fromkeys(identities, self._time()))

    def calls_ended(self, groups: Sequence[CallGroup]) -> None:
        self._set_hour()
        for group in groups:
            is_failed = group.outcome not in _NO_FAILURE
            is_model = group.is_known and (not is_failed or self._is_listed(group.model))
            names = Names(group.key, group.model if is_model else "", group.provider)
            failed = group.calls if is_failed else 0
            self._add(self._hour, names, Counts(group.calls, failed, group.input_tokens, group.output_tokens))

    def count(self) -> None:
        """Count what was collected. Call it about every second: events are assigned to the time of counting."""
        self._set_hour()
        self.flush()

    def _set_hour(self) -> None:
        self._hour = self.days.hour_of(self._time())

    # -- rows ----------------------------------------------------------------------------------------------------------

    def add(self, hours: Hours, used: Mapping[str, float], daily_before: date | None = None) -> None:
        """Add rows that another process, or an earlier one, has counted."""
        for start, rows in hours.items():
            for names, counts in rows.items():
                self._add(start, names, counts)
        self._add_used(used)
        self.daily_before = max(filter(None, (self.daily_before, daily_before)), default=None)

    def restore(self, hours: Mapping[int, ClosedRows], used: Mapping[str, float], daily_before: date | None) -> None:
        """Add rows that an earlier process has counted, without recording changes."""
        for start, closed in hours.items():
            if start in self._open or start in self._closed:
                rows = self._opened(start)
                for names, counts in closed.items():
                    row = rows.setdefault(names, [0, 0, 0, 0])
                    row[:] = Counts(*row).plus(counts)
                self._closed.pop(start, None)
            else:
                self._closed[start] = closed
        self.rows = sum(map(len, self._open.values())) + sum(map(len, self._closed.values()))
        self.add({}, used, daily_before)

    def _add(self, start: int, names: Names, counts: Counts) -> None:
        rows = self._open.get(start)
        if rows is None:
            rows = self._opened(start)
        row = rows.get(names)
        if row is None:
            if self.rows >= self.max_rows:
                names = names._replace(model=OTHER, provider=OTHER)
                if names not in rows and self.rows >= self.max_rows * 1.1:
                    names = Names(OTHER_CALLERS, OTHER, OTHER)
            row = rows.setdefault(names, [])
            if not row:
                row[:] = (0, 0, 0, 0)
                self.rows += 1
        row[0] += counts.requests
        row[1] += counts.failed
        row[2] += counts.input_tokens
        row[3] += counts.output_tokens
        if self.tracks:
            self._changed.add((start, names))
        if start != self._hour:
            self._touched.add(start)

    def _opened(self, start: int) -> dict[Names, list[int]]:
        closed = self._closed.pop(start, None)
        rows = {names: [*counts] for names, counts in closed.items()} if closed else {}
        return self._open.setdefault(start, rows)

    def _add_used(self, used: Mapping[str, float]) -> None:
        for identity, time in used.items():
            self._used[identity] = max(time, self._used.get(identity, 0.0))
        if len(self._used) > MAX_IDENTITIES:
            newest = sorted(self._used.items(), key=lambda each: each[1])[-MAX_IDENTITIES // 2 :]
            self._used = dict(newest)

    # -- values --------------------------------------------------------------------------------------------------------

    def snapshot(self, begin: int, end: int) -> Iterable[tuple[int, ClosedRows | OpenRows]]:
        """Return the hours that begin in this period, in Unix seconds. They get no further rows, but later counts."""
        self.count()
        opened = [(start, OpenRows(rows)) for start, rows in self._open.items() if begin <= start < end]
        return [*((start, rows) for start, rows in self._closed.items() if begin <= start < end), *opened]

    def last_used(self, identity: str | None = None) -> Mapping[str, float]:
        """Identity -> Unix seconds of its last request; of one identity, or of all."""
        self.count()
        if identity is None:
            return {**self._used, **self._used_now}
        time = self._used_now.get(identity, self._used.get(identity))
        return {} if time is None else {identity: time}

    @property
    def state(self) -> UsageState:
        days = self.all_days
        since = min(days).isoformat() if days else None
        before = self.daily_before.isoformat() if self.daily_before else None
        return UsageState(self.rows, self.max_rows, since, before, self.dropped)

    # -- changes -------------------------------------------------------------------------------------------------------

    def take_changes(self) -> Hours:
        """Return the rows that have changed since the last call, with their complete counts."""
        self.count()
        changed, self._changed = self._changed, set()
        hours: dict[int, dict[Names, Counts]] = {}
        for start, names in changed:
            row = self._open[start].get(names) if start in self._open else None
            if row:  # otherwise it was removed, or is in the file of its day
                hours.setdefault(start, {})[names] = Counts(*row)
        return hours

    def take_used(self) -> Mapping[str, float]:
        """Return the last requests of callers that have sent one since the last call."""
        self.count()
        used, self._used_now = self._used_now, {}
        self._add_used(used)
        return used

    def take_all(self) -> Hours:
        """Remove all rows and return them."""
        hours = {start: dict(rows.items()) for start, rows in self.snapshot(0, 2**63)}
        self._open, self._closed, self.rows = {}, {}, 0
        self._changed.clear()
        self._touched.clear()
        return hours

    def of_day(self, day: date) -> Iterable[tuple[int, ClosedRows | OpenRows]]:
        """All rows of a day."""
        return self.snapshot(self.days.begin_of(day), self.days.begin_of(day + timedelta(1)))

    @property
    def all_days(self) -> frozenset[date]:
        return frozenset(map(self.days.day_of, (*self._open, *self._closed)))

    # -- from time to time ---------------------------------------------------------------------------------------------

    def hours_to_close(self) -> Iterator[tuple[int, Rows]]:
        """Return the past hours that are not closed yet. For each one, `close` must be called with its rows."""
        self.count()
        pending = {start for start, _ in self._changed}
        for start in [start for start in self._open if start < self._hour and start not in pending]:
            self._touched.discard(start)
            yield start, dict(OpenRows(self._open[start]).items())

    def close(self, start: int, rows: ClosedRows) -> None:
        """Replace the rows of an hour, unless further ones were added meanwhile."""
        if start not in self._touched and start in self._open:
            del self._open[start]
            self._closed[start] = rows

    def remove_old(self) -> None:
        """Remove the days that are too old."""
        now = self._time()
        oldest = self.days.begin_of(self.days.day_of(now) - timedelta(self.max_days))
        for start in [start for start in self._closed if start < oldest]:
            self.rows -= len(self._closed.pop(start))

    def too_many(self) -> OldDay | None:
        """Return the day whose rows must be merged or removed, because there are too many; None if there are not.

        That is the first day before today that has several hours; if all of these have one, the first one.
        """
        if self.rows < self.max_rows * _SPARE:
            return None
        today = self.days.begin_of(self.days.day_of(self._time()))
        by_day: dict[date, dict[int, ClosedRows]] = {}
        for start in sorted(start for start in self._closed if start < today):
            by_day.setdefault(self.days.day_of(start), {})[start] = self._closed[start]
        found = next((day for day, hours in by_day.items() if len(hours) > 1), next(iter(by_day), None))
        return None if found is None else OldDay(found, by_day[found])

    def reduce(self, old: OldDay, total: ClosedRows | None) -> None:
        """Replace the hours of a day by its total, unless they have changed meanwhile. None: remove the day."""
        if any(self._closed.get(start) is not rows for start, rows in old.hours.items()):
            return
        for start in old.hours:
            self.rows -= len(self._closed.pop(start))
        if total is not None:
            self.rows += len(total)
            self._closed[min(old.hours)] = total
            self.daily_before = max(old.day + timedelta(1), self.daily_before or date.min)
        else:
            self.dropped += sum(rows.requests for rows in old.hours.values())


def total_of(old: OldDay) -> ClosedRows | None:
    """One row for all hours of a day; None if it has these already."""
    if len(old.hours) == 1:
        return None
    total: Rows = {}
    for rows in old.hours.values():
        total = summed(total, dict(rows.items()))
    return ClosedRows(total)
