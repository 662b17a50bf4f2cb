"""The counters of all limits of one process, or of the process that counts for several."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import tzinfo

from msgspec import Struct, field

from proxy.config.call_limits import SLIDING, UNITS
from proxy.limits.claims import KINDS, Claim, Decision, Usage
from proxy.limits.windows import Calendar, CalendarWindow, SlidingWindow

MAX_SCOPES = 200_000
"""Callers and groups whose counters are kept. Beyond, some are dropped."""
_LONGEST: Mapping[str, float] = {"d": 25 * 3600.0, "month": 31 * 86_400.0 + 3600.0}
"""Seconds of a day and of a month, at most."""
_NAMES = {kind: {unit: f"{kind}/{unit}" for unit in UNITS} for kind in KINDS}


class Scope(Struct, gc=False):
    """The counters of one caller, or of one group."""

    in_flight: int = 0
    used_until: float = 0.0
    """Monotonic seconds from which the limits are unused."""
    sliding: dict[str, SlidingWindow] = field(default_factory=dict)
    calendar: dict[str, CalendarWindow] = field(default_factory=dict)
    """By kind and unit, such as `requests/m`."""


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

    def set_zone(self, zone: tzinfo) -> None:
        self._calendar = Calendar(zone)

    def claim(self, claims: Sequence[Claim], factor: int = 1) -> Decision:
        """Decide. `factor`: multiplies the amounts, for a process that counts locally."""
        now = self._monotonic()
        self._sweep(now)
        is_granted = True
        found: list[tuple[Claim, _Counter, float]] = []
        for claim in claims:
            counter = self._advanced(claim, now)
            wait = self._wait(claim, counter, now, factor)
            found.append((claim, counter, wait))
            if wait:
                is_granted = False
        usage: list[Usage] = []
        for claim, counter, wait in found:
            if is_granted:
                self._add(claim, counter, claim.amount if counter.__class__ is Scope else claim.amount * factor, now)
            usage.append(self._usage(claim, counter, wait, now))
        return Decision(is_granted, usage)

    def look(self, claims: Sequence[Claim]) -> Decision:
        """Return what is used, without any change."""
        now = self._monotonic()
        return Decision(True, [self._usage(claim, self._advanced(claim, now), 0.0, now) for claim in claims])

    def apply(self, changes: Iterable[Claim], factor: int = 1) -> None:
        """Add changes unconditionally."""
        now = self._monotonic()
        for change in changes:
            amount = change.amount if change.kind == "concurrent" else change.amount * factor
            self._add(change, self._advanced(change, now), amount, now)

    def release(self, scope: str, number: int) -> None:
        """End calls in progress."""
        if found := self.scopes.get(scope):
            found.in_flight = max(0, found.in_flight - number)

    def adopt(self, claims: Sequence[Claim], decision: Decision) -> None:
        """Adopt what was counted for several processes, except calls in progress, which are those of this one."""
        now = self._monotonic()
        for claim, usage in zip(claims, decision.usage, strict=True):
            if claim.kind == "concurrent":
                if decision.is_granted:
                    self.scope(claim.scope).in_flight += claim.amount
                continue
            window = self._advanced(claim, now)
            assert not isinstance(window, Scope), "only that of calls in progress"
            if isinstance(window, SlidingWindow):
                window.adopt(usage.used, now, SLIDING[claim.unit], claim.limit)
            else:
                window.used = usage.used
            self._keep(claim, window, now)

    def keep_only(self, exists: Callable[[str], bool]) -> None:
        """Drop the scopes that do not exist any more. Their calls in progress are still counted."""
        for name in [name for name, scope in self.scopes.items() if not exists(name) and not scope.in_flight]:
            del self.scopes[name]
            if self.changed is not None:
                self.changed.add(name)

    # -- one claim -----------------------------------------------------------------------------------------------------

    def _advanced(self, claim: Claim, now: float) -> _Counter:
        """Return the counter of a limit, without what has expired. That of calls in progress is the scope."""
        name, kind, unit, limit, _ = claim
        scope = self.scopes.get(name) or self.scope(name)
        if unit == "":
            return scope
        seconds = SLIDING.get(unit)
        if seconds is None:
            period = self._calendar.period(unit, self._time())
            days = scope.calendar.get(key := _NAMES[kind][unit])
            if days is None:
                days = scope.calendar[key] = CalendarWindow()
            days.advance(period.number, limit)
            return days
        window = scope.sliding.get(key := _NAMES[kind][unit])
        if window is None:
            window = scope.sliding[key] = SlidingWindow()
        window.advance(now, seconds, limit)
        return window

    def _wait(self, claim: Claim, counter: _Counter, now: float, factor: int) -> float:
        """Return the seconds until a claim can be granted, 0 if it can."""
        _, kind, unit, limit, amount = claim
        if isinstance(counter, Scope):
            return 1.0 if counter.in_flight + amount > max(1, limit // factor) else 0.0
        # Tokens: as long as something is left. At least one request can be made, however many processes there are.
        free = limit - 1 if kind == "tokens" else max(0, limit - amount * factor)
        if counter.used <= free:
            return 0.0
        if isinstance(counter, SlidingWindow):
            return max(0.001, counter.seconds_until(free, now, SLIDING[unit], limit))
        return self._until_period_ends(claim)

    def _add(self, claim: Claim, counter: _Counter, amount: int, now: float) -> None:
        if isinstance(counter, Scope):
            counter.in_flight = max(0, counter.in_flight + amount)
            return
        if isinstance(counter, SlidingWindow):
            counter.add(amount, now, SLIDING[claim.unit], claim.limit)
        else:
            counter.used = max(0, counter.used + amount)
        self._keep(claim, counter, now)

    def _keep(self, claim: Claim, counter: SlidingWindow | CalendarWindow, now: float) -> None:
        """Keep the scope as long as the limit is used."""
        if isinstance(counter, SlidingWindow):
            until = now + SLIDING[claim.unit] * (1 + counter.debt // claim.limit + bool(counter.debt))
        else:
            until = now + _LONGEST[claim.unit] * (1 + counter.used // claim.limit)
        scope = self.scopes[claim.scope]
        if until > scope.used_until:
            scope.used_until = until
        if self.changed is not None:
            self.changed.add(claim.scope)

    def _usage(self, claim: Claim, counter: _Counter, wait: float, now: float) -> Usage:
        if isinstance(counter, Scope):
            return Usage(counter.in_flight, wait, 0.0)
        if isinstance(counter, SlidingWindow):
            return Usage(counter.used, wait, counter.seconds_until_empty(now, SLIDING[claim.unit], claim.limit))
        return Usage(counter.used, wait, self._until_period_ends(claim))

    def _until_period_ends(self, claim: Claim) -> float:
        time = self._time()
        return max(1.0, self._calendar.period(claim.unit, time).ends_at - time)

    def scope(self, name: str) -> Scope:
        """Return the counters of a caller or group, new ones if there are none."""
        scope = self.scopes.get(name)
        if scope is None:
            scope = self.scopes[name] = Scope()
        return scope

    # -- memory --------------------------------------------------------------------------------------------------------

    def _sweep(self, now: float) -> None:
        """Check the least recently checked scope, and drop it if its limits are unused."""
        scopes = self.scopes
        if not scopes:
            return
        name = next(iter(scopes))
        scope = scopes[name]
        if scope.in_flight or (now < scope.used_until and len(scopes) <= MAX_SCOPES):
            scopes.move_to_end(name)
            return
        del scopes[name]
        if self.changed is not None:
            self.changed.add(name)
