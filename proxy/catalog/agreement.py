"""Facts that the operator declares, under the other names of the provider (`server.facts_style: all`). Pure.

A client may read any of the names, so all of them must have the declared value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.dialects import EXTRA_NAMES
from proxy.dialects.extra_fields import without_fields
from proxy.dialects.fact_names import ABILITIES, INPUTS, SIGNS, WORD_LISTS
from proxy.dialects.facts import sources_of
from proxy.dialects.metadata import plain_name
from proxy.patterns import matcher

_ABILITY_FACTS = frozenset(["type", "input_modalities", *SIGNS])
"""Facts that lists of abilities contain."""
_COMPLETE = frozenset(["supportedparameters", "supportedopenaiparams", "supportedparams"])
"""Lists in which a missing word means that the model does not have the capability."""
_FACTS = frozenset(name.partition(".")[0] for name in EXTRA_NAMES)
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_ENCODE = msgspec.json.Encoder().encode


def declared_names(provider: Provider) -> Callable[[str], frozenset[str]]:
    """Return a function from an own id to the facts that the operator declares for it, or removes."""
    models = {model["id"]: _FACTS.intersection(model) for model in provider.models}
    overrides = [
        (matcher(given.match), frozenset(name.partition(".")[0] for name in given.fields) & _FACTS)
        for given in provider.overrides
    ]

    def names(own_id: str) -> frozenset[str]:
        matching = (facts for matches, facts in overrides if facts and matches(own_id))
        return models.get(own_id, frozenset()).union(*matching)

    return names


def agree(provider: Provider, config: Config) -> Callable[[Iterable[Offer]], Iterator[Offer]]:
    """Remove other names of the facts that the operator declares; they are added again with the declared values."""
    if config.server.facts_style == "plain" or not (provider.models or provider.overrides):
        return iter
    names_of = declared_names(provider)

    def step(offers: Iterable[Offer]) -> Iterator[Offer]:
        for offer in offers:
            names = names_of(offer.entry.id)
            yield _agreeing(offer, names) if names else offer

    return step


def _agreeing(offer: Offer, names: Collection[str]) -> Offer:
    extra = _ENCODE(without_other_names(_DECODE(offer.entry.extra), names))
    return replace(offer, entry=replace(offer.entry, extra=extra))


def without_other_names(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The fields of an entry without other names of these facts."""
    meant = {*names, *(INPUTS if "input_modalities" in names else ())}
    others = [
        source.field for source in sources_of(fields).fields if source.name in meant and source.field not in names
    ]
    kept: dict[str, Any] = without_fields(fields, others)
    for field in [field for field in kept if plain_name(field) in WORD_LISTS]:
        if plain_name(field) in ABILITIES and not _ABILITY_FACTS.isdisjoint(meant):
            del kept[field]
        elif isinstance(kept[field], list):
            kept[field] = _agreeing_words(field, kept[field], [fact for fact in SIGNS if fact in names], fields)
    return {name: value for name, value in kept.items() if value != {} or fields.get(name) == {}}


def _agreeing_words(
    field: str, words: Sequence[object], facts: Iterable[str], fields: Mapping[str, Any]
) -> list[object]:
    """Return a list of parameters, features or tags that agrees with the declared facts."""
    agreeing = list(words)
    for fact in facts:
        means_it = [word for word in agreeing if isinstance(word, str) and plain_name(word) in SIGNS[fact]]
        if fields.get(fact) is not True:
            agreeing = [word for word in agreeing if word not in means_it]
        elif not means_it and plain_name(field) in _COMPLETE:
            agreeing.append(fact.removeprefix("supports_"))
    return agreeing
