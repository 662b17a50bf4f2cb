"""Which access rule of a caller allows or denies an offer, in the order of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy.access import Policy
from proxy.access.policy import matches_rule
from proxy.catalog import Offer
from proxy.config import Config
from proxy.config.access_rules import reads_facts, split
from proxy.config.identities import GROUP
from proxy.dialects.entry import Entry
from proxy.explain.reasons import Reasons, without_secrets
from proxy.explain.values import AccessPart, Effect, Reason, RulePart

NO_KEY = "requests without an API key"


class Caller(NamedTuple):
    """Whose access is explained."""

    key: str | None
    """The name of a key, "" for requests without one; None for everything that is listed."""
    rules: Sequence[str]
    """In the order of the file."""
    path: tuple[str | int, ...]
    """Of the rules in the file."""
    origin: str
    """Whose rules they are."""
    may_call: bool
    notes: Sequence[Reason] = ()

    @property
    def policy(self) -> Policy:
        return Policy.of(self.rules)

    @property
    def who(self) -> str:
        if self.key and self.key.startswith(GROUP):
            return f"members of group {self.key.removeprefix(GROUP)}"
        return f"key {self.key}" if self.key else NO_KEY


def caller_of(config: Config, key: str | None, now: float, reasons: Reasons) -> Caller | None:
    """The caller with the key of this name, or a member of the group (`group:staff`); None if there is none.

    `now`: Unix seconds.
    """
    if key is None:
        return Caller(None, ("*",), (), "", may_call=True)
    if not key:
        group = config.anonymous
        if group is None:
            rejected = reasons.of(
                "keys", "stops", "requests without an API key get 401: there is no group `default`", "keys"
            )
            return Caller(key, (), (), "no group", may_call=False, notes=[rejected])
        path = ("groups", "default", "models") if "default" in config.groups else ()
        text = "requests without an API key can list models but cannot call them: group `default` has no call: true"
        note = [] if group.call else [reasons.of("call", "stops", text, *path[:2])]
        return Caller(key, group.models, path, "group default" if path else "the open proxy", bool(group.call), note)
    if key.startswith(GROUP):
        return _member_of(config, key, reasons)
    found = next((each for each in config.keys if each.name == key), None)
    if found is None:
        return None
    is_own = found.group is None or reasons.is_given("keys", key, "models")
    path = ("keys", key, "models") if is_own else ("groups", str(found.group), "models")
    notes = []
    if now >= found.valid_until:
        text = f"the key expired on {found.expires}: requests with it get 401"
        notes.append(reasons.of("expires", "stops", text, "keys", key))
    if now < found.valid_from:
        text = f"the key is valid from {found.not_before}: until then requests with it get 401"
        notes.append(reasons.of("not_before", "stops", text, "keys", key))
    if found.allowed_ips:
        text = f"requests with the key get 401 unless they come from {', '.join(found.allowed_ips)}"
        notes.append(reasons.of("allowed_ips", "keeps", text, "keys", key))
    if not found.may_call:
        notes.append(_no_calls(str(found.group), reasons))
    return Caller(key, found.rules, path, f"key {key}" if is_own else f"group {found.group}", found.may_call, notes)


def _member_of(config: Config, key: str, reasons: Reasons) -> Caller | None:
    name = key.removeprefix(GROUP)
    group = config.groups.get(name)
    if group is None:
        return None
    may_call = group.call is not False
    notes = [] if may_call else [_no_calls(name, reasons)]
    return Caller(key, group.models, ("groups", name, "models"), f"group {name}", may_call, notes)


def _no_calls(group: str, reasons: Reasons) -> Reason:
    text = f"group {group} has call: false: its members can list models but cannot call them"
    return reasons.of("call", "stops", text, "groups", group, "call")


def access_part(caller: Caller, offers: Sequence[Offer], model_id: str, reasons: Reasons) -> AccessPart:
    """All rules of a caller, and which of the offers each matches.

    `model_id`: the id of a virtual model, or of one without offers; "" for any other, which has that of its offers.
    """
    parts = []
    for index, rule in enumerate(caller.rules):
        # Only rules over ids allow or deny a virtual model itself.
        model = [Offer(model_id, "", "", Entry(""))] if model_id and _is_over_ids(rule) else []
        matching = [offer for offer in (*model, *offers) if matches_rule(rule, offer)]
        providers = list(dict.fromkeys(offer.provider for offer in matching if offer.provider))
        effect = ("denies" if rule.startswith("!") else "allows") if matching else "no_match"
        place = reasons.of("models", "no_match", "", *caller.path, index) if caller.path else Reason("", "no_match", "")
        parts.append(RulePart(without_secrets(rule), effect, providers, place.setting, place.file, place.line))  # type: ignore[arg-type]
    return AccessPart(caller.who, caller.origin, parts, caller.notes)


def reasons_for(caller: Caller, offer: Offer, reasons: Reasons) -> list[Reason]:
    """The rules that decide on an offer: those that deny it, or else the first that allows it."""
    if caller.key is None:
        return []
    return _deciding(caller, offer, caller.rules, reasons, f"no rule of {caller.origin} allows it")


def reasons_for_virtual(caller: Caller, model_id: str, reasons: Reasons) -> list[Reason]:
    """The rules that decide on the id of a virtual model."""
    if caller.key is None:
        return []
    over_ids = [rule for rule in caller.rules if _is_over_ids(rule)]
    model = Offer(model_id, "", "", Entry(""))
    return _deciding(caller, model, over_ids, reasons, f"no rule over ids of {caller.origin} allows {model_id!r}")


def reasons_for_target(caller: Caller, model_id: str, offer: Offer, reasons: Reasons) -> list[Reason]:
    """The rules that decide on an offer of a target of a virtual model whose id is allowed."""
    if caller.key is None:
        return []
    others = [rule for rule in caller.rules if not _is_over_ids(rule)]
    denies = [rule for rule in caller.rules if rule.startswith("!")]
    is_free = model_id in caller.rules or all(rule.startswith("!") for rule in others)
    if is_free and not any(matches_rule(rule, offer) for rule in denies):
        return []
    missing = f"no rule over owners, providers or facts of {caller.origin} allows this target"
    return _deciding(caller, offer, [*denies, *others], reasons, missing)


def _is_over_ids(rule: str) -> bool:
    return not split(rule.removeprefix("!"))[0]


def _deciding(caller: Caller, offer: Offer, rules: Sequence[str], reasons: Reasons, missing: str) -> list[Reason]:
    matching = [rule for rule in dict.fromkeys(rules) if matches_rule(rule, offer)]
    denied = [rule for rule in matching if rule.startswith("!")]
    if denied:
        return [_reason(caller, rule, "denies", reasons, _unknown_fact(rule, offer)) for rule in denied]
    if not matching:
        return [reasons.of("models", "denies", missing, *caller.path)]
    return [_reason(caller, rule, "allows", reasons) for rule in matching[:1]]


def _unknown_fact(rule: str, offer: Offer) -> str:
    """Return the end of the reason of a deny rule that matches only because the fact is unknown."""
    is_known = not reads_facts(rule) or matches_rule(rule[1:], offer)
    return "" if is_known else ", because the fact is unknown"


def _reason(caller: Caller, rule: str, effect: Effect, reasons: Reasons, more: str = "") -> Reason:
    path = (*caller.path, list(caller.rules).index(rule)) if caller.path else ()
    return reasons.of("models", effect, f"rule {rule!r} of {caller.origin} {effect} it{more}", *path)
