"""`?facts=sources`: lists and single models with the source of each fact, for administrators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from proxy.access import Caller, Policy
from proxy.api.request import RequestHead
from proxy.catalog import Model
from proxy.clock import Clock
from proxy.cooperative import Cooperative, run_yielding
from proxy.store import Store, View
from proxy.wire.filters import Filters, indexed
from proxy.wire.openai import model_object

if TYPE_CHECKING:
    from proxy.explain.fact_sources import FactSources

_PARAMETER = b"facts=sources"
_MODELS_PER_STEP = 8
"""Models per step; explaining one takes 0.1 to 0.5 ms."""


class SourcesOfFacts:
    """Adds a field `fact_sources` to models."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._config = store.config
        self._store = store
        self._clock = clock

    def are_requested(self, head: RequestHead, caller: Caller) -> bool:
        """Whether a request has the parameter and is one of an administrator: for others it is ignored."""
        if _PARAMETER not in head.query.split(b"&"):
            return False
        return caller.admin or (self._config.is_open and not self._config.server.allow_anonymous)

    async def list(self, view: View, policy: Policy, query: Hashable) -> bytes:
        """Return the list of a policy, or the part that a query selects (`Filters`)."""
        explain = await self._explainer(policy)
        models: Sequence[Model] = view.catalog.models
        if isinstance(query, Filters):
            index = await run_yielding(indexed(models))
            models = [models[at] for at in index.matching(query)]
        entries = await run_yielding(_entries(models, explain))
        return b'{"object":"list","data":[%b]}' % b",".join(entries)

    async def model(self, model: Model, policy: Policy) -> bytes:
        """Return one model of a policy."""
        return _with_sources(model, await self._explainer(policy))

    async def _explainer(self, policy: Policy) -> Callable[[Model], bytes]:
        sources_type = await asyncio.to_thread(_load)  # imported at the first request: most deployments never use it
        from proxy.explain.fact_sources import form_of, offers_by_id

        offers = chain.from_iterable(source.offers for source in self._store.sources())
        by_id = await run_yielding(offers_by_id(offers, form_of(self._config)))
        names = [provider.name for provider in self._config.providers]
        listings = {name: listing for name in names if (listing := self._store.listing(name))}
        withheld = {name: frozenset(listing.withheld) for name, listing in listings.items()}
        return sources_type(self._config, policy, by_id, withheld, self._clock.time()).of


def _load() -> type[FactSources]:
    from proxy.explain.fact_sources import FactSources

    return FactSources


def _entries(models: Iterable[Model], explain: Callable[[Model], bytes]) -> Cooperative[list[bytes]]:
    entries: list[bytes] = []
    for model in models:
        entries.append(_with_sources(model, explain))
        if len(entries) % _MODELS_PER_STEP == 0:
            yield
    return entries


def _with_sources(model: Model, explain: Callable[[Model], bytes]) -> bytes:
    return b'%b,"fact_sources":%b}' % (model_object(model)[:-1], explain(model))
