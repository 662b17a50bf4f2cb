"""Decides whether a request is within the limits of its caller: alone, or together with other processes."""

from __future__ import annotations

import collections
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from proxy.config import Config
from proxy.config.timezones import zone_of
from proxy.limits.admission import Admission, Claimed, Rejection, Remaining, longest
from proxy.limits.claims import Claim, Decision, Kind, SharedLimits, Usage
from proxy.limits.quota import Quota, Rule, caller_scope, claims_of, exists_in
from proxy.limits.state import LimitState

_log = logging.getLogger("models_proxy")


class Status(Struct, frozen=True):
    """One limit of a caller, for reports."""

    group: str
    """"" if it is that of the caller alone."""
    kind: Kind
    unit: str
    limit: int
    remaining: int
    reset: float
    """Seconds until it is unused."""


class LimitReport(NamedTuple):
    """The state of limits, for metrics."""

    rejected: Mapping[Kind, int] = {}
    """Requests, by the kind of the limit that they exceeded."""
    is_local: bool = False
    dropped: Mapping[str, int] = {}
    """Counters and changes of counters that were lost while they were used, by the reason."""
    not_stored: int = 0
    """Callers and groups whose counters do not fit in `store.directory`."""


class Limiter:
    """The limits of all callers. They are kept across reloads."""

    def __init__(
        self,
        config: Config,
        monotonic: Callable[[], float],
        time: Callable[[], float],
        shared: SharedLimits | None = None,
    ) -> None:
        """`time` returns Unix seconds. `shared`: counts for several processes, None if this is the only one."""
        self.state = LimitState(monotonic, time, zone_of(config.server.timezone))
        """The counters of this process; with `shared`, also the last state of the others."""
        self.time = time
        self._monotonic = monotonic
        self.shared = shared
        if shared:
            shared.configure(config)
        self.local_since: float | None = None
        """Unix seconds since which this process counts locally, because the others are unreachable."""
        self._was_disconnected = False
        """Whether the last claim that failed was not sent: the next one succeeds as soon as there is a connection."""
        self.not_stored = 0
        """As in `LimitReport`; set by what stores the counters."""
        self.rejected: collections.Counter[Kind] = collections.Counter()
        """Requests, by the kind of the limit that they exceeded."""

    @property
    def where_counted(self) -> str:
        """`shared` with other processes, `local` unless they are reachable; "" without others."""
        if self.shared is None:
            return ""
        has_failed = self.local_since is not None and not self._was_disconnected
        return "shared" if self.shared.is_reachable and not has_failed else "local"

    @property
    def shown(self) -> Mapping[str, object]:
        """For `/health`: where limits are counted, and how many counters are lost, if any is."""
        lost = {"limits_dropped": sum(self.report.dropped.values()), "limits_not_stored": self.not_stored}
        return {name: value for name, value in {"limits": self.where_counted, **lost}.items() if value}

    @property
    def report(self) -> LimitReport:
        dropped = {"memory": self.state.dropped.total, **(self.shared.dropped if self.shared else {})}
        return LimitReport(self.rejected, self.where_counted == "local", dropped, self.not_stored)

    def configure(self, config: Config) -> None:
        """Apply another configuration: counters of callers and groups that it does not contain are discarded."""
        self.state.set_zone(zone_of(config.server.timezone))
        if self.shared:
            self.shared.configure(config)
        self.state.keep_only(lambda scope: exists_in(config, scope))

    def admit_now(self, rules: Sequence[Rule], identity: str, tokens: int = 0) -> Admission:
        """Decide without other processes: only if there is no `shared`."""
        state = self.state
        at = state.at
        at.now = now = self._monotonic()  # as `state.now`, without another call
        if now >= at.due:
            state.update(now)
        account = state.accounts.get(identity)
        if account is None or account.rules is not rules:
            account = state.open(rules, identity)
        admission = account.admit(at, tokens)
        if admission.rejection is not None:
            self.rejected[admission.rejection.rule.kind] += 1
        elif state.changed is not None:
            state.changed.update(account.scopes)
        return admission

    async def admit(self, rules: Sequence[Rule], identity: str, tokens: int = 0) -> Admission:
        """Decide. With other processes, within their time limit. `tokens`: an estimate of those of the request."""
        if self.shared is None:
            return self.admit_now(rules, identity, tokens)
        caller = caller_scope(identity)
        claims = claims_of(rules, caller, tokens)
        since = self._monotonic()
        decision = await self.shared.claim(claims)
        self._note_reachability(self.shared, is_reachable=decision is not None)
        factor, at = 1, 0.0
        if decision is None:
            factor = max(1, self.shared.processes)
            decision = self._claim_locally(claims, self.shared, factor)
        else:
            self.state.adopt(claims, decision)
            at = decision.at
        rejection = None if decision.is_granted else self._rejected(rules, [each.wait for each in decision.usage])
        counted = [*zip(rules, decision.usage, strict=True)]
        requests = _tightest(each for each in counted if each[0].unit and each[0].kind != "tokens")
        of_tokens = _tightest(each for each in counted if each[0].kind == "tokens")
        return Admission(tokens, since, requests, of_tokens, rejection, None, Claimed(rules, caller, factor, at))

    def end(self, admission: Admission, tokens: int) -> None:
        """Count the end of an admitted call. `tokens`: its input and output, as far as they are known."""
        account = admission.account
        if account is None:
            self._end_together(admission, tokens - admission.tokens)
            return
        state = self.state
        at = state.at
        at.now = now = self._monotonic()
        if now >= at.due:
            state.update(now)  # which drops scopes
        if account.scope.is_dropped:
            account = state.account(account.rules, account.caller)
        elif admission.since <= state.renewed_at:
            account.due = -math.inf
        account.end(at, tokens - admission.tokens, admission.since)
        if state.changed is not None and tokens != admission.tokens:
            state.changed.update(account.scopes)

    def _end_together(self, admission: Admission, more: int) -> None:
        """Count the end of a call that other processes count, too. `more`: tokens, in addition to its estimate."""
        if self.shared and (claimed := admission.claimed):
            changes = self.state.changes_at_end(claimed, admission.since, more)
            if changes:
                self.shared.report([each.with_since(claimed.at) if each.since else each for each in changes])
                self.state.apply(changes, claimed.factor)

    async def statuses(self, quota: Quota | None, identity: str) -> list[Status]:
        """Return the limits of a caller, and what remains. Nothing is used.

        Calls in progress are those of this process; all else is what all processes count, if they can be reached.
        """
        rules = (*quota.calls, *quota.lists) if quota else ()
        claims = [claim.with_amount(0) for claim in claims_of(rules, caller_scope(identity), 0)]
        counted = [claim for claim in claims if claim.kind != "concurrent"]
        own = self.state.look(claims)
        decision = await self.shared.claim(counted) if self.shared and counted else None
        shared = iter(decision.usage if decision else ())
        usage = [
            each if decision is None or claim.kind == "concurrent" else next(shared)
            for claim, each in zip(claims, own.usage, strict=True)
        ]
        return [_status(rule, each) for rule, each in zip(rules, usage, strict=True)]

    def _claim_locally(self, claims: Sequence[Claim], shared: SharedLimits, factor: int) -> Decision:
        """Decide with the last state: each process uses an equal part of what remained, and later of each limit."""
        decision = self.state.claim(claims, factor)
        if decision.is_granted:
            shared.report(claims)
        return decision

    def _note_reachability(self, shared: SharedLimits, *, is_reachable: bool) -> None:
        """Note whether the others have decided on a claim."""
        if is_reachable:
            if self.local_since is not None:
                _log.info("limits: counting together with the other processes again")
            self.local_since = None
            return
        self._was_disconnected = not shared.is_reachable
        if self.local_since is None:
            _log.warning(
                "limits: counting locally, because the other processes are unreachable: "
                "each process admits 1/%d of every limit",
                max(1, shared.processes),
            )
            self.local_since = self.time()

    def _rejected(self, rules: Sequence[Rule], waits: Sequence[float]) -> Rejection:
        rejection = longest(rules, waits)
        self.rejected[rejection.rule.kind] += 1
        return rejection


def _tightest(counted: Iterable[tuple[Rule, Usage]]) -> Remaining | None:
    """Return the limit with the least remaining; of equal ones, the last to be reset."""
    limits = [(rule.limit, max(0, rule.limit - usage.used), usage.reset) for rule, usage in counted]
    return min(limits, key=lambda each: (each[1], -each[2]), default=None)


def _status(rule: Rule, usage: Usage) -> Status:
    remaining = max(0, rule.limit - usage.used)
    return Status(rule.group, rule.kind, rule.unit, rule.limit, remaining, usage.reset)
