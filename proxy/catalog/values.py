"""The values of the catalog: offers of providers, and listed models.

Entry    one model as one provider lists it
Offer    an entry with its public id and its owner
Model    a listed model: the preferred offer, and all others of the same id
Catalog  the models that one policy allows, sorted; look up a model with `find`

There can be a hundred thousand of the first three. msgspec structs are created twelve times as fast as dataclasses,
and the garbage collector, whose full collections block the event loop, does not traverse them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from proxy.dialects.entry import Entry
from proxy.dialects.known_facts import Facts


class Offer(Struct, frozen=True, gc=False):
    """One provider's model under its public id. `entry.id` is the provider's own id."""

    id: str
    provider: str
    owned_by: str
    entry: Entry
    alias_of: Offer | None = None
    """The listed offer whose entry contains this id as another name. What denies that offer denies this one."""
    facts: Facts | None = None
    """The facts for access rules. None if no rule reads them, and for a name that is not in a list."""

    @property
    def created(self) -> int:
        return self.entry.created


class TargetOffer(Offer, frozen=True, gc=False):
    """An offer of a listed model under the id of a virtual model."""

    target: str = ""
    """The id of the listed model."""


class Model(Struct, frozen=True, gc=False):
    """A listed model: the fields of `offers[0]`, and all offers in the configured order of providers."""

    offers: tuple[Offer, ...]
    created: int
    spellings: tuple[str, ...] = ()
    """Other ids under which it is found: those that differ only in case, with `merge.ignore_case`."""

    @property
    def id(self) -> str:
        return self.offers[0].id

    @property
    def owned_by(self) -> str:
        return self.offers[0].owned_by


@dataclass(frozen=True)
class Catalog:
    """Models sorted by id, in code point order."""

    models: tuple[Model, ...]
    _by_id: Mapping[str, Model] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {model.offers[0].id: model for model in self.models}
        for model in [model for model in self.models if model.spellings]:  # few
            by_id.update(dict.fromkeys(model.spellings, model))
        object.__setattr__(self, "_by_id", by_id)

    def find(self, model_id: str) -> Model | None:
        """The model with this public id, None if it is unknown or not allowed: callers cannot distinguish these."""
        return self._by_id.get(model_id)

    def providers(self) -> frozenset[str]:
        """Names of the providers whose offers are in this catalog."""
        return frozenset(offer.provider for model in self.models for offer in model.offers)
