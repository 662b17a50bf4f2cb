"""Compile access rules to a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from weakref import WeakValueDictionary

from proxy.catalog import Offer
from proxy.config.access_rules import ALLOW, DENY, RULES, Predicate, Side, split
from proxy.dialects.entry import Entry


class Policy:
    """A compiled set of access rules. Immutable; policies with the same rules in any order are equal.

    A model is allowed if a rule matches it and no deny rule (`!`) does. Deny rules ignore case, surrounding
    whitespace and Unicode form, so that another spelling of an id cannot bypass them.
    """

    __slots__ = ("__weakref__", "_allowed", "_forbidden", "_hash", "rules", "sees_everything")

    def __init__(self, rules: Iterable[str]) -> None:
        self.rules: Final = _canonical(rules)
        allowed = [rule for rule in self.rules if not rule.startswith("!")]
        forbidden = [rule[1:] for rule in self.rules if rule.startswith("!")]
        self._allowed, self._forbidden = _Rules(allowed, ALLOW), _Rules(forbidden, DENY)
        self.sees_everything: Final = "*" in allowed and not forbidden
        self._hash: Final = hash(self.rules)

    @classmethod
    def of(cls, rules: Iterable[str]) -> Policy:
        """Return the policy of these rules: the same object for equal rules, as long as it is in use.

        Look-ups by identity do not compare rules, and many keys share few policies.
        """
        canonical = _canonical(rules)
        policy = INTERNED.get(canonical)
        if policy is None:
            policy = INTERNED.setdefault(canonical, cls(canonical))
        return policy

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Policy) and self.rules == other.rules)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Policy({list(self.rules)})"

    def allows(self, offer: Offer) -> bool:
        return self.sees_everything or (self._allowed.matches(offer) and not self.denies(offer))

    def denies(self, offer: Offer) -> bool:
        """Return whether a deny rule matches a model, or the model that it is an alias of."""
        forbidden = self._forbidden.matches
        return forbidden(offer) or (offer.alias_of is not None and forbidden(offer.alias_of))

    def target_filter(self, model_id: str) -> Callable[[Offer], bool] | None:
        """Return which offers of its targets a virtual model can use; None if the rules over ids do not allow it.

        All deny rules apply to the targets, too. If there are allow rules of other kinds (`owner:`, `provider:`), one
        of them must match, unless a rule is exactly the id of the virtual model.
        """
        model = Offer(model_id, "", "", Entry(""))
        if not self._allowed.matches_id(model) or self._forbidden.matches_id(model):
            return None
        if model_id in self._allowed.ids or not self._allowed.has_other_kinds:
            return lambda offer: not self.denies(offer)
        return lambda offer: self._allowed.matches_other_kinds(offer) and not self.denies(offer)

    @property
    def denies_models(self) -> bool:
        """Whether a deny rule depends on the model, not only on its provider."""
        return self._forbidden.by_model

    def denies_everywhere(self, offer: Offer) -> bool:
        """Return whether a deny rule matches a model whatever its provider is."""
        return self._forbidden.matches_model(offer)

    def may_allow(self, provider: str) -> bool:
        """Return whether the rules can allow a model of this provider. For providers whose models are not known yet."""
        return self._allowed.may_match(provider) and not self._forbidden.matches_all_of(provider)


def matches_rule(rule: str, offer: Offer) -> bool:
    """Return whether one rule of a policy, with or without `!`, matches a model. For explanations."""
    denies = rule.startswith("!")
    matches = _Rules([rule[1:]], DENY).matches if denies else _Rules([rule], ALLOW).matches
    return matches(offer) or (denies and offer.alias_of is not None and matches(offer.alias_of))


INTERNED: WeakValueDictionary[tuple[str, ...], Policy] = WeakValueDictionary()
"""The policies in use, by their rules."""


def _canonical(rules: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(rules)))


class _Rules:
    """The allow rules or the deny rules of a policy."""

    __slots__ = (
        "_all",
        "_by_provider",
        "by_model",
        "has_other_kinds",
        "ids",
        "matches",
        "matches_id",
        "matches_model",
        "matches_other_kinds",
    )

    def __init__(self, rules: Iterable[str], side: Side) -> None:
        patterns: dict[str, list[str]] = {}
        for rule in rules:
            kind, pattern = split(rule)
            patterns.setdefault(kind, []).append(pattern)
        predicates = {kind: RULES[kind].predicate(patterns[kind], side) for kind in RULES if kind in patterns}
        self.matches: Predicate = _any_of([*predicates.values()])
        by_model = [predicates[kind] for kind in predicates if not RULES[kind].per_provider]
        self.by_model = bool(by_model)
        self.matches_model: Predicate = _any_of(by_model)
        self._by_provider = _any_of([predicates[kind] for kind in predicates if RULES[kind].per_provider])
        self.ids = frozenset(patterns.get("", ()))
        self.matches_id: Predicate = _any_of([predicates[kind] for kind in predicates if not kind])
        others = [predicates[kind] for kind in predicates if kind]
        self.has_other_kinds = bool(others)
        self.matches_other_kinds: Predicate = _any_of(others)
        self._all = "*" in self.ids

    def may_match(self, provider: str) -> bool:
        return self.by_model or self._by_provider(_unknown_model_of(provider))

    def matches_all_of(self, provider: str) -> bool:
        return self._all or self._by_provider(_unknown_model_of(provider))


def _unknown_model_of(provider: str) -> Offer:
    return Offer("", provider, "", Entry(""))


def _any_of(predicates: Sequence[Predicate]) -> Predicate:
    # Called for every offer and every policy: chained functions are faster than a loop.
    if not predicates:
        return lambda offer: False
    first, *others = predicates
    if not others:
        return first
    if len(others) == 1:
        (second,) = others
        return lambda offer: first(offer) or second(offer)
    second, rest = others[0], _any_of(others[1:])
    return lambda offer: first(offer) or second(offer) or rest(offer)
