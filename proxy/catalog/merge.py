"""From the offers of all providers to the catalog of one policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxy.catalog.values import Catalog, Model, Offer
from proxy.cooperative import Cooperative, batched, run_now

PLACEHOLDERS = frozenset({0, 1626777600, 1677610602, 735790403})
"""Values of `created` that mean "unknown": One-API's, OpenAI's old one, NVIDIA's."""


def merge(offers: Iterable[Offer], allows: Callable[[Offer], bool]) -> Catalog:
    """The catalog of a policy from all offers, given in the operator's order of providers.

    Filtered before merging, so that no field of a forbidden offer shows anywhere. The first offer of an id gives
    all fields; the others follow it, one for each provider.
    """
    return run_now(merging(offers, allows))


def merging(offers: Iterable[Offer], allows: Callable[[Offer], bool]) -> Cooperative[Catalog]:
    """`merge`, in short steps."""
    by_id: dict[str, tuple[Offer, ...]] = {}
    for batch in batched(offers):
        for offer in filter(allows, batch):
            by_id[offer.id] = (*by_id.get(offer.id, ()), offer)
        yield
    models: list[Model] = []
    for ids in batched(sorted(by_id)):
        models += [_model(by_id[model_id]) for model_id in ids]
        yield
    return Catalog(tuple(models))


def _model(offers: tuple[Offer, ...]) -> Model:
    if len(offers) == 1:
        return Model(offers, offers[0].created)
    first_of_each: dict[str, Offer] = {}
    for offer in offers:
        first_of_each.setdefault(offer.provider, offer)
    known = [offer.created for offer in first_of_each.values() if offer.created not in PLACEHOLDERS]
    return Model(tuple(first_of_each.values()), min(known, default=offers[0].created))
