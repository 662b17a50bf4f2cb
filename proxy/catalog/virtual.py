"""Virtual models: ids that the operator defines, whose calls are sent to listed models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from proxy.catalog.finish import finishing
from proxy.catalog.merge import FACTS, combining, merging
from proxy.catalog.values import Catalog, Model, Offer, TargetOffer
from proxy.config import Config
from proxy.config.routing import VirtualModel
from proxy.cooperative import Cooperative, batched
from proxy.dialects.entry import Entry

_NAMING = frozenset({"display_name", "description"})
"""Facts that would reveal the target of a virtual model."""
_SHOWN = frozenset(FACTS) - _NAMING


class Rules(Protocol):
    """A policy."""

    def allows(self, offer: Offer) -> bool: ...

    def target_filter(self, model_id: str) -> Callable[[Offer], bool] | None:
        """Return which offers a virtual model can use, None if it is not allowed itself."""


def catalog_of(offers: Iterable[Offer], rules: Rules, config: Config) -> Cooperative[Catalog]:
    """Return the catalog of a policy, with virtual models. `offers` are those of all providers, in their order."""
    catalog = yield from _plain_catalog(offers, rules, config)
    finish = finishing(config)
    return catalog if finish is None else (yield from _finished(catalog, finish))


def _finished(catalog: Catalog, finish: Callable[[Model], Model]) -> Cooperative[Catalog]:
    models: list[Model] = []
    for batch in batched(catalog.models):
        models += map(finish, batch)
        yield
    return Catalog(tuple(models))


def _plain_catalog(offers: Iterable[Offer], rules: Rules, config: Config) -> Cooperative[Catalog]:
    """The catalog with the facts that the offers contain."""
    settings = config.merge
    if not config.models:
        return (yield from merging(offers, rules.allows, ignore_case=settings.ignore_case, fill=settings.fill))
    offers = tuple(offers)
    form = str.casefold if settings.ignore_case else str
    replaced = {form(model.id) for model in config.models}
    others = (offer for offer in offers if form(offer.id) not in replaced)
    catalog = yield from merging(others, rules.allows, ignore_case=settings.ignore_case, fill=settings.fill)
    usable = yield from offers_by_target(offers, config, form)
    combined = combining(ignore_case=settings.ignore_case, fill=settings.fill)
    virtual: list[Model] = []
    for model in config.models:
        allowed = rules.target_filter(model.id)
        if allowed is not None:
            found = (tuple(filter(allowed, usable[form(target)])) for target in model.targets)
            virtual += _virtual_model(model, [combined(batch) if batch else None for batch in found])
    return Catalog(tuple(sorted((*catalog.models, *virtual), key=lambda model: model.id)))


def offers_by_target(
    offers: Sequence[Offer], config: Config, form: Callable[[str], str]
) -> Cooperative[dict[str, list[Offer]]]:
    """Return the offers of each target that can be called: a virtual model is listed only if it can be called."""
    can_call = {provider.name for provider in config.providers if provider.target}
    by_target: dict[str, list[Offer]] = {form(target): [] for model in config.models for target in model.targets}
    for batch in batched(offers):
        for offer in batch:
            target = form(offer.id)
            if target in by_target and offer.provider in can_call:
                by_target[target].append(offer)
        yield
    return by_target


def _virtual_model(model: VirtualModel, found: Sequence[Model | None]) -> Iterator[Model]:
    """Yield the model with the fields of its first target that is listed; nothing if none is.

    `found`: the model of each target, with the offers that the virtual model can use.
    """
    targets = [(target, listed) for target, listed in zip(model.targets, found, strict=True) if listed]
    offers = [
        TargetOffer(
            model.id, offer.provider, offer.owned_by, Entry(offer.entry.id), offer.alias_of, offer.facts, target
        )
        for target, listed in targets
        for offer in listed.offers
    ]
    if offers:
        first = targets[0][1]
        offers[0] = msgspec.structs.replace(offers[0], entry=_shown(model.id, first.offers[0].entry))
        yield Model(tuple(offers), first.created)


def _shown(model_id: str, entry: Entry) -> Entry:
    """Return the facts of an entry, without those that name its model."""
    fields = msgspec.json.decode(entry.extra)
    facts = {name: fields[name] for name in fields if name in _SHOWN}
    return Entry(entry.id, created=entry.created, root=model_id, extra=msgspec.json.encode(facts))
