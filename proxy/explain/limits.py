"""The limits of a caller, and the settings that contain them."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.config import Config
from proxy.config.identities import GROUP
from proxy.explain.reasons import Reasons
from proxy.explain.values import LimitPart
from proxy.limits.limiter import Status
from proxy.limits.quota import Quota, Quotas, Rule


def quota_of(config: Config, key: str | None) -> Quota | None:
    """Return the limits of the key with this name: see `explain.access.caller_of`."""
    quotas = Quotas(config.groups)
    if not key:
        return quotas.of_member(config.anonymous_group) if key == "" else None
    if key.startswith(GROUP):
        return quotas.of_member(key.removeprefix(GROUP))
    return next((quotas.of(each.limits, each.group) for each in config.keys if each.name == key), None)


def limit_parts(config: Config, key: str | None, statuses: Sequence[Status], reasons: Reasons) -> list[LimitPart]:
    """Return the limits of a key. `statuses`: of each of them, in this order; none if they are unknown."""
    quota = quota_of(config, key)
    rules = (*quota.calls, *quota.lists) if quota else ()
    known = [*statuses] if len(statuses) == len(rules) else [None] * len(rules)
    # Members of a group share its `group_limits`; each also has limits of its own.
    is_group = bool(key) and str(key).startswith(GROUP)
    return [
        _part(rule, None if is_group and not rule.group else status, _path(config, str(key), rule), reasons)
        for rule, status in zip(rules, known, strict=True)
    ]


def _part(rule: Rule, status: Status | None, path: Sequence[str], reasons: Reasons) -> LimitPart:
    place = reasons.of(rule.kind, "keeps", "", *path)
    return LimitPart(
        rule.group or None,
        rule.kind,
        rule.unit or None,
        rule.limit,
        status.remaining if status else None,
        status.reset if status else None,
        place.setting,
        place.file,
        place.line,
    )


def _path(config: Config, name: str, rule: Rule) -> Sequence[str]:
    """Return the setting of a limit. Of a key, only the place of the key is known."""
    if rule.group:
        return ("groups", rule.group, "group_limits", rule.kind)
    key = next((each for each in config.keys if each.name == name), None)
    group = (key.group if key else name.removeprefix(GROUP) or config.anonymous_group) or ""
    of_group = config.groups[group].limits if group in config.groups else None
    if key and getattr(key.limits, rule.kind) != getattr(of_group, rule.kind, None):
        return ("keys", name)
    return ("groups", group, "limits", rule.kind)
