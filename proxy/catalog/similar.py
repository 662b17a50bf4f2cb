"""Listed ids that are similar to an unknown one, for error messages. Fast, because any caller can send any name."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile
from operator import eq

from proxy.catalog.values import Catalog, Offer
from proxy.cooperative import Cooperative, batched
from proxy.patterns import folded

MAX_SIMILAR = 3
_MAX_COMPARED = 50
_MIN_COMMON = 3

Spellings = Mapping[str, Sequence[str]]
"""Folded id, and folded last segment of an id -> ids."""


def spellings(offers: Sequence[Offer]) -> Cooperative[Spellings]:
    """Index the ids of all providers in batches."""
    index: dict[str, list[str]] = {}
    for batch in batched({offer.id: None for offer in offers}):
        for public_id in batch:
            form = folded(public_id)
            for key in {form, form.rpartition("/")[2] or form}:
                index.setdefault(key, []).append(public_id)
        yield
    return index


def similar_ids(name: str, catalog: Catalog, index: Spellings) -> tuple[str, ...]:
    """Return up to MAX_SIMILAR ids of a catalog: the same in other letters, then those with the same last segment, then
    those with the longest common prefix."""
    form = folded(name)
    similar = dict.fromkeys(_visible(index.get(form, ()), catalog))
    similar |= dict.fromkeys(_visible(index.get(form.rpartition("/")[2], ()), catalog))
    if len(similar) < MAX_SIMILAR:
        similar |= dict.fromkeys(_neighbors(name, catalog))
    return tuple(islice(similar, MAX_SIMILAR))


def _visible(ids: Sequence[str], catalog: Catalog) -> Iterator[str]:
    return (model_id for model_id in ids[:_MAX_COMPARED] if catalog.find(model_id))


def _neighbors(name: str, catalog: Catalog) -> Sequence[str]:
    """Ids with a common prefix, the longest first. They are next to the name in the sorted catalog."""
    at = bisect_left(catalog.models, name, key=lambda model: model.id)
    near = [model.id for model in catalog.models[max(0, at - MAX_SIMILAR) : at + MAX_SIMILAR]]
    common = {model_id: sum(takewhile(bool, map(eq, model_id, name))) for model_id in near}
    similar = [model_id for model_id in near if common[model_id] >= max(_MIN_COMMON, min(len(model_id), len(name)) / 2)]
    return sorted(similar, key=lambda model_id: (-common[model_id], model_id))
