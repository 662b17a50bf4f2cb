"""The limits that apply to a caller: its own, and those of its group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from proxy.config import Config
from proxy.config.call_limits import CallLimits, Unit
from proxy.config.settings import Group
from proxy.limits.claims import Claim, Kind

_CALLER = "key:"


class Rule(NamedTuple):
    """One limit. `group`: the group whose members it limits together; "" if it limits each caller."""

    group: str
    kind: Kind
    unit: Unit | Literal[""]
    limit: int


class Quota(Struct, frozen=True, gc=False):
    """All limits of a caller. Callers with equal limits share one."""

    calls: tuple[Rule, ...]
    lists: tuple[Rule, ...]
    counts_tokens: bool = False


class Quotas:
    """The quotas of a configuration."""

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._groups = groups
        self._quotas: dict[tuple[int, str | None], Quota | None] = {}
        """By the identity of the limits, which the configuration keeps, and the group."""
        self._equal: dict[Quota, Quota] = {}

    def of(self, limits: CallLimits | None, group: str | None) -> Quota | None:
        """Return the quota of a member of a group with these own limits, None if nothing is limited."""
        if limits is None and group is None:
            return None
        known = (id(limits), group)
        if known not in self._quotas:
            self._quotas[known] = self._new(limits, group)
        return self._quotas[known]

    def of_member(self, group: str | None) -> Quota | None:
        """Return the quota of a caller that has the limits of its group."""
        found = self._groups.get(group) if group is not None else None
        return self.of(found.limits, group) if found else None

    def _new(self, limits: CallLimits | None, group: str | None) -> Quota | None:
        found = self._groups.get(group) if group is not None else None
        rules = [*_rules("", limits), *_rules(group or "", found.group_limits if found else None)]
        lists = tuple(rule for rule in rules if rule.kind == "list_requests")
        calls = tuple(rule for rule in rules if rule.kind != "list_requests")
        if not rules:
            return None
        quota = Quota(calls, lists, any(rule.kind == "tokens" for rule in calls))
        return self._equal.setdefault(quota, quota)


def _rules(group: str, limits: CallLimits | None) -> Iterator[Rule]:
    if limits is None:
        return
    for rate in limits.requests:
        yield Rule(group, "requests", rate.unit, rate.amount)
    for rate in limits.tokens:
        yield Rule(group, "tokens", rate.unit, rate.amount)
    if limits.concurrent is not None:
        yield Rule(group, "concurrent", "", limits.concurrent)
    for rate in limits.list_requests:
        yield Rule(group, "list_requests", rate.unit, rate.amount)


def caller_scope(identity: str) -> str:
    """Return the scope of a caller's own counters."""
    return _CALLER + identity


def identity_of(scope: str) -> str:
    """Return the identity of a caller, from its scope."""
    return scope.removeprefix(_CALLER)


def scope_of(rule: Rule, caller: str) -> str:
    """Return the scope in which a limit is counted. `caller`: that of the caller."""
    return f"group:{rule.group}" if rule.group else caller


def claims_of(rules: Sequence[Rule], caller: str, tokens: int) -> list[Claim]:
    """Return the claims of a request. `caller`: the scope of its caller; `tokens`: an estimate."""
    return [
        Claim(scope_of(rule, caller), rule.kind, rule.unit, rule.limit, tokens if rule.kind == "tokens" else 1)
        for rule in rules
    ]


def exists_in(config: Config, scope: str) -> bool:
    """Whether a configuration has the caller or the group of a scope."""
    kind, _, name = scope.partition(":")
    return name in config.groups if kind == "group" else not name or name in config.identities
