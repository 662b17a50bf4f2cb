"""A window of time that ends now, in which amounts are counted. Pure: the time is an argument."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable

from msgspec import Struct, field

from proxy.limits.calendar import Moment

EXACT = 128
"""Up to this limit a sliding window keeps the time of each request."""
SLOTS = 64
"""Above it, requests within this part of the window are kept as one, with the time of the last."""


class SlidingWindow(Struct, gc=False):
    """The usage within the last `seconds`. No interval of this length contains more than the limit.

    More than the limit can be added: tokens are known when a call has ended. Usage above the limit is a debt, which
    fills the space of entries that expire or are reduced.
    """

    seconds: float
    limit: int = 0
    """It is set before the window is used."""
    used: int = 0
    """The sum of the counts, and the debt. If it is due, `advance` is called before it is read, and before all other
    methods."""
    due: float = math.inf
    """When `advance` has something to do, in monotonic seconds."""
    unused_at: float = 0.0
    """When the newest entry expires. It is unused then, unless it has a debt."""
    slot_ends_at: float = 0.0
    """Until then, what is added belongs to the newest entry, which exists."""
    debt: int = 0
    _debt_at: float = math.inf
    """When something was last added to the debt, in monotonic seconds: usage since then is only in the debt.

    With a debt, the window is full: all that is added increases the debt.
    """
    _counted: int = 0
    """The part of `in_window` that is in `_entries`. The rest belongs to the newest one, which expires at `unused_at`.

    Most additions belong to the newest entry, which is updated (`_update_newest`) before entries are read or changed.
    """
    # Pairs of an expiry and a count, the oldest first. An array is small, and the garbage collector does not scan it.
    _entries: array[float] = field(default_factory=lambda: array("d"))

    @property
    def in_window(self) -> int:
        """The sum of the counts."""
        return self.used - self.debt

    def set_limit(self, limit: int, at: Moment) -> None:
        self.limit = limit
        self.slot_ends_at = 0.0
        if self.debt:
            self.advance(at)
            self._pay(at.now)

    def advance(self, at: Moment) -> None:
        """Drop what has expired."""
        if self.due <= at.now:
            self._drop_expired(at.now)

    def add(self, amount: int, at: Moment, since: float = 0.0) -> None:
        """`amount`: negative to take back a part of what was added at `since`; 0 if that is not known."""
        if amount > 0:
            self.used += amount
            self.record(amount, at)
        elif not self.debt:
            self._take_back(-amount, since)
        else:
            # Not before the earliest entry: accounts know that nothing expires before it.
            paid_at = min(at.now, max(self._debt_at, self.due - self.seconds))
            self._take_back(-amount, since)
            self._pay(paid_at)

    def record(self, amount: int, at: Moment) -> None:
        """Keep the time of an amount that was added to `used`: the second half of `add`."""
        if self.used > self.limit:
            amount = self._without_debt(amount, at.now)
            if not amount:
                return
        if at.now >= self.slot_ends_at:
            self.begin_entry(amount, at.now)
        else:
            self.unused_at = at.now + self.seconds

    def begin_entry(self, amount: int, now: float) -> None:
        """Begin an entry with an amount that was added to `used`, and fits in the window."""
        entries, in_window = self._entries, self.used - self.debt
        if in_window - amount != self._counted:
            self._update_newest(in_window - amount)
        expiry = now + self.seconds
        if not entries:
            self.due = expiry
        entries.extend((expiry, amount))
        self.unused_at, self._counted = expiry, in_window
        if self.limit > EXACT:
            slot = self.seconds / SLOTS
            self.slot_ends_at = (now // slot + 1) * slot

    def _update_newest(self, in_window: int) -> None:
        if self._entries:
            self._entries[-2] = self.unused_at
            self._entries[-1] += in_window - self._counted
            self._counted = in_window

    def _without_debt(self, amount: int, now: float) -> int:
        """Return the part of an amount that fits in the window. The rest of it becomes a debt."""
        fits = max(0, min(amount, self.limit - self.in_window + amount))
        if fits < amount:
            self.debt += amount - fits
            self._debt_at = now
        return fits

    def adopt(self, used: int, at: Moment) -> None:
        """Adopt the usage of all processes, as the process that counts for all has reported it."""
        if used >= self.used:
            self.add(used - self.used, at)
            return
        self._take_back(self.used - used, 0.0)  # expired in that process
        self._pay(at.now)

    def wait(self, used: int, at: Moment) -> float:
        """Seconds until no more than this is used."""
        need = self.used - used
        if need <= 0:
            return 0.0
        expiry = at.now + self.seconds
        for expiry, count in self._pairs():
            need -= count
            if need <= 0:
                return expiry - at.now
        return expiry + self.seconds * math.ceil(need / self.limit) - at.now

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
        return [(expiry - self.seconds, count) for expiry, count in self._pairs()]

    def replace(self, entries: Iterable[tuple[float, int]], debt: int) -> None:
        """Replace everything by these entries, the oldest first."""
        del self._entries[:]
        self.slot_ends_at = 0.0
        self.used = self.debt = debt
        self._counted = 0
        for time, count in entries:
            self._append(time + self.seconds, count)
        self._set_expiry()

    def _pairs(self) -> list[tuple[float, int]]:
        """Expiries and counts."""
        self._update_newest(self.in_window)
        entries = self._entries
        return [(entries[index], int(entries[index + 1])) for index in range(0, len(entries), 2)]

    def _append(self, expiry: float, count: int) -> None:
        self._entries.extend((expiry, count))
        self.used += count
        self._counted += count

    def _set_expiry(self) -> None:
        if self._entries:
            self.due, self.unused_at = self._entries[0], self._entries[-2]
        else:
            self.due, self.unused_at, self.slot_ends_at = math.inf, 0.0, 0.0

    def _drop_expired(self, now: float) -> None:
        self._update_newest(self.in_window)
        entries = self._entries
        while entries and entries[0] <= now:
            if self.debt and entries[-2] <= now:
                self._pay_periods(now)
                return
            expiry, count = entries[0], int(entries[1])
            del entries[:2]
            self.used -= count
            self._counted -= count
            if self.debt:
                paid = min(self.debt, count)
                self._reduce_debt(paid)
                self._append(expiry + self.seconds, paid)
        self._set_expiry()

    def _pay_periods(self, now: float) -> None:
        """Reduce the debt after everything in the window has expired: by the limit for each further period since then.

        The window may have contained more than the limit, if that was lowered.
        """
        last = self._entries[-2] - self.seconds
        periods = int((now - last) // self.seconds)
        rest = max(0, self.debt - self.limit * (periods - 1))
        in_window = min(rest, self.limit)
        self.replace([(last + periods * self.seconds, in_window)] if rest else [], rest - in_window)

    def _reduce_debt(self, amount: int) -> None:
        self.debt -= amount
        self.used -= amount

    def _take_back(self, amount: int, since: float) -> None:
        """Subtract from the entries at or after `since`, the earliest first; then the debt; then earlier entries.

        The amount is in the first entry at or after `since`, or it was a debt, which later entries or the debt contain
        now. Reducing the earliest of these first guarantees that no usage expires too soon. Earlier entries contain the
        usage of other calls, so they are reduced only if nothing else is left.
        """
        first, entries = self._first(since), self._entries
        if first < len(entries) and entries[first + 1] > amount:
            entries[first + 1] -= amount
            self.used -= amount
            self._counted -= amount
            return
        newest = self.unused_at
        left = self._remove(amount, first)
        paid = min(left, self.debt)
        self._reduce_debt(paid)
        if left > paid and first:
            self._remove(left - paid, 0)
        self._set_expiry()
        if self.unused_at != newest:
            self.slot_ends_at = 0.0

    def _first(self, since: float) -> int:
        """Return the index of the first entry that is not earlier."""
        self._update_newest(self.in_window)
        entries, expiry = self._entries, since + self.seconds
        index = len(entries)
        while index and entries[index - 2] >= expiry:
            index -= 2
        return index

    def _remove(self, amount: int, index: int) -> int:
        """Remove an amount from the entries from this index on. Return what exceeds them."""
        entries = self._entries
        while amount and index < len(entries):
            part = min(amount, int(entries[index + 1]))
            entries[index + 1] -= part
            self.used -= part
            self._counted -= part
            amount -= part
            if not entries[index + 1]:
                del entries[index : index + 2]
        return amount

    def _pay(self, time: float) -> None:
        """Count as much of the debt as fits in the window, at this time; or with the newest entry, if that is later."""
        fits = min(self.debt, self.limit - self.in_window)
        if fits <= 0:
            return
        self.debt -= fits
        if time + self.seconds > self.unused_at:
            if time >= self.slot_ends_at:
                self.begin_entry(fits, time)
            else:
                self.unused_at = time + self.seconds
