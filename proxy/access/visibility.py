"""Which of many models many policies allow. As `Policy.allows`, but each rule is compared with each text only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from proxy.catalog import Offer
from proxy.catalog.pattern_index import PatternIndex
from proxy.config.access_rules import ALLOW, DENY, RULES, Offered, RuleKind, split

Text = Callable[[Offered], str]
OfferSet = int
"""A set of offers: bit `n` is the offer at position `n`."""


class Visibility:
    """The offers of all providers, indexed by what rules match."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self.offers = offers
        self._has_aliases = any(offer.alias_of for offer in offers)
        self._texts_allowed: dict[str, _Texts] = {}
        self._texts_denied: dict[str, _Texts] = {}
        """By kind of rule."""
        self._matched: dict[str, OfferSet] = {}

    def allowed(self, rules: Iterable[str]) -> OfferSet:
        """Return the offers that a policy with these rules allows."""
        allows, denies = 0, 0
        for rule in rules:
            if rule.startswith("!"):
                denies |= self.matched(rule)
            else:
                allows |= self.matched(rule)
        return allows & ~denies

    def matched(self, rule: str) -> OfferSet:
        """Return the offers that one rule allows; those that it denies if it begins with `!`."""
        if rule not in self._matched:
            self._matched[rule] = self._match(rule)
        return self._matched[rule]

    def _match(self, rule: str) -> OfferSet:
        name, pattern = split(rule.removeprefix("!"))
        kind, denies = RULES[name], rule.startswith("!")
        if kind.text is None:
            return self._match_each(kind, pattern, denies=denies)
        if pattern == "*":
            return (1 << len(self.offers)) - 1
        form = kind.form(pattern)
        if not denies:
            allowed = self._allowed(name, kind.text)
            return allowed.set_of(allowed.index.matching(form))
        denied = self._denied(name, kind.text)
        return denied.set_of(denied.index.matching_loosely(form))

    def _match_each(self, kind: RuleKind, pattern: str, *, denies: bool) -> OfferSet:
        matches = kind.predicate([pattern], DENY if denies else ALLOW)
        aliased = [offer.alias_of if denies else None for offer in self.offers]
        pairs = enumerate(zip(self.offers, aliased, strict=True))
        return _set_of([at for at, (offer, other) in pairs if matches(offer) or (other is not None and matches(other))])

    def _allowed(self, name: str, text: Text) -> _Texts:
        """Return the texts that allow rules of a kind compare."""
        if name not in self._texts_allowed:
            self._texts_allowed[name] = _Texts((text(offer), at) for at, offer in enumerate(self.offers))
        return self._texts_allowed[name]

    def _denied(self, name: str, text: Text) -> _Texts:
        """Return those that deny rules compare. What denies the model that an offer is an alias of denies the offer."""
        if not self._has_aliases:
            return self._allowed(name, text)
        if name not in self._texts_denied:
            self._texts_denied[name] = _Texts(
                (text(each), at) for at, offer in enumerate(self.offers) for each in (offer, offer.alias_of) if each
            )
        return self._texts_denied[name]


class _Texts:
    """Texts, and the positions of the offers that have them."""

    def __init__(self, texts: Iterable[tuple[str, int]]) -> None:
        positions: dict[str, list[int]] = {}
        for text, at in texts:
            positions.setdefault(text, []).append(at)
        self._positions: Mapping[str, Sequence[int]] = positions
        self.index = PatternIndex(positions)

    def set_of(self, texts: Sequence[str]) -> OfferSet:
        """Return the offers that have one of these texts."""
        return _set_of([at for text in texts for at in self._positions[text]])


def _set_of(positions: Sequence[int]) -> OfferSet:
    bits = bytearray(max(positions, default=0) // 8 + 1)
    for at in positions:
        bits[at >> 3] |= 1 << (at & 7)
    return int.from_bytes(bits, "little")
