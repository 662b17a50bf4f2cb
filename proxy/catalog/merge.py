"""Merge the offers of all providers to the catalog of one policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxy.catalog.values import Catalog, Model, Offer
from proxy.cooperative import Cooperative, batched, run_now

PLACEHOLDERS = frozenset(
    {
        0,
        1,
        735790403,  # NVIDIA
        946684800,  # 2000-01-01
        1234567890,
        1626777600,  # One-API, New-API
        1677610602,  # OpenAI in the past, LiteLLM
        1677649963,  # One-Hub
        1686935002,  # the example in OpenAI's documentation
        1755815280,  # Vercel
        # The first second of a year.
        *(1609459200, 1640995200, 1672531200, 1704067200, 1735689600, 1767225600),
    }
)
"""Values of `created` that servers send for models whose time they do not know: any other offer's time is better."""


def merge(offers: Iterable[Offer], allows: Callable[[Offer], bool]) -> Catalog:
    """Return the catalog of a policy. `offers` are those of all providers, in the configured order.

    Offers are filtered before merging, so that a merged model has no fields of offers that the policy denies. The
    fields of a model are those of its first offer, except for `created`, which is the earliest known time.
    """
    return run_now(merging(offers, allows))


def merging(offers: Iterable[Offer], allows: Callable[[Offer], bool]) -> Cooperative[Catalog]:
    """`merge` in batches, so that other tasks can run."""
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
    first_by_provider: dict[str, Offer] = {}
    for offer in offers:
        first_by_provider.setdefault(offer.provider, offer)
    known = [offer.created for offer in first_by_provider.values() if offer.created not in PLACEHOLDERS]
    return Model(tuple(first_by_provider.values()), min(known, default=offers[0].created))
