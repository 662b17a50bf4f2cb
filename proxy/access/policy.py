"""What a set of rules allows its holder to see and call."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxy.catalog import Offer
from proxy.patterns import Matcher, loose_matcher, matcher


class Policy:
    """What a set of rules lets its holder see and use.

    A rule is a pattern over the public id, or `owner:` or `provider:` with a pattern over those; a leading `!`
    forbids, and wins; what it forbids is meant in any case, Unicode form and with blanks around it, so that no other
    spelling of an id gets past it. Policies are told apart by identity: equal rules share one object (`Access`).
    """

    def __init__(self, rules: Iterable[str]) -> None:
        self.rules = tuple(rules)
        allowed = [rule for rule in self.rules if not rule.startswith("!")]
        forbidden = [rule[1:] for rule in self.rules if rule.startswith("!")]
        self._allowed, self._forbidden = _Side(allowed, matcher), _Side(forbidden, loose_matcher)
        self.sees_everything = "*" in allowed and not forbidden

    def __repr__(self) -> str:
        return f"Policy({list(self.rules)})"

    def allows(self, offer: Offer) -> bool:
        return self.sees_everything or (self._allowed.names(offer) and not self._forbidden.names(offer))

    def may_allow(self, provider: str) -> bool:
        """Whether some model of this provider could be allowed, judged without knowing any."""
        return self._allowed.could_name(provider) and not self._forbidden.names_all_of(provider)


class _Side:
    """The allowing or the forbidding half of a policy."""

    def __init__(self, rules: Iterable[str], matcher_of: Callable[[Iterable[str]], Matcher]) -> None:
        ids: list[str] = []
        owners: list[str] = []
        providers: list[str] = []
        for rule in rules:
            if rule.startswith("owner:"):
                owners.append(rule.removeprefix("owner:").lower())
            elif rule.startswith("provider:"):
                providers.append(rule.removeprefix("provider:"))
            else:
                ids.append(rule)
        self._is_id, self._is_owner, self._is_provider = map(matcher_of, (ids, owners, providers))
        self._by_owner, self._by_provider = bool(owners), bool(providers)
        self._by_model = bool(ids or owners)
        self._all = "*" in ids

    def names(self, offer: Offer) -> bool:
        # Asked of every offer for every policy: what no rule is about is not looked at.
        return (
            self._is_id(offer.id)
            or (self._by_provider and self._is_provider(offer.provider))
            or (self._by_owner and self._is_owner(offer.owned_by.lower()))
        )

    def could_name(self, provider: str) -> bool:
        return self._by_model or self._is_provider(provider)

    def names_all_of(self, provider: str) -> bool:
        return self._all or self._is_provider(provider)
