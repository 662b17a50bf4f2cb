"""What is listed for anyone, computed once per change, when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain

from proxy.catalog import Offer
from proxy.catalog.adjust import shutdown_at
from proxy.config import Config
from proxy.store import Store

_VERSION = 12  # hex digits


class Listed:
    """The current catalog of a deployment."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._catalog = _Catalog((), config)

    @property
    def current(self) -> _Catalog:
        offers = [self._store.offers(provider.name) for provider in self._config.providers]
        if not self._catalog.is_of(offers):
            self._catalog = _Catalog(offers, self._config)
        return self._catalog

    def has(self, model: str) -> bool:
        """Whether a model is listed for anyone. Those of rendered lists are found without another index of all ids."""
        return self._store.shows(model) or model in self.current.ids


class _Catalog:
    """The models of one moment."""

    def __init__(self, offers: Sequence[Sequence[Offer]], config: Config) -> None:
        self._offers = offers
        self._config = config

    def is_of(self, offers: Sequence[Sequence[Offer]]) -> bool:
        """Whether these are the same objects."""
        return len(offers) == len(self._offers) and all(map(_is_same, offers, self._offers))

    @cached_property
    def ids(self) -> frozenset[str]:
        of_providers = (offer.id for offers in self._offers for offer in offers)
        return frozenset(chain(of_providers, (model.id for model in self._config.models)))

    @cached_property
    def version(self) -> str:
        """A hash of the ids: equal on all replicas with equal catalogs."""
        return hashlib.sha256("\n".join(sorted(self.ids)).encode("utf-8", "surrogatepass")).hexdigest()[:_VERSION]

    @cached_property
    def shutdown_dates(self) -> Mapping[str, float]:
        """Model -> its earliest shutdown date in Unix seconds; that of a virtual one is the earliest of its targets."""
        dates: dict[str, float] = {}
        for offers in self._offers:
            for offer in offers:
                if date := shutdown_at(offer.entry):
                    dates[offer.id] = min(date, dates.get(offer.id, date))
        for model in self._config.models:
            if of_targets := [dates[target] for target in model.targets if target in dates]:
                dates[model.id] = min(of_targets)
        return dates


def _is_same(one: object, other: object) -> bool:
    return one is other
