"""The values of the catalog: what providers offer, and what is listed.

Entry    one model as one provider describes it
Offer    an entry under its public id and its true owner
Model    what is listed under one id: the preferred offer, and all others behind it
Catalog  the models that one caller may see, ordered; `find` is the only way to one of them

There may be a hundred thousand of the first three. As msgspec's structs they are made twelve times as fast as
dataclasses, and the garbage collector, whose full collections block everything, does not visit them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from proxy.dialects.entry import Entry


class Offer(Struct, frozen=True, gc=False):
    """One provider's model under its public id. `entry.id` is the provider's own id."""

    id: str
    provider: str
    owned_by: str
    entry: Entry

    @property
    def created(self) -> int:
        return self.entry.created


class Model(Struct, frozen=True, gc=False):
    """What is listed under one id: the fields of `offers[0]`, and all offers in the operator's order."""

    offers: tuple[Offer, ...]
    created: int

    @property
    def id(self) -> str:
        return self.offers[0].id

    @property
    def owned_by(self) -> str:
        return self.offers[0].owned_by


@dataclass(frozen=True)
class Catalog:
    """Models in the order of their ids, code point by code point."""

    models: tuple[Model, ...]
    _by_id: Mapping[str, Model] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {model.offers[0].id: model for model in self.models})

    def find(self, model_id: str) -> Model | None:
        """The model of exactly this public id, or None: unknown and forbidden look the same."""
        return self._by_id.get(model_id)

    def providers(self) -> frozenset[str]:
        """Names of the providers whose offers are in this catalog."""
        return frozenset(offer.provider for model in self.models for offer in model.offers)
