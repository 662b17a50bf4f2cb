"""Counters: windows of time, in which amounts are counted, and calls in progress. Pure: the time is an argument."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable

from msgspec import Struct, field

from proxy.limits.calendar import Moment

EXACT = 128
"""Up to this limit a sliding window keeps the time of each request."""
SLOTS = 64
"""Above it, requests within this part of the window are kept as one, with the time of the last of them."""


class SlidingWindow(Struct, gc=False):
    """The usage within the last `seconds`. No interval of this length contains more than the limit.

    More than the limit can be added: tokens are known when a call has ended. Usage above the limit is a debt, which
    replaces entries that expire.
    """

    seconds: float
    limit: int = 1
    used: int = 0
    """The sum of the counts, and the debt. `advance` is called before it is read, and before all other methods."""
    debt: int = 0
    _expires_at: float = math.inf
    """When the oldest entry expires."""
    _slot_ends_at: float = 0.0
    """Until then, what is added belongs to the newest entry."""
    # Pairs of a time and a count, the oldest first. An array is small, and the garbage collector does not scan it.
    _entries: array[float] = field(default_factory=lambda: array("d"))

    @property
    def in_window(self) -> int:
        """The sum of the counts."""
        return self.used - self.debt

    def set_limit(self, limit: int) -> None:
        self.limit = limit
        self._slot_ends_at = 0.0

    def advance(self, at: Moment) -> None:
        """Drop what has expired."""
        if self._expires_at <= at.now:
            self._drop_expired(at.now)

    def add(self, amount: int, at: Moment) -> None:
        """`amount`: negative to take back a part of what was added within the window."""
        if amount <= 0:
            self._take_back(-amount)
            return
        limit, now = self.limit, at.now
        used = self.used + amount
        if used > limit:
            fits = max(0, min(amount, limit - self.in_window))
            self.add_debt(amount - fits)
            if not fits:
                return
            amount, used = fits, self.used + fits
        self.used = used
        entries = self._entries
        if not entries:
            self._expires_at = now + self.seconds
        elif now < self._slot_ends_at or now <= entries[-2]:
            entries[-1] += amount
            if now > entries[-2]:
                entries[-2] = now
                if len(entries) == 2:
                    self._expires_at = now + self.seconds
            return
        if limit > EXACT:
            grain = self.seconds / SLOTS
            self._slot_ends_at = (now // grain + 1) * grain
        entries.append(now)
        entries.append(amount)

    def add_debt(self, amount: int) -> None:
        """`amount`: negative to pay."""
        self.debt += amount
        self.used += amount

    def adopt(self, used: int, at: Moment) -> None:
        """Adopt the usage of all processes, as the process that counts for all has reported it."""
        if used >= self.used:
            self.add(used - self.used, at)
            return
        surplus = self.used - used
        in_window = min(surplus, self.in_window)
        self._remove_oldest(in_window)  # expired in that process
        self.add_debt(in_window - surplus)

    def wait(self, used: int, at: Moment) -> float:
        """Seconds until no more than this is used."""
        need = self.used - used
        if need <= 0:
            return 0.0
        for time, count in self.entries():
            need -= count
            if need <= 0:
                return time + self.seconds - at.now
        return self._last(at) + self.seconds * (1 + math.ceil(need / self.limit)) - at.now

    def reset(self, at: Moment) -> float:
        """Seconds until it is unused."""
        entries = self._entries
        if not entries:
            return 0.0
        left = entries[-2] + self.seconds - at.now
        if self.debt:
            left += self.seconds * math.ceil(self.debt / self.limit)
        return left if left > 0.0 else 0.0

    def is_used(self, at: Moment) -> bool:
        return self.reset(at) > 0

    def has_forgotten(self, seconds: float, at: Moment) -> bool:
        """Whether an amount that was added this many seconds ago is no longer counted."""
        return seconds >= self.seconds

    def entries(self) -> list[tuple[float, int]]:
        """Times and counts, the oldest first."""
        entries = self._entries
        return [(entries[index], int(entries[index + 1])) for index in range(0, len(entries), 2)]

    def replace(self, entries: Iterable[tuple[float, int]], debt: int) -> None:
        """Replace everything by these entries, the oldest first."""
        del self._entries[:]
        self._slot_ends_at = 0.0
        self.used = self.debt = debt
        for time, count in entries:
            self._append(time, count)
        self._set_expiry()

    def _last(self, at: Moment) -> float:
        return self._entries[-2] if self._entries else at.now

    def _append(self, time: float, count: int) -> None:
        self._entries.extend((time, count))
        self.used += count

    def _set_expiry(self) -> None:
        self._expires_at = self._entries[0] + self.seconds if self._entries else math.inf

    def _drop_expired(self, now: float) -> None:
        entries, seconds = self._entries, self.seconds
        while entries and entries[0] + seconds <= now:
            if self.debt and entries[-2] + seconds <= now:
                self._pay_periods(now)
                return
            expired_at, count = entries[0] + seconds, int(entries[1])
            del entries[:2]
            self.used -= count
            if self.debt:
                paid = min(self.debt, count)
                self.add_debt(-paid)
                self._append(expired_at, paid)
        self._set_expiry()

    def _pay_periods(self, now: float) -> None:
        """Reduce the debt after everything in the window has expired: by the limit for each period since then."""
        last = self._entries[-2]
        periods = int((now - last) // self.seconds)
        rest = max(0, self.used - self.limit * periods)
        in_window = min(rest, self.limit)
        self.replace([(last + periods * self.seconds, in_window)] if rest else [], rest - in_window)

    def _take_back(self, amount: int) -> None:
        paid = min(amount, self.debt)
        self.add_debt(-paid)
        self._remove_oldest(min(amount - paid, self.in_window))

    def _remove_oldest(self, amount: int) -> None:
        """The oldest, so that nothing expires too soon. `amount`: at most that of all."""
        entries = self._entries
        self.used -= amount
        while amount:
            part = min(amount, int(entries[1]))
            entries[1] -= part
            amount -= part
            if not entries[1]:
                del entries[:2]
        self._set_expiry()


class CalendarWindow(Struct, gc=False):
    """The usage in a day or a month. Usage above the limit counts against the next periods."""

    unit: str
    limit: int = 0
    period: int = 0
    """Consecutive numbers, as in `Period`."""
    used: int = 0
    """`advance` is called before it is read, and before all other methods."""
    highest: int = 0
    """A higher limit that was valid earlier in the period, 0 for none: only usage above it is a debt."""

    def set_limit(self, limit: int) -> None:
        if limit < self.limit:
            self.highest = self.allowed
        self.limit = limit

    @property
    def allowed(self) -> int:
        """How much of the usage in the present period is no debt."""
        return max(self.limit, self.highest)

    def advance(self, at: Moment) -> None:
        """Begin another period."""
        period = at.day if self.unit == "d" else at.month
        if period != self.period:
            self._begin(period)

    def add(self, amount: int, at: Moment) -> None:
        used = self.used + amount
        self.used = used if used > 0 else 0

    def adopt(self, used: int, at: Moment) -> None:
        """Adopt the usage of all processes."""
        self.used = used

    def wait(self, used: int, at: Moment) -> float:
        """Seconds until no more than this is used."""
        return self._seconds_until(used, at) if self.used > used else 0.0

    def reset(self, at: Moment) -> float:
        """Seconds until it is unused, at least those of the present period."""
        return self._seconds_until(0, at)

    def is_used(self, at: Moment) -> bool:
        """Whether anything is used now, or would be in a later period."""
        period = at.day if self.unit == "d" else at.month
        return self.used > self._paid_until(period)

    def has_forgotten(self, seconds: float, at: Moment) -> bool:
        """Whether an amount that was added this many seconds ago is no longer counted, except as a debt."""
        return at.calendar.is_before(self.unit, seconds, at.time)

    def _begin(self, period: int) -> None:
        if period > self.period:
            self.used = max(0, self.used - self._paid_until(period)) if self.period else 0
        elif period == self.period - 1:
            return  # a clock that was set back over midnight: the later period continues
        self.period = period  # also an earlier one, if a wrong clock was far ahead
        self.highest = 0

    def _paid_until(self, period: int) -> int:
        """How much of the usage is not counted any more in another period."""
        later = period - self.period - 1
        return self.allowed + self.limit * later if later >= 0 else 0

    def _seconds_until(self, used: int, at: Moment) -> float:
        above = self.used - used - self.allowed
        periods = 1 if above <= 0 else 1 + math.ceil(above / self.limit)
        return at.calendar.seconds_until(self.unit, self.period + periods, at.time)


class CallsInProgress(Struct, gc=False):
    """The calls in progress."""

    limit: int = 0
    used: int = 0

    def set_limit(self, limit: int) -> None:
        self.limit = limit

    def advance(self, at: Moment) -> None:
        """Nothing expires."""

    def add(self, amount: int, at: Moment) -> None:
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


Counter = SlidingWindow | CalendarWindow | CallsInProgress
