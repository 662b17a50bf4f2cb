"""Counters: windows of time, in which amounts are counted, and calls in progress. Pure: the time is an argument."""

from __future__ import annotations

import math

from msgspec import Struct

from proxy.limits.calendar import Moment
from proxy.limits.sliding_window import SlidingWindow


class CalendarWindow(Struct, gc=False):
    """The usage in a day or a month. Usage above the limit counts against the next periods."""

    unit: str
    limit: int = 0
    period: int = 0
    """Consecutive numbers, as in `Period`."""
    used: int = 0
    """If it is due, `advance` is called before it is read, and before all other methods."""
    due: float = -math.inf
    """When the period ends, in monotonic seconds. It is unused then, unless it has a debt."""
    unused_at: float = -math.inf
    highest: int = 0
    """A higher limit that was valid earlier in the period, 0 for none: only usage above it is a debt."""

    def set_limit(self, limit: int, at: Moment) -> None:
        if limit < self.limit:
            self.highest = self.allowed
        self.limit = limit

    @property
    def allowed(self) -> int:
        """How much of the usage in the present period is no debt."""
        return max(self.limit, self.highest)

    def advance(self, at: Moment) -> None:
        """Begin another period, and set its end."""
        number, _, end = at.periods[self.unit]
        if number != self.period:
            self._begin(number)
        self.due = self.unused_at = end if self.period == number else at.now + self._seconds_until(1, at)

    def add(self, amount: int, at: Moment, since: float = 0.0) -> None:
        used = self.used + amount
        self.used = used if used > 0 else 0

    def adopt(self, used: int, at: Moment) -> None:
        """Adopt the usage of all processes."""
        self.used = used

    def wait(self, used: int, at: Moment) -> float:
        """Seconds until no more than this is used."""
        return self._wait(used, at) if self.used > used else 0.0

    def reset(self, at: Moment) -> float:
        """Seconds until it is unused, at least those of the present period."""
        return self._wait(0, at)

    def is_used(self, at: Moment) -> bool:
        """Whether anything is used now, or would be in a later period."""
        return self.used > self._paid_until(at.periods[self.unit].number)

    def has_forgotten(self, seconds: float, at: Moment) -> bool:
        """Whether an amount that was added this many seconds ago is no longer counted, except as a debt."""
        return at.now - seconds < at.periods[self.unit].begins_at

    def _begin(self, period: int) -> None:
        if period == self.period - 1:
            return  # a clock that was set back over midnight: the later period continues
        self.used = max(0, self.used - self._paid_until(period)) if self.period else 0
        self.period = period  # also an earlier one, if a wrong clock was far ahead
        self.highest = 0

    def _paid_until(self, period: int) -> int:
        """How much of the usage is not counted any more in another period."""
        later = period - self.period - 1
        return self.allowed + self.limit * later if later >= 0 else 0

    def _wait(self, used: int, at: Moment) -> float:
        debt = self.used - used - self.allowed
        return self._seconds_until(1 + math.ceil(debt / self.limit), at) if debt > 0 else max(1.0, self.due - at.now)

    def _seconds_until(self, periods: int, at: Moment) -> float:
        """Seconds until this number of periods later."""
        return at.calendar.seconds_until(self.unit, self.period + periods, at.time)


class CallsInProgress(Struct, gc=False):
    """The calls in progress."""

    limit: int = 0
    used: int = 0
    due: float = math.inf

    def set_limit(self, limit: int, at: Moment) -> None:
        self.limit = limit

    def advance(self, at: Moment) -> None:
        """Nothing expires."""

    def add(self, amount: int, at: Moment, since: float = 0.0) -> None:
        used = self.used + amount
        self.used = used if used > 0 else 0

    def wait(self, used: int, at: Moment) -> float:
        """Seconds until it can be worth a retry."""
        return 1.0 if self.used > used else 0.0

    def reset(self, at: Moment) -> float:
        return 0.0

    def is_used(self, at: Moment) -> bool:
        return self.used > 0

    def has_forgotten(self, seconds: float, at: Moment) -> bool:
        return False


Window = SlidingWindow | CalendarWindow
Counter = Window | CallsInProgress
