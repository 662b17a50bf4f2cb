"""The days and months of a time zone, and the time of a decision. Pure: the time is an argument."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

_CLOCK_SECONDS = 1.0
"""Seconds until the clock of the system is read again."""
_MAX_DRIFT = 0.1
"""Seconds by which the clock may differ from what was expected."""
_MAX_PERIODS = 1000
"""How far ahead the start of a period is computed."""


class Period(NamedTuple):
    """A day or a month."""

    number: int
    """Consecutive: the next day or month has the next number."""
    begins_at: float
    """Unix seconds."""
    ends_at: float


Periods = Mapping[str, Period]
"""A day by `d`, and its month by `month`."""


class Calendar:
    """The days and months of a time zone."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._periods: Periods = {"d": Period(0, 0.0, 0.0)}

    def periods(self, time: float) -> Periods:
        """Return the day of a time in Unix seconds, and its month."""
        day = self._periods["d"]
        if not day.begins_at <= time < day.ends_at:
            self._periods = self._of(datetime.fromtimestamp(time, self._zone).date())
        return self._periods

    def period(self, unit: str, time: float) -> Period:
        """Return the day (`d`) or the month (`month`) of a time in Unix seconds."""
        return self.periods(time)[unit]

    def seconds_until(self, unit: str, number: int, time: float) -> float:
        """Return the seconds until the day or month with this number begins, at least 1."""
        number = min(number, self.period(unit, time).number + _MAX_PERIODS)
        if unit == "d":
            return max(1.0, self._begin(date.fromordinal(number)) - time)
        year, month = divmod(number - 1, 12)
        return max(1.0, self._begin(date(year, month + 1, 1)) - time)

    def _of(self, day: date) -> Periods:
        next_month = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        return {
            "d": Period(day.toordinal(), self._begin(day), self._begin(day + timedelta(days=1))),
            "month": Period(day.year * 12 + day.month, self._begin(day.replace(day=1)), self._begin(next_month)),
        }

    def _begin(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()


@dataclass(slots=True)
class Moment:
    """The time by the monotonic clock, and the present day and month.

    The clock of the system is read once a second only: it hardly differs from the monotonic clock in this time.
    """

    calendar: Calendar
    now: float = 0.0
    """Monotonic seconds."""
    periods: Periods = field(default_factory=dict)
    """The day and the month, in monotonic seconds. Another object if they have changed, or if the clock was set."""
    due: float = -math.inf
    """When `set` must be called, in monotonic seconds."""
    offset: float = math.inf
    """Unix seconds at the monotonic time 0."""

    @property
    def time(self) -> float:
        """Unix seconds."""
        return self.now + self.offset

    def set(self, now: float, time: float) -> None:
        """`time`: Unix seconds."""
        self.now = now
        if abs(time - now - self.offset) > _MAX_DRIFT or now >= self.periods["d"].ends_at:
            self.offset = offset = time - now
            self.periods = {
                unit: Period(number, begin - offset, end - offset)
                for unit, (number, begin, end) in self.calendar.periods(time).items()
            }
        self.due = min(now + _CLOCK_SECONDS, self.periods["d"].ends_at)
