"""The counters of all limits of one process, or of the process that counts for several."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from proxy.limits.admission import Account, Claimed, account_of
from proxy.limits.calendar import Calendar, Moment
from proxy.limits.claims import Claim, Decision, Kind, Usage
from proxy.limits.dropped import Dropped
from proxy.limits.quota import Rule, caller_scope, claims_of, identity_of, scope_of
from proxy.limits.scopes import NAMES, Scope, new_counter
from proxy.limits.windows import CallsInProgress, Counter

MAX_SCOPES = 200_000
"""Callers and groups whose counters are kept. Beyond, some are dropped."""
_CHECKED = 100
"""Scopes that are checked each second, while there are decisions. Each new scope also causes a check."""
_DROPPED = (
    "limits: more than %d callers and groups have used their limits: the counters of some are dropped, "
    "which can admit them above their limits; set limits for groups instead (`group_limits`)"
)


class LimitState:
    """Decides on claims. All of them are granted, or none is. Synchronous."""

    def __init__(self, monotonic: Callable[[], float], time: Callable[[], float], zone: tzinfo) -> None:
        """`time` returns Unix seconds; `zone`: of days and months."""
        self._monotonic = monotonic
        self._time = time
        self.at = Moment(Calendar(zone))
        """The time of the last decision or change."""
        self.scopes: OrderedDict[str, Scope] = OrderedDict()
        """The most recently checked ones (see `_check`) are last."""
        self.accounts: dict[str, Account] = {}
        """By the identity of the caller: for the limits that were applied last."""
        self.renewed_at = -math.inf
        """Monotonic seconds: earlier accounts do not know when something is due."""
        self.changed: set[str] | None = None
        """The scopes that have changed since they were stored; None if they are not stored."""
        self.dropped = Dropped(monotonic, _DROPPED, MAX_SCOPES)
        """Scopes that were dropped although their limits were used."""
        self._unchecked = 0
        """New scopes: each causes a check of another one."""
        self._next_check = -math.inf
        """Monotonic seconds of the next checks of `_CHECKED` scopes."""

    def set_zone(self, zone: tzinfo) -> None:
        self.at = Moment(Calendar(zone))

    def changes_at_end(self, claimed: Claimed, since: float, tokens: int) -> list[Claim]:
        """Return what the end of a call changes.

        `since`: when it was admitted; `tokens`: what is added to its estimate.
        """
        at = self.now()
        changes = []
        for claim in claims_of(claimed.rules, claimed.caller, tokens):
            counter = self._current_counter(claim, at)
            if claim.kind == "concurrent":
                changes.append(claim.with_amount(-1))
            elif claim.kind == "tokens" and (tokens > 0 or (tokens and not counter.has_forgotten(at.now - since, at))):
                changes.append(claim if tokens > 0 else claim.with_since(since))
        return changes

    # -- claims of other processes, and decisions with a part of the limits --------------------------------------------

    def claim(self, claims: Sequence[Claim], factor: int = 1) -> Decision:
        """Decide. `factor`: multiplies the amounts, for a process that counts locally."""
        at = self.now()
        counters = [self._claimed(claim, at) for claim in claims]
        waits = [counter.wait(_free(claim, factor), at) for claim, counter in zip(claims, counters, strict=True)]
        is_granted = not any(waits)
        if is_granted:
            for claim, counter in zip(claims, counters, strict=True):
                self._add(claim, counter, factor, at)
        usage = [
            Usage(counter.used, max(wait, 0.001) if wait else 0.0, counter.reset(at))
            for counter, wait in zip(counters, waits, strict=True)
        ]
        return Decision(is_granted, usage, at.now)

    def look(self, claims: Sequence[Claim]) -> Decision:
        """Return what is used, without any change: the limits of the claims can be those before a reload."""
        at = self.now()
        counters = [self._current_counter(claim, at) for claim in claims]
        return Decision(True, [Usage(counter.used, 0.0, counter.reset(at)) for counter in counters])

    def apply(self, changes: Iterable[Claim], factor: int = 1) -> None:
        """Add changes unconditionally."""
        at = self.now()
        for change in changes:
            counter = self._current_counter(change, at)
            if not (change.since and counter.has_forgotten(at.now - change.since, at)):
                self._add(change, counter, factor, at)

    def release(self, scope: str, number: int) -> None:
        """End calls in progress."""
        if found := self.scopes.get(scope):
            found.counter(NAMES["concurrent"][""]).add(-number, self.at)

    def adopt(self, claims: Sequence[Claim], decision: Decision) -> None:
        """Adopt what was counted for several processes, except calls in progress, which are those of this one."""
        at = self.now()
        for claim, usage in zip(claims, decision.usage, strict=True):
            counter = self._claimed(claim, at)
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

    def now(self) -> Moment:
        """Return the present moment."""
        at, monotonic = self.at, self._monotonic
        at.now = now = monotonic()
        if now >= at.due:
            self.update(now)
        return at

    def update(self, now: float) -> None:
        """Do what is due: read the clock of the system, and drop unused scopes: only here, before any is used."""
        periods = self.at.periods
        self.at.set(now, self._time())
        if self.at.periods is not periods:
            self.renew_accounts(now)
        number, self._unchecked = self._unchecked, 0
        if now >= self._next_check:
            self._next_check = now + 1.0
            number += _CHECKED
        for _ in range(min(number, len(self.scopes))):
            self._check()

    def scope(self, name: str) -> Scope:
        """Return the counters of a caller or group, new ones if there are none."""
        scope = self.scopes.get(name)
        if scope is None:
            scope = self.scopes[name] = Scope()
            self._unchecked += 1
            self.at.due = self.at.now  # the next decision checks a scope
        return scope

    def open(self, rules: Sequence[Rule], identity: str) -> Account:
        """Return a new account of a caller, and set the limits of its counters."""
        account = self.account(rules, caller_scope(identity))
        for rule, counter in zip(rules, account.counters, strict=True):
            if counter.limit != rule.limit:
                counter.set_limit(rule.limit, self.at)
                if rule.group:  # the other members, whose rules may be newer, set it again
                    self.accounts.clear()
        self.accounts[identity] = account
        return account

    def renew_accounts(self, now: float) -> None:
        """Forget when accounts are due: another day has begun, the clock was set, or counters were restored."""
        self.accounts.clear()
        self.renewed_at = now

    def account(self, rules: Sequence[Rule], caller: str) -> Account:
        """Return an account with rules that may be those before a reload: only new counters get their limits.

        `caller`: its scope.
        """
        counters = [self._counter_of(scope_of(rule, caller), rule.kind, rule.unit, rule.limit) for rule in rules]
        return account_of(caller, self.scope(caller), rules, counters)

    def _counter_of(self, scope: str, kind: Kind, unit: str, limit: int) -> Counter:
        """Return the counter of a limit. Only a new one gets this limit."""
        counters, name = self.scope(scope).counters, NAMES[kind][unit]
        counter = counters.get(name)
        if counter is None:
            counter = counters[name] = new_counter(name)
            counter.set_limit(limit, self.at)
        return counter

    def _claimed(self, claim: Claim, at: Moment) -> Counter:
        """Return the counter of a claim, without what has expired."""
        counter = self._counter_of(claim.scope, claim.kind, claim.unit, claim.limit)
        if counter.limit != claim.limit:
            counter.set_limit(claim.limit, at)
        counter.advance(at)
        return counter

    def _current_counter(self, claim: Claim, at: Moment) -> Counter:
        """Return the same for a change or a query, whose limit may be that before a reload: the present one stays."""
        counter = self._counter_of(claim.scope, claim.kind, claim.unit, claim.limit)
        counter.advance(at)
        return counter

    def _add(self, claim: Claim, counter: Counter, factor: int, at: Moment) -> None:
        if isinstance(counter, CallsInProgress):
            counter.add(claim.amount, at)
        else:
            counter.add(claim.amount * factor, at, claim.since)
            self._note(claim)

    def _note(self, claim: Claim) -> None:
        if self.changed is not None:
            self.changed.add(claim.scope)

    # -- memory --------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Check the least recently checked scope, and drop it if its limits are unused."""
        scopes = self.scopes
        name = next(iter(scopes))
        scope = scopes[name]
        is_used = any(counter.is_used(self.at) for counter in scope.counters.values())
        if name.startswith("group:") or scope.in_flight or (is_used and len(scopes) <= MAX_SCOPES):
            scopes.move_to_end(name)
            return
        if is_used:
            self.dropped.add()
        self._drop(name)

    def _drop(self, name: str) -> None:
        self.scopes.pop(name).is_dropped = True
        self.accounts.pop(identity_of(name), None)
        if self.changed is not None:
            self.changed.add(name)


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
