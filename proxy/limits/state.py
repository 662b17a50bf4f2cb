"""The counters of all limits of one process, or of the process that counts for several."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from msgspec import Struct, field

from proxy.config.call_limits import SLIDING, UNITS
from proxy.limits.calendar import Calendar, Moment
from proxy.limits.claims import KINDS, Claim, Decision, Kind, Usage
from proxy.limits.dropped import Dropped
from proxy.limits.quota import Rule, scope_of
from proxy.limits.windows import CalendarWindow, CallsInProgress, Counter, SlidingWindow

MAX_SCOPES = 200_000
"""Callers and groups whose counters are kept. Beyond, some are dropped."""
_SWEEP = 16
"""Decisions between two checks whether a scope is still used. Each new scope also causes a check."""
_DROPPED = (
    "limits: more than %d callers and groups have used their limits: the counters of some are dropped, "
    "which can admit them above their limits; set limits for groups instead (`group_limits`)"
)
_NAMES = {kind: {unit: f"{kind}/{unit}" for unit in (*UNITS, "")} for kind in KINDS}


class Bound(Struct, frozen=True, gc=False):
    """The counters of the limits of one caller: all, and by what is added to them."""

    rules: Sequence[Rule]
    counters: tuple[Counter, ...]
    """One for each rule."""
    windows: tuple[Counter, ...]
    """All but the calls in progress."""
    requests: tuple[Counter, ...]
    in_flight: tuple[Counter, ...]
    tokens: tuple[Counter, ...]
    scopes: tuple[str, ...]


class Scope(Struct, gc=False):
    """The counters of one caller, or of one group."""

    counters: dict[str, Counter] = field(default_factory=dict)
    """By kind and unit, such as `requests/m`; `concurrent/` are the calls in progress."""
    bound: Bound | None = None
    """For the rules that were applied last."""

    @property
    def in_flight(self) -> int:
        counter = self.counters.get(_NAMES["concurrent"][""])
        return counter.used if counter else 0

    def counter(self, name: str) -> Counter:
        """Return a counter, a new one if there is none."""
        counter = self.counters.get(name)
        if counter is None:
            counter = self.counters[name] = _new_counter(name)
        return counter


class LimitState:
    """Decides on claims. All of them are granted, or none is. Synchronous."""

    def __init__(self, monotonic: Callable[[], float], time: Callable[[], float], zone: tzinfo) -> None:
        """`time` returns Unix seconds; `zone`: of days and months."""
        self._monotonic = monotonic
        self._time = time
        self.at = Moment(Calendar(zone))
        """The time of the last decision or change."""
        self.scopes: OrderedDict[str, Scope] = OrderedDict()
        """The most recently checked ones (see `_sweep`) are last."""
        self.changed: set[str] | None = None
        """The scopes that have changed since they were stored; None if they are not stored."""
        self.dropped = Dropped(monotonic, _DROPPED, MAX_SCOPES)
        """Scopes that were dropped although their limits were used."""
        self._due = 0
        """Decisions since the last check of a scope; a new one counts as several."""

    def set_zone(self, zone: tzinfo) -> None:
        self.at = Moment(Calendar(zone))

    # -- the limits of one caller, counted by this process alone -------------------------------------------------------

    def admit(self, rules: Sequence[Rule], caller: str, tokens: int) -> tuple[Bound, bool]:
        """Count a request if all limits allow it. `caller`: its scope; `tokens`: an estimate.

        Returns the counters, and whether it was counted.
        """
        at = self._now()
        bound = self._bound(rules, caller)
        for counter in bound.windows:
            counter.advance(at)
            if counter.used >= counter.limit:
                return bound, False
        for counter in bound.in_flight:
            if counter.used >= counter.limit:
                return bound, False
        for counter in bound.requests:
            counter.add(1, at)
        for counter in bound.in_flight:
            counter.used += 1
        for counter in bound.tokens:
            counter.add(tokens, at)
        if self.changed is not None:
            self.changed.update(bound.scopes)
        return bound, True

    def end(self, rules: Sequence[Rule], caller: str, tokens: int, since: float) -> None:
        """Count the end of a call. `tokens`: what is added to its estimate; `since`: when it was admitted.

        Tokens whose window has expired are not subtracted: that would admit more than the limit.
        """
        at = self._now()
        bound = self._bound_at_end(rules, caller)
        for counter in bound.in_flight:
            counter.add(-1, at)
        if not tokens:
            return
        for counter in bound.tokens:
            counter.advance(at)
            if tokens > 0 or not counter.has_forgotten(at.now - since, at):
                counter.add(tokens, at)
        if self.changed is not None:
            self.changed.update(bound.scopes)

    def changes_at_end(self, rules: Sequence[Rule], caller: str, tokens: int, since: float) -> list[Claim]:
        """Return what `end` would change."""
        at = self._now()
        changes = []
        for rule, counter in zip(rules, self._bound_at_end(rules, caller).counters, strict=True):
            amount = -1 if rule.kind == "concurrent" else tokens if rule.kind == "tokens" else 0
            is_late = rule.kind == "tokens" and tokens < 0 and counter.has_forgotten(at.now - since, at)
            if amount and not is_late:
                changes.append(Claim(scope_of(rule, caller), rule.kind, rule.unit, rule.limit, amount))
        return changes

    # -- claims of other processes, and decisions with a part of the limits --------------------------------------------

    def claim(self, claims: Sequence[Claim], factor: int = 1) -> Decision:
        """Decide. `factor`: multiplies the amounts, for a process that counts locally."""
        at = self._now()
        counters = [self._counter(claim, at) for claim in claims]
        waits = [counter.wait(_free(claim, factor), at) for claim, counter in zip(claims, counters, strict=True)]
        is_granted = not any(waits)
        if is_granted:
            for claim, counter in zip(claims, counters, strict=True):
                self._add(claim, counter, factor, at)
        usage = [
            Usage(counter.used, max(wait, 0.001) if wait else 0.0, counter.reset(at))
            for counter, wait in zip(counters, waits, strict=True)
        ]
        return Decision(is_granted, usage)

    def look(self, claims: Sequence[Claim]) -> Decision:
        """Return what is used, without any change."""
        at = self._now()
        counters = [self._counter(claim, at) for claim in claims]
        return Decision(True, [Usage(counter.used, 0.0, counter.reset(at)) for counter in counters])

    def apply(self, changes: Iterable[Claim], factor: int = 1) -> None:
        """Add changes unconditionally."""
        at = self._now()
        for change in changes:
            self._add(change, self._counter(change, at), factor, at)

    def release(self, scope: str, number: int) -> None:
        """End calls in progress."""
        if found := self.scopes.get(scope):
            found.counter(_NAMES["concurrent"][""]).add(-number, self.at)

    def adopt(self, claims: Sequence[Claim], decision: Decision) -> None:
        """Adopt what was counted for several processes, except calls in progress, which are those of this one."""
        at = self._now()
        for claim, usage in zip(claims, decision.usage, strict=True):
            counter = self._counter(claim, at)
            if not isinstance(counter, CallsInProgress):
                counter.adopt(usage.used, at)
                self._note(claim)
            elif decision.is_granted:
                counter.add(claim.amount, at)

    def keep_only(self, exists: Callable[[str], bool]) -> None:
        """Drop the scopes that do not exist any more. Their calls in progress are still counted."""
        for name in [name for name, scope in self.scopes.items() if not exists(name) and not scope.in_flight]:
            self._drop(name)

    # -- counters ------------------------------------------------------------------------------------------------------

    def _now(self) -> Moment:
        """Return the present moment. Scopes are dropped here only: before any is used."""
        at = self.at
        at.set(self._monotonic(), self._time())
        self._due += 1
        while self._due >= _SWEEP:
            self._due -= _SWEEP
            self._sweep(at)
        return at

    def scope(self, name: str) -> Scope:
        """Return the counters of a caller or group, new ones if there are none."""
        scope = self.scopes.get(name)
        if scope is None:
            scope = self.scopes[name] = Scope()
            self._due += _SWEEP
        return scope

    def _bound(self, rules: Sequence[Rule], caller: str) -> Bound:
        """Return the counters of a caller."""
        scope = self.scopes.get(caller) or self.scope(caller)
        bound = scope.bound
        if bound is None or bound.rules is not rules:
            bound = self._bind(rules, caller)
            self._set_limits(bound)
            scope.bound = bound
        return bound

    def _bound_at_end(self, rules: Sequence[Rule], caller: str) -> Bound:
        """Return the counters of a call that ends. Its limits may be those before a reload: the present ones stay."""
        scope = self.scopes.get(caller)
        bound = scope.bound if scope else None
        return bound if bound is not None and bound.rules is rules else self._bind(rules, caller)

    def _set_limits(self, bound: Bound) -> None:
        """Set the limits of counters to those of the rules, which may be of another deployment."""
        for rule, counter in zip(bound.rules, bound.counters, strict=True):
            if counter.limit == rule.limit:
                continue
            counter.set_limit(rule.limit)
            if rule.group:  # the other members, whose rules may be newer, set it again
                for scope in self.scopes.values():
                    scope.bound = None

    def _bind(self, rules: Sequence[Rule], caller: str) -> Bound:
        counters = tuple(self._counter_of(rule, caller) for rule in rules)
        by_kind: dict[Kind, list[Counter]] = {kind: [] for kind in KINDS}
        for rule, counter in zip(rules, counters, strict=True):
            by_kind[rule.kind].append(counter)
        return Bound(
            rules,
            counters,
            windows=tuple(counter for kind in KINDS if kind != "concurrent" for counter in by_kind[kind]),
            requests=(*by_kind["requests"], *by_kind["list_requests"]),
            in_flight=(*by_kind["concurrent"],),
            tokens=(*by_kind["tokens"],),
            scopes=tuple(dict.fromkeys(scope_of(rule, caller) for rule in rules)),
        )

    def _counter_of(self, rule: Rule, caller: str) -> Counter:
        """Return the counter of a rule. Only a new one gets its limit."""
        scope, name = self.scope(scope_of(rule, caller)), _NAMES[rule.kind][rule.unit]
        counter = scope.counters.get(name)
        if counter is None:
            counter = scope.counter(name)
            counter.set_limit(rule.limit)
        return counter

    def _counter(self, claim: Claim, at: Moment) -> Counter:
        """Return the counter of a limit, without what has expired."""
        scope = self.scopes.get(claim.scope) or self.scope(claim.scope)
        counter = scope.counter(_NAMES[claim.kind][claim.unit])
        if counter.limit != claim.limit:
            counter.set_limit(claim.limit)
        counter.advance(at)
        return counter

    def _add(self, claim: Claim, counter: Counter, factor: int, at: Moment) -> None:
        if isinstance(counter, CallsInProgress):
            counter.add(claim.amount, at)
        else:
            counter.add(claim.amount * factor, at)
            self._note(claim)

    def _note(self, claim: Claim) -> None:
        if self.changed is not None:
            self.changed.add(claim.scope)

    # -- memory --------------------------------------------------------------------------------------------------------

    def _sweep(self, at: Moment) -> None:
        """Check the least recently checked scope, and drop it if its limits are unused."""
        scopes = self.scopes
        if not scopes:
            return
        name = next(iter(scopes))
        scope = scopes[name]
        is_used = any(counter.is_used(at) for counter in scope.counters.values())
        if name.startswith("group:") or scope.in_flight or (is_used and len(scopes) <= MAX_SCOPES):
            scopes.move_to_end(name)
            return
        if is_used:
            self.dropped.add()
        self._drop(name)

    def _drop(self, name: str) -> None:
        del self.scopes[name]
        if self.changed is not None:
            self.changed.add(name)


def _new_counter(name: str) -> Counter:
    unit = name.rpartition("/")[2]
    if seconds := SLIDING.get(unit):
        return SlidingWindow(seconds)
    return CalendarWindow(unit) if unit else CallsInProgress()


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
