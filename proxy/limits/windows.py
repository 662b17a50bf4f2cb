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
    due: float = math.inf
    """When `advance` has something to do, in monotonic seconds."""
    unused_at: float = 0.0
    """When the newest entry expires. It is unused then, unless it has a debt."""
    debt: int = 0
    _slot_ends_at: float = 0.0
    """Until then, what is added belongs to the newest entry, which exists."""
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
        if self.due <= at.now:
            self._drop_expired(at.now)

    def add(self, amount: int, at: Moment) -> None:
        """`amount`: negative to take back a part of what was added within the window."""
        if amount > 0:
            self.used += amount
            self.record(amount, at)
        else:
            self._take_back(-amount)

    def record(self, amount: int, at: Moment) -> None:
        """Keep the time of an amount that was added to `used`: the second half of `add`."""
        if self.used > self.limit:
            amount = self._without_debt(amount)
            if not amount:
                return
        now, entries = at.now, self._entries
        self.unused_at = unused_at = now + self.seconds
        if now < self._slot_ends_at:
            entries[-2] = now
            entries[-1] += amount
            return
        if not entries:
            self.due = unused_at
        if self.limit > EXACT:
            slot = self.seconds / SLOTS
            self._slot_ends_at = (now // slot + 1) * slot
        entries.append(now)
        entries.append(amount)

    def _without_debt(self, amount: int) -> int:
        """Return the part of an amount that fits in the window. The rest of it becomes a debt."""
        fits = max(0, min(amount, self.limit - self.in_window + amount))
        self.debt += amount - fits
        return fits

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
        if self.debt and not self._entries:
            fits = min(self.debt, self.limit)
            self.replace([(at.now, fits)], self.debt - fits)

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
        left = self.unused_at - at.now
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
        if self._entries:
            self.due, self.unused_at = self._entries[0] + self.seconds, self._entries[-2] + self.seconds
        else:
            self.due, self.unused_at, self._slot_ends_at = math.inf, 0.0, 0.0

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
    due: float = -math.inf
    """When the period ends, in monotonic seconds. It is unused then, unless it has a debt."""
    unused_at: float = -math.inf
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
        """Begin another period, and set its end."""
        number, _, end = at.periods[self.unit]
        if number != self.period:
            self._begin(number)
        self.due = self.unused_at = end if self.period == number else at.now + self._seconds_until(1, at)

    def add(self, amount: int, at: Moment) -> None:
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


Window = SlidingWindow | CalendarWindow
Counter = Window | CallsInProgress
