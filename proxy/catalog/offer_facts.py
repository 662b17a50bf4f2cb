"""The facts of an offer, as access rules and the lists of all clients read them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec
from msgspec.structs import replace

from proxy.catalog.agreement import declared_names
from proxy.catalog.bundled import bundled
from proxy.catalog.model_types import type_of_name
from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.dialects.entry import Entry
from proxy.dialects.known_facts import Facts, facts_in

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL = msgspec.Raw(b"null")
_ENCODE = msgspec.json.Encoder().encode


def facts_of(offer: Offer) -> Facts:
    """The facts that the entry of an offer contains, with the type that follows from the provider's own name."""
    return with_type_of_name(facts_in(offer.entry.extra), (offer.alias_of or offer).entry.id)


def with_type_of_name(facts: Facts, own_id: str) -> Facts:
    """Add the type of the family in a name to facts without a type. Names are more precise than modalities."""
    if facts.type:
        return facts
    if type_ := type_of_name(own_id):
        return replace(facts, type=type_, type_source="name")
    if facts.outputs == ("text",) and facts.inputs and "text" in facts.inputs:
        return replace(facts, type="chat", type_source="modalities")
    return facts


def read_facts(provider: Provider, config: Config) -> Callable[[Iterable[Offer]], Iterator[Offer]]:
    """Read the facts of each offer once, if access rules need them, and look up bundled ones.

    This is after all rules that change fields: hidden fields are unknown, also in a stored list. Bundled facts are
    kept apart from the entry, because another offer of the same model may have better ones.
    """
    if config.facts == "bundled":
        add = _bundled_facts(provider)
        return lambda offers: (replace(offer, facts=add(offer, facts_of(offer))) for offer in offers)
    if config.has_fact_rules:
        return lambda offers: (replace(offer, facts=facts_of(offer)) for offer in offers)
    return iter


def _bundled_facts(provider: Provider) -> Callable[[Offer, Facts], Facts]:
    """Return a function that adds bundled facts, without those that the operator declares or removes."""
    lookup, declared_for = bundled().lookup(provider.base_url), declared_names(provider)
    hidden = frozenset(name for name in ("context_length", "pricing") if not _is_shown(provider, name))

    def add(offer: Offer, facts: Facts) -> Facts:
        found = lookup(offer.entry.id, offer.owned_by)
        if not found:
            return facts
        missing = _missing(found, offer.entry, hidden | declared_for(offer.entry.id))
        if not missing:
            return facts
        context = facts.context or facts_in(missing).context
        return replace(facts, context=context, bundled=missing)

    return add


def _is_shown(provider: Provider, name: str) -> bool:
    is_kept = provider.extra_fields is None or name in provider.extra_fields
    return is_kept and name not in provider.drop_fields


def _missing(found: bytes, entry: Entry, others: Collection[str]) -> bytes:
    """The fields of an object that an entry does not have, and that are none of the others."""
    present, fields = _FIELDS(entry.extra), _FIELDS(found)
    missing = {name: fields[name] for name in fields if name not in others and present.get(name) in (None, _NULL)}
    return _ENCODE(missing) if missing else b""
