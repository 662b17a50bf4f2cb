"""The counters of all limits of one process, or of the process that counts for several."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from msgspec import Struct, field

from proxy.config.call_limits import SLIDING, UNITS
from proxy.limits.claims import KINDS, Claim, Decision, Usage
from proxy.limits.windows import Calendar, CalendarWindow, Period, SlidingWindow

MAX_SCOPES = 200_000
"""Callers and groups whose counters are kept. Beyond, some are dropped."""
WARNING_SECONDS = 3600.0
"""Between two warnings that some are dropped."""
_log = logging.getLogger("models_proxy")
_NAMES = {kind: {unit: f"{kind}/{unit}" for unit in UNITS} for kind in KINDS}


class Scope(Struct, gc=False):
    """The counters of one caller, or of one group."""

    in_flight: int = 0
    sliding: dict[str, SlidingWindow] = field(default_factory=dict)
    calendar: dict[str, CalendarWindow] = field(default_factory=dict)
    """By kind and unit, such as `requests/m`."""

    @property
    def used(self) -> int:
        """The usage of the limit of calls in progress."""
        return self.in_flight


class _Moment(Struct, frozen=True, gc=False):
    """The time, on both clocks and in the calendar."""

    now: float
    time: float
    day: Period
    month: Period


_Counter = Scope | SlidingWindow | CalendarWindow


class LimitState:
    """Decides on claims. All of them are granted, or none is. Synchronous."""

    def __init__(self, monotonic: Callable[[], float], time: Callable[[], float], zone: tzinfo) -> None:
        """`time` returns Unix seconds; `zone`: of days and months."""
        self._monotonic = monotonic
        self._time = time
        self._calendar = Calendar(zone)
        self.scopes: OrderedDict[str, Scope] = OrderedDict()
        """The most recently checked ones (see `_sweep`) are last."""
        self.changed: set[str] | None = None
        """The scopes that have changed since they were stored; None if they are not stored."""
        self.dropped = 0
        """How many scopes were dropped although their limits were used."""
        self._next_warning = float("-inf")

    def set_zone(self, zone: tzinfo) -> None:
        self._calendar = Calendar(zone)

    def claim(self, claims: Sequence[Claim], factor: int = 1) -> Decision:
        """Decide. `factor`: multiplies the amounts, for a process that counts locally."""
        at = self._moment()
        self._sweep(at)
        counters = [self._advanced(claim, at) for claim in claims]
        is_granted = True
        for claim, counter in zip(claims, counters, strict=True):
            if counter.used > _free(claim, factor):
                is_granted = False
        if not is_granted:
            return Decision(
                False,
                [
                    _usage(claim, counter, _wait(claim, counter, at, factor), at)
                    for claim, counter in zip(claims, counters, strict=True)
                ],
            )
        for claim, counter in zip(claims, counters, strict=True):
            self._add(claim, counter, claim.amount if claim.unit == "" else claim.amount * factor, at.now)
        return Decision(
            True, [_usage(claim, counter, 0.0, at) for claim, counter in zip(claims, counters, strict=True)]
        )

    def look(self, claims: Sequence[Claim]) -> Decision:
        """Return what is used, without any change."""
        at = self._moment()
        return Decision(True, [_usage(claim, self._advanced(claim, at), 0.0, at) for claim in claims])

    def apply(self, changes: Iterable[Claim], factor: int = 1) -> None:
        """Add changes unconditionally."""
        at = self._moment()
        for change in changes:
            amount = change.amount if change.unit == "" else change.amount * factor
            self._add(change, self._advanced(change, at), amount, at.now)

    def release(self, scope: str, number: int) -> None:
        """End calls in progress."""
        if found := self.scopes.get(scope):
            found.in_flight = max(0, found.in_flight - number)

    def adopt(self, claims: Sequence[Claim], decision: Decision) -> None:
        """Adopt what was counted for several processes, except calls in progress, which are those of this one."""
        at = self._moment()
        self._sweep(at)
        for claim, usage in zip(claims, decision.usage, strict=True):
            if claim.kind == "concurrent":
                if decision.is_granted:
                    self.scope(claim.scope).in_flight += claim.amount
                continue
            window = self._advanced(claim, at)
            assert not isinstance(window, Scope), "only that of calls in progress"
            if isinstance(window, SlidingWindow):
                window.adopt(usage.used, at.now, SLIDING[claim.unit], claim.limit)
            else:
                window.used = usage.used
            if self.changed is not None:
                self.changed.add(claim.scope)

    def keep_only(self, exists: Callable[[str], bool]) -> None:
        """Drop the scopes that do not exist any more. Their calls in progress are still counted."""
        for name in [name for name, scope in self.scopes.items() if not exists(name) and not scope.in_flight]:
            del self.scopes[name]
            if self.changed is not None:
                self.changed.add(name)

    def _moment(self) -> _Moment:
        time = self._time()
        return _Moment(self._monotonic(), time, self._calendar.period("d", time), self._calendar.period("month", time))

    # -- one claim -----------------------------------------------------------------------------------------------------

    def _advanced(self, claim: Claim, at: _Moment) -> _Counter:
        """Return the counter of a limit, without what has expired. That of calls in progress is the scope."""
        unit = claim.unit
        scope = self.scopes.get(claim.scope) or self.scope(claim.scope)
        if unit == "":
            return scope
        key = _NAMES[claim.kind][unit]
        seconds = SLIDING.get(unit)
        if seconds is None:
            days = scope.calendar.get(key)
            if days is None:
                days = scope.calendar[key] = CalendarWindow()
            days.advance((at.day if unit == "d" else at.month).number, claim.limit)
            return days
        window = scope.sliding.get(key)
        if window is None:
            window = scope.sliding[key] = SlidingWindow()
        window.advance(at.now, seconds, claim.limit)
        return window

    def _add(self, claim: Claim, counter: _Counter, amount: int, now: float) -> None:
        if isinstance(counter, SlidingWindow):
            counter.add(amount, now, SLIDING[claim.unit], claim.limit)
        elif isinstance(counter, CalendarWindow):
            used = counter.used + amount
            counter.used = used if used > 0 else 0
        else:
            number = counter.in_flight + amount
            counter.in_flight = number if number > 0 else 0
            return
        if self.changed is not None:
            self.changed.add(claim.scope)

    def scope(self, name: str) -> Scope:
        """Return the counters of a caller or group, new ones if there are none."""
        scope = self.scopes.get(name)
        if scope is None:
            scope = self.scopes[name] = Scope()
        return scope

    # -- memory --------------------------------------------------------------------------------------------------------

    def _sweep(self, at: _Moment) -> None:
        """Check the least recently checked scope, and drop it if its limits are unused."""
        scopes = self.scopes
        if not scopes:
            return
        name = next(iter(scopes))
        scope = scopes[name]
        is_used = _is_used(scope, at)
        if scope.in_flight or (is_used and len(scopes) <= MAX_SCOPES):
            scopes.move_to_end(name)
            return
        if is_used:
            self._note_dropped(at.now)
        del scopes[name]
        if self.changed is not None:
            self.changed.add(name)

    def _note_dropped(self, now: float) -> None:
        self.dropped += 1
        if now >= self._next_warning:
            self._next_warning = now + WARNING_SECONDS
            _log.warning(
                "limits: more than %d callers and groups have used their limits: the counters of some are dropped, "
                "which can admit them above their limits; set limits for groups instead (`group_limits`)",
                MAX_SCOPES,
            )


def _is_used(scope: Scope, at: _Moment) -> bool:
    for name, window in scope.sliding.items():
        if window.seconds_until_empty(at.now, SLIDING[_unit_of(name)], window.limit) > 0:
            return True
    for name, days in scope.calendar.items():
        if days.is_used((at.day if _unit_of(name) == "d" else at.month).number):
            return True
    return False


def _unit_of(name: str) -> str:
    """Return the unit in a name of `Scope.sliding` and `Scope.calendar`."""
    return name.rpartition("/")[2]


def _free(claim: Claim, factor: int) -> int:
    """Return how much may be used of a limit when a claim is granted."""
    if claim.kind == "tokens":  # as long as something is left
        return claim.limit - 1
    if factor == 1:
        return claim.limit - claim.amount
    if claim.unit == "":
        return max(1, claim.limit // factor) - claim.amount
    # At least one request can be made, however many processes there are.
    return max(0, claim.limit - claim.amount * factor)


def _wait(claim: Claim, counter: _Counter, at: _Moment, factor: int) -> float:
    """Return the seconds until a claim can be granted, 0 if it can."""
    free = _free(claim, factor)
    if counter.used <= free:
        return 0.0
    if isinstance(counter, SlidingWindow):
        return max(0.001, counter.seconds_until(free, at.now, SLIDING[claim.unit], claim.limit))
    return 1.0 if claim.unit == "" else _until_period_ends(claim, at)


def _usage(claim: Claim, counter: _Counter, wait: float, at: _Moment) -> Usage:
    if isinstance(counter, SlidingWindow):
        return Usage(counter.used, wait, counter.seconds_until_empty(at.now, SLIDING[claim.unit], claim.limit))
    if isinstance(counter, CalendarWindow):
        return Usage(counter.used, wait, _until_period_ends(claim, at))
    return Usage(counter.in_flight, wait, 0.0)


def _until_period_ends(claim: Claim, at: _Moment) -> float:
    left = (at.day if claim.unit == "d" else at.month).ends_at - at.time
    return left if left > 1.0 else 1.0
