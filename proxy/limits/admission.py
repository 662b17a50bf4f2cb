"""The limits of one caller, counted by this process alone, and the decisions on its requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import maxsize

from msgspec import Struct

from proxy.config.call_limits import UNIT_NAMES, UNITS
from proxy.limits.calendar import Moment, Periods
from proxy.limits.quota import Rule, scope_of
from proxy.limits.windows import CallsInProgress, Counter, SlidingWindow, Window

_WHAT = {"requests": "requests", "tokens": "tokens", "list_requests": "list requests"}


class Remaining(Struct, frozen=True, gc=False):
    """The remaining part of one limit, for headers."""

    limit: int
    remaining: int
    reset: float
    """Seconds until it is unused."""


class Rejection(Struct, frozen=True, gc=False):
    """The limit that delays a request longest."""

    rule: Rule
    wait: float
    """Seconds until the request could be admitted."""

    @property
    def reason(self) -> str:
        """Which limit is exceeded, for the client."""
        group, kind, unit, limit = self.rule
        whose = f"all members of the group {group} together" if group else "each caller"
        if kind == "concurrent":
            return f"at most {limit} calls at a time ({whose})"
        return f"at most {limit} {_WHAT[kind]} per {UNIT_NAMES[unit]} ({whose})"


class Admission(Struct, frozen=True, gc=False):
    """The decision on a request. `Limiter.end` must be called after an admitted one."""

    rules: Sequence[Rule]
    caller: str
    """The scope of the caller."""
    tokens: int
    """The estimate that was counted."""
    since: float
    """Monotonic seconds of the decision."""
    requests: Remaining | None
    tokens_left: Remaining | None
    """The limits of requests and of tokens with the least remaining; of equal ones, the last to be reset."""
    rejection: Rejection | None = None
    account: Account | None = None
    """Where it was counted; None if other processes count, too."""
    factor: int = 1
    """How often the amounts were counted, by a process that counts locally."""

    @property
    def is_granted(self) -> bool:
        return self.rejection is None


def longest(rules: Sequence[Rule], waits: Sequence[float]) -> Rejection:
    """Return the limit with the longest of these waits, one for each limit."""
    return Rejection(*max(zip(rules, waits, strict=True), key=lambda pair: pair[1]))


class Account(Struct, gc=False):
    """The counters of the limits of one caller."""

    caller: str
    """Its scope."""
    own: Mapping[str, Counter]
    """The counters of this scope."""
    rules: Sequence[Rule]
    counters: tuple[Counter, ...]
    """One for each rule, also of groups. The others below are the same, by what is added to them."""
    requests: tuple[Window, ...]
    """Of several with the same remaining part, the last is reported: the others have shorter windows."""
    tokens: tuple[Window, ...]
    in_flight: tuple[CallsInProgress, ...]
    sliding_requests: tuple[SlidingWindow, ...]
    sliding_tokens: tuple[SlidingWindow, ...]
    scopes: tuple[str, ...]
    """Those of the counters."""
    _periods: Periods | None = None
    """For which the windows of the calendar have begun."""

    def admit(self, at: Moment, tokens: int) -> Admission:
        """Count a request if all limits allow it. `tokens`: an estimate."""
        if self._periods is not at.periods:
            self._advance(at)
        now = at.now
        for counter in self.counters:
            if counter.due <= now:
                counter.advance(at)
            if counter.used >= counter.limit:
                return self._reject(at, tokens)
        for calls in self.in_flight:
            calls.used += 1
        requests = _add(self.requests, self.sliding_requests, 1, at)
        of_tokens = _add(self.tokens, self.sliding_tokens, tokens, at)
        return Admission(self.rules, self.caller, tokens, now, requests, of_tokens, None, self)

    def end(self, at: Moment, tokens: int, since: float) -> None:
        """Count the end of a call. `tokens`: what is added to its estimate; `since`: when it was admitted.

        Tokens whose window has expired are not subtracted: that would admit more than the limit.
        """
        for calls in self.in_flight:
            if calls.used:
                calls.used -= 1
        if not tokens:
            return
        if self._periods is not at.periods:
            self._advance(at)
        now = at.now
        for window in self.tokens:
            if window.due <= now:
                window.advance(at)
            if tokens > 0 or not window.has_forgotten(now - since, at):
                window.add(tokens, at)

    def _reject(self, at: Moment, tokens: int) -> Admission:
        self._advance(at)
        rejection = longest(self.rules, [each.wait(each.limit - 1, at) for each in self.counters])
        requests, of_tokens = _add(self.requests, (), 0, at), _add(self.tokens, (), 0, at)
        return Admission(self.rules, self.caller, tokens, at.now, requests, of_tokens, rejection, self)

    def _advance(self, at: Moment) -> None:
        self._periods = at.periods
        for counter in self.counters:
            counter.advance(at)


def account_of(caller: str, own: Mapping[str, Counter], rules: Sequence[Rule], counters: Sequence[Counter]) -> Account:
    """`counters`: one for each rule."""
    bound = sorted(zip(rules, counters, strict=True), key=lambda pair: UNITS.index(pair[0].unit) if pair[0].unit else 0)
    windows = [(rule.kind, each) for rule, each in bound if not isinstance(each, CallsInProgress)]
    requests = tuple(window for kind, window in windows if kind != "tokens")
    tokens = tuple(window for kind, window in windows if kind == "tokens")
    return Account(
        caller,
        own,
        rules,
        (*counters,),
        requests=requests,
        tokens=tokens,
        in_flight=tuple(each for each in counters if isinstance(each, CallsInProgress)),
        sliding_requests=tuple(each for each in requests if isinstance(each, SlidingWindow)),
        sliding_tokens=tuple(each for each in tokens if isinstance(each, SlidingWindow)),
        scopes=tuple(dict.fromkeys(scope_of(rule, caller) for rule in rules)),
    )


def _add(windows: Sequence[Window], sliding: Sequence[SlidingWindow], amount: int, at: Moment) -> Remaining | None:
    """Add an amount. `sliding`: those of the windows that are. Returns the limit with the least remaining; of equal
    ones, that of the longest window."""
    if not windows:
        return None
    least = maxsize
    for window in windows:
        window.used += amount
        left = window.limit - window.used
        if left <= least:
            found, least = window, left if left > 0 else 0
    if amount:
        for each in sliding:
            each.record(amount, at)
    return Remaining(found.limit, least, found.reset(at))
