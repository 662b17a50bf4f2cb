"""Decides whether a request is within the limits of its caller: alone, or together with other processes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from proxy.config import Config
from proxy.config.call_limits import UNIT_NAMES
from proxy.config.timezones import zone_of
from proxy.limits.claims import Claim, Decision, Kind, SharedLimits, Usage
from proxy.limits.quota import Quota, Rule, claims_of, exists_in
from proxy.limits.state import LimitState

_WHAT = {"requests": "requests", "tokens": "tokens", "list_requests": "list requests"}

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


class Remaining(Struct, frozen=True, gc=False):
    """The remaining part of one limit, for headers."""

    limit: int
    remaining: int
    reset: float
    """Seconds until it is unused."""


class Admission(Struct, frozen=True):
    """The decision on a request. `Limiter.end` must be called after an admitted one."""

    claims: Sequence[Claim]
    decision: Decision

    @property
    def is_granted(self) -> bool:
        return self.decision.is_granted

    @property
    def statuses(self) -> list[Status]:
        return [
            Status(
                _group_of(claim.scope),
                claim.kind,
                claim.unit,
                claim.limit,
                max(0, claim.limit - usage.used),
                usage.reset,
            )
            for claim, usage in zip(self.claims, self.decision.usage, strict=True)
        ]

    def tightest(self) -> tuple[Remaining | None, Remaining | None]:
        """Return the limits of requests and of tokens with the least remaining; of equal ones, the last to be reset."""
        requests = tokens = None
        for claim, usage in zip(self.claims, self.decision.usage, strict=True):
            if claim.kind == "tokens":
                tokens = _tighter(claim, usage, tokens)
            elif claim.unit:
                requests = _tighter(claim, usage, requests)
        return requests, tokens

    @property
    def exceeded(self) -> Claim:
        """The limit that delays a rejected request longest."""
        return self._longest[0]

    @property
    def wait(self) -> float:
        """Seconds until a rejected request could be admitted."""
        return self._longest[1]

    @property
    def _longest(self) -> tuple[Claim, float]:
        waits = ((claim, usage.wait) for claim, usage in zip(self.claims, self.decision.usage, strict=True))
        return max(waits, key=lambda pair: pair[1])

    @property
    def reason(self) -> str:
        """Which limit is exceeded, for the client."""
        claim = self.exceeded
        group = _group_of(claim.scope)
        whose = f"all members of the group {group} together" if group else "each caller"
        if claim.kind == "concurrent":
            return f"at most {claim.limit} calls at a time ({whose})"
        return f"at most {claim.limit} {_WHAT[claim.kind]} per {UNIT_NAMES[claim.unit]} ({whose})"


class LimitReport(NamedTuple):
    """The state of limits, for metrics."""

    rejected: Mapping[Kind, int] = {}
    """Requests, by the kind of the limit that they exceeded."""
    is_local: bool = False
    dropped: int = 0
    """Callers and groups whose counters were dropped although they were used."""


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
        self.shared = shared
        if shared:
            shared.configure(config)
        self.local_since: float | None = None
        """Unix seconds since which this process counts locally, because the others are unreachable."""
        self.rejected: Counter[Kind] = Counter()
        """Requests, by the kind of the limit that they exceeded."""

    @property
    def where_counted(self) -> str:
        """`shared` with other processes, `local` unless they are reachable; "" without others."""
        if self.shared is None:
            return ""
        return "shared" if self.local_since is None and self.shared.is_reachable else "local"

    @property
    def report(self) -> LimitReport:
        return LimitReport(self.rejected, self.where_counted == "local", self.state.dropped)

    def configure(self, config: Config) -> None:
        """Apply another configuration: counters of callers and groups that it does not contain are discarded."""
        self.state.set_zone(zone_of(config.server.timezone))
        if self.shared:
            self.shared.configure(config)
        self.state.keep_only(lambda scope: exists_in(config, scope))

    def admit_now(self, rules: Sequence[Rule], identity: str, tokens: int = 0) -> Admission:
        """Decide without other processes: only if there is no `shared`."""
        claims = claims_of(rules, identity, tokens)
        return self._counted(Admission(claims, self.state.claim(claims)))

    async def admit(self, rules: Sequence[Rule], identity: str, tokens: int = 0) -> Admission:
        """Decide. With other processes, within their time limit. `tokens`: an estimate of those of the request."""
        if self.shared is None:
            return self.admit_now(rules, identity, tokens)
        claims = claims_of(rules, identity, tokens)
        decision = await self.shared.claim(claims)
        self._note_reachability(decision is not None)
        if decision is None:
            decision = self._claim_locally(claims, self.shared)
        else:
            self.state.adopt(claims, decision)
        return self._counted(Admission(claims, decision))

    def end(self, admission: Admission, tokens: int) -> None:
        """Count the end of an admitted call. `tokens`: its input and output, as far as they are known."""
        changes = [
            claim.with_amount(-1 if claim.unit == "" else tokens - claim.amount)
            for claim in admission.claims
            if claim.unit == "" or (claim.kind == "tokens" and tokens != claim.amount)
        ]
        if not changes:
            return
        if self.shared:
            self.shared.report(changes)
            self.state.apply(changes, self.shared.processes if self.local_since is not None else 1)
        else:
            self.state.apply(changes)

    async def statuses(self, quota: Quota | None, identity: str) -> list[Status]:
        """Return the limits of a caller, and what remains. Nothing is used.

        Calls in progress are those of this process; all else is what all processes count, if they can be reached.
        """
        rules = (*quota.calls, *quota.lists) if quota else ()
        claims = [claim.with_amount(0) for claim in claims_of(rules, identity, 0)]
        counted = [claim for claim in claims if claim.kind != "concurrent"]
        own = self.state.look(claims)
        decision = await self.shared.claim(counted) if self.shared and counted else None
        shared = iter(decision.usage if decision else ())
        usage = [
            each if decision is None or claim.kind == "concurrent" else next(shared)
            for claim, each in zip(claims, own.usage, strict=True)
        ]
        return Admission(claims, Decision(True, usage)).statuses

    def _claim_locally(self, claims: Sequence[Claim], shared: SharedLimits) -> Decision:
        """Decide with the last state: each process uses an equal part of what remained, and later of each limit."""
        decision = self.state.claim(claims, max(1, shared.processes))
        if decision.is_granted:
            shared.report(claims)
        return decision

    def _note_reachability(self, is_reachable: bool) -> None:
        if is_reachable and self.local_since is not None:
            _log.info("limits: counting together with the other processes again")
            self.local_since = None
        elif not is_reachable and self.local_since is None:
            assert self.shared is not None, "checked by the caller"
            _log.warning(
                "limits: counting locally, because the other processes are unreachable: "
                "each process admits 1/%d of every limit",
                max(1, self.shared.processes),
            )
            self.local_since = self.time()

    def _counted(self, admission: Admission) -> Admission:
        if not admission.is_granted:
            self.rejected[admission.exceeded.kind] += 1
        return admission


def _tighter(claim: Claim, usage: Usage, other: Remaining | None) -> Remaining:
    remaining = claim.limit - usage.used
    if remaining < 0:
        remaining = 0
    if other and (remaining > other.remaining or (remaining == other.remaining and usage.reset <= other.reset)):
        return other
    return Remaining(claim.limit, remaining, usage.reset)


def _group_of(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return name if kind == "group" else ""
