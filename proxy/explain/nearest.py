"""The ids that are most similar to an unknown one, and why each is not the requested model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from itertools import chain

from proxy.catalog import Offer
from proxy.catalog.virtual import catalog_of
from proxy.cooperative import Cooperative, batched
from proxy.explain.access import Caller, reasons_for, reasons_for_virtual
from proxy.explain.context import Context
from proxy.explain.values import Near, Reason
from proxy.patterns import folded

MAX_NEAREST = 5
_CUTOFF = 0.6
_MAX_DIFFERENCE = 0.34
"""Ids whose length differs by more than this part are not compared letter by letter."""


class Nearest:
    """Finds similar ids for one caller."""

    def __init__(self, context: Context, caller: Caller) -> None:
        self._context = context
        self._caller = caller
        self._offers: dict[str, list[Offer]] = {}
        self._removed: dict[str, list[str]] = {}
        """Own id -> the providers that list a model with it that the rules remove."""

    def find(self, name: str) -> Cooperative[list[Near]]:
        """Return up to MAX_NEAREST ids, the most similar first."""
        yield from self._index()
        virtual = (model.id for model in self._context.config.models if model.id not in self._offers)
        removed = (own_id for own_id in self._removed if own_id not in self._offers)
        others = chain(self._offers, removed, virtual)
        # Not the name itself, which is explained already.
        ids = yield from nearest(name, (other for other in others if other != name))
        near = []
        for other in ids:
            near.append((yield from self._near(name, other)))
        return near

    def _index(self) -> Cooperative[None]:
        for each in self._context.lists.providers:
            own_ids: set[str] = set()
            for offers in batched(each.source.offers):
                for offer in offers:
                    self._offers.setdefault(offer.id, []).append(offer)
                    own_ids.add(offer.entry.id)
                yield
            for entries in batched(each.source.entries):
                for entry in entries:
                    if entry.id not in own_ids:
                        self._removed.setdefault(entry.id, []).append(each.source.provider.name)
                yield

    def _near(self, name: str, other: str) -> Cooperative[Near]:
        context, caller = self._context, self._caller
        offers, removed = self._offers.get(other, []), self._removed.get(other, [])
        prefixes = [provider.prefix for provider in context.config.providers]
        how = difference(name, other, prefixes, ignores_case=context.config.merge.ignore_case)
        found = [Reason("id", "no_match", how)]
        deciding = yield from context.offers_of(other)
        catalog = yield from catalog_of(deciding, caller.policy, context.config)
        is_allowed = catalog.find(other) is not None
        if not is_allowed and context.virtual(other):
            found += reasons_for_virtual(caller, other, context.reasons)
        elif not is_allowed:
            found += [reason for offer in offers for reason in reasons_for(caller, offer, context.reasons)]
        for provider in removed if not offers else ():
            trace = yield from context.trace(provider, other)
            found += [reason for reason in trace.model.reasons if reason.effect == "removes"]
        providers = list(dict.fromkeys([*(offer.provider for offer in offers), *removed]))
        return Near(other, providers, is_allowed, list(dict.fromkeys(found)))


def nearest(name: str, ids: Iterable[str]) -> Cooperative[list[str]]:
    """Return up to MAX_NEAREST of these ids, the most similar first, in batches.

    First those with the same letters in another case or form, then those with the same last segment (`vendor/name`),
    then those that begin with the name or that it begins with, then those that differ in few letters.
    """
    form = folded(name)
    last = form.rpartition("/")[2]
    best: list[tuple[float, str]] = []
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(form)
    for batch in batched(ids):
        ranks = ((_rank(matcher, form, last, folded(other)), other) for other in batch)
        best = sorted((*best, *((-rank, other) for rank, other in ranks if rank)))[:MAX_NEAREST]
        yield
    return [other for _, other in best]


def _rank(matcher: SequenceMatcher[str], form: str, last: str, other: str) -> float:
    """Higher is more similar; 0 if an id is not similar."""
    if other == form:
        return 4.0
    if last and other.rpartition("/")[2] == last:
        return 3.0
    common = min(len(form), len(other))
    if common >= 3 and (other.startswith(form) or form.startswith(other)):
        return 2.0 + common / max(len(form), len(other))
    if abs(len(form) - len(other)) > _MAX_DIFFERENCE * max(len(form), len(other)):
        return 0.0
    matcher.set_seq1(other)
    if matcher.real_quick_ratio() < _CUTOFF or matcher.quick_ratio() < _CUTOFF:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= _CUTOFF else 0.0


def difference(name: str, other: str, prefixes: Collection[str], *, ignores_case: bool) -> str:
    """How an id differs from the requested name.

    `prefixes`: what the file adds before ids; `ignores_case`: `merge.ignore_case`.
    """
    if other.casefold() == name.casefold():
        only = "only the listed spellings are found" if ignores_case else "ids are case-sensitive"
        return f"differs in case; {only}"
    if folded(other) == folded(name):
        return "differs in white space or Unicode form"
    if any(prefix and other == prefix + name for prefix in prefixes):
        return f"has the prefix {other.removesuffix(name)!r}"
    if other.rpartition("/")[2] == name.rpartition("/")[2]:
        return "differs before the last `/`"
    return "is another id"
