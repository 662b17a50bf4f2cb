"""Merge the offers of all providers to the catalog of one policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from proxy.catalog.values import Catalog, Model, Offer
from proxy.cooperative import Cooperative, batched, run_now
from proxy.dialects import EXTRA_NAMES

FACTS = tuple({name.partition(".")[0]: None for name in EXTRA_NAMES})
"""The fields with standard names."""
_OF_ONE_PROVIDER = frozenset({"pricing", "deprecated", "deprecated_at", "shutdown_at", "updated_at"})
"""Facts about one provider's offer, which are wrong for another provider's."""

_CREATED = attrgetter("entry.created")

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
"""Values of `created` that servers send for unknown times: the time of any other offer is better."""


def merge(
    offers: Iterable[Offer], allows: Callable[[Offer], bool], *, ignore_case: bool = False, fill: bool = False
) -> Catalog:
    """Return the catalog of a policy. `offers` are those of all providers, in the configured order.

    Offers are filtered before merging, so that a merged model has no fields of offers that the policy denies. The
    fields of a model are those of its first offer, except for `created`, which is the earliest known time.

    `ignore_case`: ids that differ only in case are one model, with the id and the fields of the first offer, completed
    by the facts of the other spellings.

    `fill`: facts that the first offer does not have are those of the next allowed offer that has them.
    """
    return run_now(merging(offers, allows, ignore_case=ignore_case, fill=fill))


def merging(
    offers: Iterable[Offer], allows: Callable[[Offer], bool], *, ignore_case: bool = False, fill: bool = False
) -> Cooperative[Catalog]:
    """`merge` in batches, so that other tasks can run."""
    by_id: dict[str, tuple[Offer, ...]] = {}
    for batch in batched(offers):
        for offer in filter(allows, batch):
            key = offer.id.casefold() if ignore_case else offer.id
            others = by_id.get(key)
            by_id[key] = (offer,) if others is None else (*others, offer)
        yield
    if ignore_case:
        by_id = {spelled[0].id: spelled for spelled in by_id.values()}
    combined = combining(ignore_case=ignore_case, fill=fill)
    models: list[Model] = []
    for ids in batched(sorted(by_id)):
        models += [combined(by_id[model_id]) for model_id in ids]
        yield
    return Catalog(tuple(models))


def combining(*, ignore_case: bool, fill: bool) -> Callable[[tuple[Offer, ...]], Model]:
    """Return a function from the offers of one id to their model."""
    return partial(_completed_model, fill=fill) if ignore_case or fill else model_of


def model_of(offers: tuple[Offer, ...]) -> Model:
    """Return the model with these offers of one id."""
    if len(offers) == 1:
        return Model(offers, offers[0].entry.created)
    first_by_provider: dict[str, Offer] = {}
    for offer in offers:
        first_by_provider.setdefault(offer.provider, offer)
    unique = tuple(first_by_provider.values())
    return Model(unique, created_from(unique).created)


def created_from(offers: Sequence[Offer]) -> Offer:
    """Return the offer whose `created` a model has: the earliest known time; without any, that of the first offer."""
    known = [offer for offer in offers if offer.created not in PLACEHOLDERS]
    return min(known, key=_CREATED, default=offers[0])


def _completed_model(offers: tuple[Offer, ...], *, fill: bool) -> Model:
    """The model of offers whose ids differ at most in case, with facts of all spellings, or of all offers."""
    if len(offers) == 1:
        return model_of(offers)
    spellings = tuple({offer.id: None for offer in offers if offer.id != offers[0].id})
    model = model_of((_completed(offers, fill), *offers[1:]))
    return Model(model.offers, model.created, spellings)


def _completed(offers: tuple[Offer, ...], fill: bool) -> Offer:
    """The first offer, with the facts that only offers under other spellings have, or any others with `fill`."""
    first = offers[0]
    if first.entry.raw:
        return first  # shown as it was sent, too
    extra = first.entry.extra
    for offer in offers:
        if offer.id != first.id or fill:
            extra = with_missing_facts(extra, offer.entry.extra, offer.provider == first.provider)
    return first if extra == first.entry.extra else replace(first, entry=replace(first.entry, extra=extra))


@lru_cache(maxsize=4096)
def with_missing_facts(extra: bytes, other: bytes, same_provider: bool) -> bytes:
    """The fields of an entry, and the facts that only the other one has.

    Cached, because the catalogs of all policies merge the same entries.
    """
    if extra == other:
        return extra
    fields, others = msgspec.json.decode(extra), msgspec.json.decode(other)
    missing = {
        name: others[name]
        for name in FACTS
        if fields.get(name) is None and others.get(name) is not None
        if same_provider or name not in _OF_ONE_PROVIDER
    }
    return msgspec.json.encode({**fields, **missing}) if missing else extra
