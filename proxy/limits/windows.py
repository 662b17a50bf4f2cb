"""Windows of time, in which amounts are counted. Pure: the time is an argument."""

from __future__ import annotations

import math
from array import array
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from msgspec import Struct, field

EXACT = 128
"""Up to this limit a sliding window keeps the time of each request."""
SLOTS = 64
"""Above it, requests within this part of the window are kept as one, with the time of the last of them."""


class SlidingWindow(Struct, gc=False):
    """The usage within the last `seconds`. No interval of this length contains more than the limit.

    More than the limit can be added: tokens are known when a call has ended. Usage above the limit is a debt, which
    replaces entries that expire.
    """

    used: int = 0
    """The sum of the counts, and the debt."""
    debt: int = 0
    limit: int = 1
    """At the last `advance`; before the first one, the smallest one."""
    # Arrays are small, and the garbage collector does not scan them: there can be thousands of windows.
    _times: array[float] = field(default_factory=lambda: array("d"))
    _counts: array[int] = field(default_factory=lambda: array("q"))

    @property
    def in_window(self) -> int:
        """The sum of the counts."""
        return self.used - self.debt

    def advance(self, now: float, seconds: float, limit: int) -> None:
        """Drop what has expired. Called before every other method."""
        self.limit = limit
        times, counts = self._times, self._counts
        while times and times[0] + seconds <= now:
            if self.debt and times[-1] + seconds <= now:
                self._pay_periods(now, seconds, limit)
                return
            expired_at, count = times.pop(0) + seconds, counts.pop(0)
            self.used -= count
            if self.debt:
                paid = min(self.debt, count)
                self.add_debt(-paid)
                self._append(expired_at, paid)

    def _pay_periods(self, now: float, seconds: float, limit: int) -> None:
        """Reduce the debt after everything in the window has expired: by the limit for each period since then."""
        last = self._times[-1]
        periods = int((now - last) // seconds)
        rest = self.used - limit * periods
        self.clear()
        if rest > 0:
            self._append(last + periods * seconds, min(rest, limit))
            self.add_debt(rest - self.used)

    def add(self, amount: int, now: float, seconds: float, limit: int) -> None:
        """`amount`: negative to take back a part of what was added before."""
        if amount <= 0:
            self._remove_last(-amount)
            return
        if self.used + amount > limit:
            fits = max(0, min(amount, limit - self.in_window))
            self.add_debt(amount - fits)
            amount = fits
        if amount:
            times = self._times
            grain = 0.0 if limit <= EXACT else seconds / SLOTS
            if times and _is_same(times[-1], now, grain):
                times[-1] = now
                self._counts[-1] += amount
                self.used += amount
            else:
                self._append(now, amount)

    def add_debt(self, amount: int) -> None:
        """`amount`: negative to pay."""
        self.debt += amount
        self.used += amount

    def adopt(self, used: int, now: float, seconds: float, limit: int) -> None:
        """Adopt the usage of all processes, as the process that counts for all has reported it."""
        if used >= self.used:
            self.add(used - self.used, now, seconds, limit)
            return
        surplus = self.used - used
        while surplus and self._times:  # the oldest has expired there
            part = min(surplus, self._counts[0])
            self._counts[0] -= part
            self.used -= part
            surplus -= part
            if not self._counts[0]:
                self._times.pop(0)
                self._counts.pop(0)
        self.add_debt(-min(surplus, self.debt))

    def seconds_until(self, used: int, now: float, seconds: float, limit: int) -> float:
        """Until no more than this is used."""
        need = self.used - used
        if need <= 0:
            return 0.0
        for time, count in zip(self._times, self._counts, strict=True):
            need -= count
            if need <= 0:
                return time + seconds - now
        last = self._times[-1] if self._times else now
        return last + seconds * (1 + math.ceil(need / limit)) - now

    def seconds_until_empty(self, now: float, seconds: float, limit: int) -> float:
        if not self._times:
            return 0.0
        if not self.debt:
            left = self._times[-1] + seconds - now
            return left if left > 0.0 else 0.0
        return max(0.0, self._times[-1] + seconds * (1 + math.ceil(self.debt / limit)) - now)

    def entries(self) -> list[tuple[float, int]]:
        """Times and counts, the oldest first."""
        return [*zip(self._times, self._counts, strict=True)]

    def restore(self, time: float, count: int) -> None:
        """Add an entry of an earlier process, not older than those before."""
        self._append(time, count)

    def clear(self) -> None:
        del self._times[:]
        del self._counts[:]
        self.used = self.debt = 0

    def _append(self, time: float, count: int) -> None:
        self._times.append(time)
        self._counts.append(count)
        self.used += count

    def _remove_last(self, amount: int) -> None:
        paid = min(amount, self.debt)
        self.add_debt(-paid)
        amount -= paid
        while amount and self._times:
            part = min(amount, self._counts[-1])
            self._counts[-1] -= part
            self.used -= part
            amount -= part
            if not self._counts[-1]:
                self._times.pop()
                self._counts.pop()


def _is_same(before: float, now: float, grain: float) -> bool:
    """Whether two times are in the same slot."""
    return before >= now or (grain > 0.0 and before // grain == now // grain)


class CalendarWindow(Struct, gc=False):
    """The usage in a day or a month. Usage above the limit counts against the next periods."""

    period: int = 0
    """Consecutive numbers, as in `Period`."""
    used: int = 0
    limit: int = 0

    def advance(self, period: int, limit: int) -> None:
        """Begin another period. A clock that was set back continues the later one."""
        if limit < self.limit and self.used > limit:  # only what was above the earlier limit is a debt
            self.used = limit + max(0, self.used - self.limit)
        self.limit = limit
        if period > self.period:
            self.used = max(0, self.used - limit * (period - self.period)) if self.period else 0
            self.period = period

    def is_used(self, period: int) -> bool:
        """Whether anything would be used in a later period."""
        return self.used > self.limit * max(0, period - self.period)


class Period(NamedTuple):
    """A day or a month."""

    number: int
    """That of the next one is greater by 1."""
    ends_at: float
    """Unix seconds."""


class Calendar:
    """The days and months of a time zone."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._from = self._until = 0.0
        """The time for which the periods are those below."""
        self._day = self._month = Period(0, 0.0)

    def period(self, unit: str, time: float) -> Period:
        """Return the day (`d`) or the month (`month`) of a time in Unix seconds."""
        if not self._from <= time < self._until:
            self._set(datetime.fromtimestamp(time, self._zone).date())
        return self._day if unit == "d" else self._month

    def _set(self, day: date) -> None:
        next_month = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        self._day = Period(day.toordinal(), self._begin(day + timedelta(days=1)))
        self._month = Period(day.year * 12 + day.month, self._begin(next_month))
        self._from, self._until = self._begin(day), self._day.ends_at

    def _begin(self, day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()
