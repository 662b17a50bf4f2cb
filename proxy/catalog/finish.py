"""Adds facts to listed models after offers are merged. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from proxy.catalog.fact_spellings import with_all_spellings
from proxy.catalog.merge import with_missing_facts
from proxy.catalog.values import Model
from proxy.config import Config


def finishing(config: Config) -> Callable[[Model], Model] | None:
    """Return a function from a merged model to the one that is shown, None if nothing is added."""
    is_spelled, is_bundled = config.server.facts_style == "all", config.facts == "bundled"
    if is_bundled:
        return partial(_with_bundled, fill=config.merge.fill, finish=with_all_spellings if is_spelled else None)
    return with_all_spellings if is_spelled else None


def _with_bundled(model: Model, *, fill: bool, finish: Callable[[Model], Model] | None) -> Model:
    """A model with the bundled facts that no offer has: those for the first offer, or any with `fill`."""
    first = model.offers[0]
    extra = first.entry.extra
    if not first.entry.raw:  # those are shown as they were sent, too
        for offer in model.offers if fill else model.offers[:1]:
            if offer.facts and offer.facts.bundled:
                extra = with_missing_facts(extra, offer.facts.bundled, offer.provider == first.provider)
    if extra != first.entry.extra:
        model = replace(model, offers=(replace(first, entry=replace(first.entry, extra=extra)), *model.offers[1:]))
    return finish(model) if finish else model
