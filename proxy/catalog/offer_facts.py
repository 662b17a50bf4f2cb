"""The facts of an offer, as access rules and the lists of all clients read them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from proxy.catalog.model_types import type_of_name
from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.dialects.entry import Entry
from proxy.dialects.known_facts import Facts, facts_in


def facts_of(offer: Offer) -> Facts:
    """The facts of an offer: those read at the refresh, if rules need them, otherwise those of its entry."""
    return offer.facts or facts_of_entry(offer.entry)


def facts_of_entry(entry: Entry) -> Facts:
    """The facts that an entry contains. A type that it does not contain is that of the family in the model's name."""
    facts = facts_in(entry.extra)
    if facts.type or not (type_ := type_of_name(entry.id)):
        return facts
    return replace(facts, type=type_, type_source="name")


def read_facts(provider: Provider, config: Config) -> Callable[[Iterable[Offer]], Iterator[Offer]]:
    """Read the facts of each offer once, if access rules need them.

    After all rules that change fields: what is not shown is unknown, also in a list that was stored.
    """
    if not config.has_fact_rules:
        return iter

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            yield replace(offer, facts=facts_of_entry(offer.entry))

    return step
