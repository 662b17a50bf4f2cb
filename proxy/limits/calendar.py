"""The days and months of a time zone, and the time of a decision. Pure: the time is an argument."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from msgspec import Struct

_MAX_PERIODS = 1000
"""How far ahead the start of a period is computed."""


class Period(NamedTuple):
    """A day or a month."""

    number: int
    """Consecutive: the next day or month has the next number."""
    ends_at: float
    """Unix seconds."""


class Calendar:
    """The days and months of a time zone."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._from = self._until = 0.0
        """The time for which the periods are those below."""
        self._month_from = 0.0
        self._day = self._month = Period(0, 0.0)

    def period(self, unit: str, time: float) -> Period:
        """Return the day (`d`) or the month (`month`) of a time in Unix seconds."""
        if not self._from <= time < self._until:
            self._set(datetime.fromtimestamp(time, self._zone).date())
        return self._day if unit == "d" else self._month

    def seconds_until(self, unit: str, number: int, time: float) -> float:
        """Return the seconds until the day or month with this number begins, at least 1."""
        present = self.period(unit, time)
        if number == present.number + 1:  # true for most
            return max(1.0, present.ends_at - time)
        number = min(number, present.number + _MAX_PERIODS)
        if unit == "d":
            return max(1.0, self._begin(date.fromordinal(number)) - time)
        year, month = divmod(number - 1, 12)
        return max(1.0, self._begin(date(year, month + 1, 1)) - time)

    def is_before(self, unit: str, seconds: float, time: float) -> bool:
        """Whether the moment this many seconds before a time is in an earlier day or month."""
        self.period(unit, time)
        return time - seconds < (self._from if unit == "d" else self._month_from)

    def _set(self, day: date) -> None:
        next_month = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        self._day = Period(day.toordinal(), self._begin(day + timedelta(days=1)))
        self._month = Period(day.year * 12 + day.month, self._begin(next_month))
        self._from, self._until = self._begin(day), self._day.ends_at
        self._month_from = self._begin(day.replace(day=1))

    def _begin(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()


class Moment(Struct, gc=False):
    """The time, on both clocks and in the calendar."""

    calendar: Calendar
    now: float = 0.0
    """Monotonic seconds."""
    time: float = 0.0
    """Unix seconds."""
    day: int = 0
    month: int = 0
    """Numbers of periods."""
    _from: float = 0.0
    _until: float = 0.0
    """The day, in Unix seconds."""

    def set(self, now: float, time: float) -> None:
        self.now, self.time = now, time
        if not self._from <= time < self._until:
            self.day, self._until = self.calendar.period("d", time)
            self.month = self.calendar.period("month", time).number
            self._from = time
