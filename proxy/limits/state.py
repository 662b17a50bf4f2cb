"""The counters of all limits of one process, or of the process that counts for several."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from proxy.config.call_limits import SLIDING
from proxy.limits.claims import Claim, Decision, Usage
from proxy.limits.windows import Calendar, CalendarWindow, SlidingWindow

MAX_SCOPES = 200_000
"""Callers and groups whose counters are kept. Beyond, some are dropped."""
_SWEPT = 2
"""Scopes that each decision looks at, to drop those of which nothing is used any more."""


class Scope:
    """The counters of one caller, or of one group."""

    __slots__ = ("calendar", "in_flight", "sliding")

    def __init__(self) -> None:
        self.sliding: dict[str, SlidingWindow] = {}
        self.calendar: dict[str, CalendarWindow] = {}
        """By kind and unit, such as `requests/m`."""
        self.in_flight = 0


class LimitState:
    """Decides on claims. All of them are granted, or none is. Synchronous."""

    def __init__(self, monotonic: Callable[[], float], time: Callable[[], float], zone: tzinfo) -> None:
        """`time` returns Unix seconds; `zone`: of days and months."""
        self._monotonic = monotonic
        self._time = time
        self._calendar = Calendar(zone)
        self.scopes: OrderedDict[str, Scope] = OrderedDict()
        """Those that were used last are last."""
        self.changed: set[str] | None = None
        """The scopes that have changed, for who keeps them; None if nothing does."""

    def set_zone(self, zone: tzinfo) -> None:
        self._calendar = Calendar(zone)

    def claim(self, claims: Sequence[Claim], factor: int = 1) -> Decision:
        """Decide. `factor`: of the amounts, for a process that counts alone for several."""
        now = self._monotonic()
        self._sweep(now)
        waits = [self._wait(claim, now, factor) for claim in claims]
        is_granted = not any(waits)
        if is_granted:
            for claim in claims:
                self._add(claim, claim.amount if claim.kind == "concurrent" else claim.amount * factor, now)
        return Decision(is_granted, [self._usage(each, wait, now) for each, wait in zip(claims, waits, strict=True)])

    def look(self, claims: Sequence[Claim]) -> Decision:
        """Return what is used, without any change."""
        now = self._monotonic()
        for claim in claims:
            if claim.kind != "concurrent":
                self._advanced(claim, now)
        return Decision(True, [self._usage(claim, 0.0, now) for claim in claims])

    def apply(self, changes: Iterable[Claim], factor: int = 1) -> None:
        """Add what is added in any case."""
        now = self._monotonic()
        for change in changes:
            if change.kind != "concurrent" and change.unit:
                self._advanced(change, now)
            self._add(change, change.amount if change.kind == "concurrent" else change.amount * factor, now)

    def release(self, scope: str, number: int) -> None:
        """End calls in progress."""
        if found := self.scopes.get(scope):
            found.in_flight = max(0, found.in_flight - number)

    def adopt(self, claims: Sequence[Claim], decision: Decision) -> None:
        """Take over what was counted for several processes. Calls in progress remain those of this one."""
        now = self._monotonic()
        for claim, usage in zip(claims, decision.usage, strict=True):
            if claim.kind == "concurrent":
                if decision.is_granted:
                    self.scope(claim.scope).in_flight += claim.amount
                continue
            window = self._advanced(claim, now)
            if isinstance(window, SlidingWindow):
                window.adopt(usage.used, now, SLIDING[claim.unit], claim.limit)
            else:
                window.used = usage.used
            self._note(claim.scope)

    def keep_only(self, exists: Callable[[str], bool]) -> None:
        """Drop the scopes that do not exist any more. Their calls in progress are still counted."""
        for name in [name for name, scope in self.scopes.items() if not exists(name) and not scope.in_flight]:
            del self.scopes[name]
            self._note(name)

    # -- one claim -----------------------------------------------------------------------------------------------------

    def _wait(self, claim: Claim, now: float, factor: int) -> float:
        """Return the seconds until a claim can be granted, 0 if it can."""
        limit = claim.limit
        if claim.kind == "concurrent":
            share = max(1, limit // factor)
            return 1.0 if self.scope(claim.scope).in_flight + claim.amount > share else 0.0
        window = self._advanced(claim, now)
        # Tokens: as long as something is left. At least one request can be made, however many processes there are.
        free = limit - 1 if claim.kind == "tokens" else max(0, limit - claim.amount * factor)
        if window.used <= free:
            return 0.0
        if isinstance(window, SlidingWindow):
            return max(0.001, window.seconds_until(free, now, SLIDING[claim.unit], limit))
        return self._until_period_ends(claim)

    def _add(self, claim: Claim, amount: int, now: float) -> None:
        self._note(claim.scope)
        if claim.kind == "concurrent":
            scope = self.scope(claim.scope)
            scope.in_flight = max(0, scope.in_flight + amount)
            return
        window = self._window(claim)
        if isinstance(window, SlidingWindow):
            window.add(amount, now, SLIDING[claim.unit], claim.limit)
        else:
            window.used = max(0, window.used + amount)

    def _usage(self, claim: Claim, wait: float, now: float) -> Usage:
        if claim.kind == "concurrent":
            return Usage(self.scope(claim.scope).in_flight, wait, 0.0)
        window = self._window(claim)
        if isinstance(window, SlidingWindow):
            return Usage(window.used, wait, window.seconds_until_empty(now, SLIDING[claim.unit], claim.limit))
        return Usage(window.used, wait, self._until_period_ends(claim))

    def _until_period_ends(self, claim: Claim) -> float:
        time = self._time()
        return max(1.0, self._calendar.period(claim.unit, time).ends_at - time)

    def _advanced(self, claim: Claim, now: float) -> SlidingWindow | CalendarWindow:
        """Return the window of a limit, without what has expired."""
        window = self._window(claim)
        if isinstance(window, SlidingWindow):
            window.advance(now, SLIDING[claim.unit], claim.limit)
        else:
            window.advance(self._calendar.period(claim.unit, self._time()).number, claim.limit)
        return window

    def _window(self, claim: Claim) -> SlidingWindow | CalendarWindow:
        scope, name = self.scope(claim.scope), f"{claim.kind}/{claim.unit}"
        if claim.unit in SLIDING:
            return scope.sliding.get(name) or scope.sliding.setdefault(name, SlidingWindow())
        return scope.calendar.get(name) or scope.calendar.setdefault(name, CalendarWindow())

    def scope(self, name: str) -> Scope:
        """Return the counters of a caller or group, new ones if there are none."""
        scope = self.scopes.get(name)
        if scope is None:
            scope = self.scopes[name] = Scope()
        return scope

    def _note(self, scope: str) -> None:
        if self.changed is not None:
            self.changed.add(scope)

    # -- memory --------------------------------------------------------------------------------------------------------

    def _sweep(self, now: float) -> None:
        """Look at the scopes that were looked at longest ago."""
        for _ in range(min(_SWEPT, len(self.scopes))):
            name, scope = next(iter(self.scopes.items()))
            if scope.in_flight or (self._is_used(scope, now) and len(self.scopes) <= MAX_SCOPES):
                self.scopes.move_to_end(name)
            else:
                del self.scopes[name]
                self._note(name)

    def _is_used(self, scope: Scope, now: float) -> bool:
        """Whether anything is used of the limits of a scope."""
        for name, window in scope.sliding.items():
            if window.seconds_until_empty(now, SLIDING[_unit(name)], 1) > 0.0:
                return True
        time = self._time()
        return any(
            each.used > each.limit or (each.used and each.period >= self._calendar.period(_unit(name), time).number)
            for name, each in scope.calendar.items()
        )


def _unit(name: str) -> str:
    return name.rpartition("/")[2]
