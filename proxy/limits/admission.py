"""The limits of one caller, counted by this process alone, and the decisions on its requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from sys import maxsize
from typing import NamedTuple

from msgspec import Struct

from proxy.config.call_limits import SLIDING, UNIT_NAMES, UNITS
from proxy.limits.calendar import Moment
from proxy.limits.quota import Rule, scope_of
from proxy.limits.scopes import Scope
from proxy.limits.sliding_window import SlidingWindow
from proxy.limits.windows import CallsInProgress, Counter, Window

_WHAT = {"requests": "requests", "tokens": "tokens", "list_requests": "list requests"}

Remaining = tuple[int, int, float]
"""A limit, how much of it remains, and the seconds until it is unused, for headers."""


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


class Claimed(NamedTuple):
    """What a request was counted for, if other processes count, too."""

    rules: Sequence[Rule]
    caller: str
    """The scope of the caller."""
    factor: int
    """How often the amounts were counted, by a process that counts locally."""
    at: float
    """When the other processes have counted it, by their clock; 0 if they have not."""


class Admission(Struct, frozen=True, gc=False):
    """The decision on a request. `Limiter.end` must be called after an admitted one."""

    tokens: int
    """The estimate that was counted."""
    since: float
    """Monotonic seconds of the decision."""
    requests: Remaining | None
    tokens_left: Remaining | None
    """The limits of requests and of tokens with the least remaining; of equal ones, that of the longest window."""
    rejection: Rejection | None
    account: Account | None
    """Where it was counted; None if other processes count, too."""
    claimed: Claimed | None = None
    """What it was counted for, if other processes count, too; else None."""

    @property
    def is_granted(self) -> bool:
        return self.rejection is None


def longest(rules: Sequence[Rule], waits: Sequence[float]) -> Rejection:
    """Return the limit with the longest of these waits, one for each limit."""
    return Rejection(*max(zip(rules, waits, strict=True), key=lambda pair: pair[1]))


class Account(Struct, gc=False):
    """The counters of the limits of one caller."""

    rules: Sequence[Rule]
    requests: tuple[Window, ...]
    """The longest last: of several with the same remaining part, it is reported."""
    tokens: tuple[Window, ...]
    calls: tuple[CallsInProgress, ...]
    """Those of the caller and of its group, as far as they are limited."""
    sliding_requests: tuple[SlidingWindow, ...]
    sliding_tokens: tuple[SlidingWindow, ...]
    due: float
    """When something may have expired, in monotonic seconds; `-inf` until it is known."""
    scope: Scope
    """That of the caller."""
    caller: str
    """The name of its scope."""
    counters: tuple[Counter, ...]
    """The same as above, one for each rule."""
    shortest: float
    """Seconds of the shortest sliding window, infinite without one."""
    scopes: tuple[str, ...]
    """Those of the counters."""

    def admit(self, at: Moment, tokens: int) -> Admission:
        """Count a request if all limits allow it. `tokens`: an estimate.

        It is added to all counters first, and subtracted again if one of them is above its limit.
        """
        now = at.now
        if now >= self.due:
            self._advance(at)
        requests = balance = None
        fewest = least = maxsize
        for window in self.requests:
            window.used = used = window.used + 1
            left = window.limit - used
            if left <= fewest:
                requests, fewest = window, left
        for window in self.tokens:
            window.used = used = window.used + tokens
            left = window.limit - used
            if left <= least:
                balance, least = window, left
        for calls in self.calls:
            calls.used = used = calls.used + 1
            if used > calls.limit:
                fewest = -1
        if fewest < 0 or least + tokens <= 0:
            return self._reject(at, tokens)
        for sliding in self.sliding_requests:
            if now < sliding.slot_ends_at:  # as `record`, for an amount that fits
                sliding.unused_at = now + sliding.seconds
            else:
                sliding.begin_entry(1, now)
        if tokens:
            for sliding in self.sliding_tokens:
                sliding.record(tokens, at)
        if not fewest or least <= 0 or (not tokens and balance is not None):
            return Admission(tokens, now, _tightest(self.requests, at), _tightest(self.tokens, at), None, self)
        # As `_tightest`, if something is left of all limits.
        requests_left = None if requests is None else (requests.limit, fewest, requests.unused_at - now)
        tokens_left = None if balance is None else (balance.limit, least, balance.unused_at - now)
        return Admission(tokens, now, requests_left, tokens_left, None, self)

    def end(self, at: Moment, tokens: int, since: float) -> None:
        """Count the end of a call. `tokens`: what is added to its estimate; `since`: when it was admitted.

        Tokens whose window has expired are not subtracted: that would admit more than the limit.
        """
        for calls in self.calls:
            if used := calls.used:
                calls.used = used - 1
        if not tokens:
            return
        now = at.now
        if now >= self.due:
            self._advance(at)
        if tokens > 0:
            for window in self.tokens:
                window.used += tokens
            for sliding in self.sliding_tokens:
                sliding.record(tokens, at)
            return
        for window in self.tokens:
            if not window.has_forgotten(now - since, at):
                window.add(tokens, at, since)

    def _reject(self, at: Moment, tokens: int) -> Admission:
        for calls in self.calls:
            calls.used -= 1
        for window in self.requests:
            window.used -= 1
        for window in self.tokens:
            window.used -= tokens
        rejection = longest(self.rules, [each.wait(each.limit - 1, at) for each in self.counters])
        return Admission(0, at.now, _tightest(self.requests, at), _tightest(self.tokens, at), rejection, self)

    def _advance(self, at: Moment) -> None:
        """Drop what has expired, and set when something can expire next.

        What is added from now on expires after the shortest sliding window at the earliest, also what other members of
        a group add.
        """
        now, is_new = at.now, self.due == -math.inf
        due = now + self.shortest
        for counter in self.counters:
            if is_new or counter.due <= now:
                counter.advance(at)
            if counter.due < due:
                due = counter.due
        self.due = due


def account_of(caller: str, scope: Scope, rules: Sequence[Rule], counters: Sequence[Counter]) -> Account:
    """`caller`: the name of its scope; `counters`: one for each rule."""
    bound = sorted(zip(rules, counters, strict=True), key=lambda pair: UNITS.index(pair[0].unit) if pair[0].unit else 0)
    windows = [(rule.kind, each) for rule, each in bound if not isinstance(each, CallsInProgress)]
    requests = tuple(window for kind, window in windows if kind != "tokens")
    tokens = tuple(window for kind, window in windows if kind == "tokens")
    return Account(
        rules,
        requests,
        tokens,
        tuple(counter for counter in counters if isinstance(counter, CallsInProgress)),
        tuple(each for each in requests if isinstance(each, SlidingWindow)),
        tuple(each for each in tokens if isinstance(each, SlidingWindow)),
        -math.inf,
        scope,
        caller,
        (*counters,),
        min((SLIDING[rule.unit] for rule in rules if rule.unit in SLIDING), default=math.inf),
        tuple(dict.fromkeys(scope_of(rule, caller) for rule in rules)),
    )


def _tightest(windows: Sequence[Window], at: Moment) -> Remaining | None:
    """Return the limit with the least remaining; of equal ones, that of the longest window, which is the last."""
    found = min(reversed(windows), key=lambda window: max(0, window.limit - window.used), default=None)
    return _remaining(found, found.limit - found.used if found else 0, at)


def _remaining(window: Window | None, left: int, at: Moment) -> Remaining | None:
    if window is None:
        return None
    if left <= 0:  # perhaps with a debt
        return window.limit, 0, window.reset(at)
    return window.limit, left, max(0.0, window.unused_at - at.now)
