"""All models, and what each key sees of them, as values: to compare a file with the running proxy. No secrets.

The models that a key sees are shown as a digest, because a thousand keys may see ten thousand models each. Equal
digests mean equal ids from the same providers in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress

from msgspec import Raw, Struct

from proxy.access import Policy
from proxy.access.visibility import OfferSet, Visibility
from proxy.catalog import Catalog, Offer
from proxy.catalog.virtual import catalog_of, offers_by_target
from proxy.config import Config
from proxy.cooperative import run_now
from proxy.wire.openai import model_object

_DIGEST = 16  # hex digits
_BITS = bytes.maketrans(b"01", b"\0\1")


class OfferName(Struct, frozen=True):
    provider: str
    id: str
    """The provider's own id."""


class ModelOverview(Struct, frozen=True):
    object: Raw
    """The model as it is listed."""
    offers: tuple[OfferName, ...]
    """The preferred one first."""


class KeyOverview(Struct, frozen=True):
    name: str | None
    """None: requests without an API key."""
    admin: bool
    call: bool
    expires: str | None
    models: int
    """Number of models that it sees."""
    digest: str


class ProviderOverview(Struct, frozen=True):
    name: str
    state: str


class Overview(Struct, frozen=True):
    """The response of `GET /admin/catalog`."""

    generation: str
    providers: tuple[ProviderOverview, ...]
    """All, also those that are skipped, disabled, or left out."""
    models: tuple[ModelOverview, ...]
    keys: tuple[KeyOverview, ...]


class VisibleModel(Struct, frozen=True):
    id: str
    offers: tuple[OfferName, ...]


class KeyModels(Struct, frozen=True):
    """The response of `GET /admin/catalog?key_name=...`: the models that one key sees."""

    name: str | None
    models: tuple[VisibleModel, ...]


class Lists(Struct, frozen=True):
    """The models of all providers, after all rules but those of keys."""

    offers: Mapping[str, Sequence[Offer]]
    """Provider -> its offers, in the configured order of providers."""
    states: Mapping[str, str]
    """Provider -> the state of its list."""

    def all(self, without: Collection[str]) -> tuple[Offer, ...]:
        """The offers of all providers but these."""
        return tuple(offer for name in self.offers if name not in without for offer in self.offers[name])


def overview(config: Config, lists: Lists, without: Collection[str] = ()) -> Overview:
    """Return all models and the digests of all keys. `without`: providers that are left out. Takes seconds."""
    offers = lists.all(without)
    catalog = run_now(catalog_of(offers, Policy(["*"]), config))
    views = _Views(config, offers)
    skipped = [ProviderOverview(skipped.name, skipped.state) for skipped in config.skipped]
    return Overview(
        config.generation,
        (*(ProviderOverview(name, state) for name, state in lists.states.items()), *skipped),
        tuple(ModelOverview(Raw(model_object(model)), _names(model.offers)) for model in catalog.models),
        tuple(_keys(config, views)),
    )


def models_of(config: Config, lists: Lists, name: str | None, without: Collection[str] = ()) -> KeyModels | None:
    """Return the models that a key sees, None without such a key. `name`: None for requests without a key."""
    rules = _rules_of(config).get(name)
    if rules is None:
        return None
    catalog: Catalog = run_now(catalog_of(lists.all(without), Policy(rules), config))
    return KeyModels(name, tuple(VisibleModel(model.id, _names(model.offers)) for model in catalog.models))


def _rules_of(config: Config) -> Mapping[str | None, Sequence[str]]:
    rules: dict[str | None, Sequence[str]] = {key.name: key.rules for key in config.keys}
    if config.anonymous:
        rules[None] = config.anonymous.models
    return rules


def _keys(config: Config, views: _Views) -> Iterator[KeyOverview]:
    if anonymous := config.anonymous:
        yield KeyOverview(None, False, bool(anonymous.call), None, *views.of(anonymous.models))
    for key in config.keys:
        expires = key.expires.isoformat() if key.expires else None
        yield KeyOverview(key.name, key.admin, key.may_call, expires, *views.of(key.rules))


def _names(offers: Iterable[Offer]) -> tuple[OfferName, ...]:
    return tuple(OfferName(offer.provider, offer.entry.id) for offer in offers)


class _Views:
    """The number of models that rules allow, and their digest."""

    def __init__(self, config: Config, offers: Sequence[Offer]) -> None:
        self._config = config
        self._form = str.casefold if config.merge.ignore_case else str
        self._by_target = run_now(offers_by_target(offers, config, self._form))
        replaced = {self._form(model.id) for model in config.models}
        listed = sorted(
            (offer for offer in offers if self._form(offer.id) not in replaced), key=lambda offer: self._form(offer.id)
        )
        self._visibility = Visibility(listed)
        self._ids = [self._form(offer.id) for offer in listed]
        self._lines = [_line(offer.id, offer) for offer in listed]
        self._known: dict[tuple[OfferSet, bytes], tuple[int, str]] = {}

    def of(self, rules: Sequence[str]) -> tuple[int, str]:
        allowed = self._visibility.allowed(rules)
        virtual = self._virtual(rules)
        key = (allowed, b"".join(virtual.values()))
        if key not in self._known:
            self._known[key] = self._compute(*key, len(virtual))
        return self._known[key]

    def _compute(self, allowed: OfferSet, virtual: bytes, virtual_models: int) -> tuple[int, str]:
        selected = bin(allowed)[:1:-1].encode().translate(_BITS)
        text = b"".join(compress(self._lines, selected)) + virtual
        models = len(set(compress(self._ids, selected))) + virtual_models
        return models, hashlib.sha256(text).hexdigest()[:_DIGEST]

    def _virtual(self, rules: Sequence[str]) -> Mapping[str, bytes]:
        """Id of a virtual model that the rules allow -> its lines."""
        policy = Policy(rules) if self._config.models else None
        lines = {}
        for model in self._config.models:
            if policy and (allows := policy.target_filter(model.id)):
                found = (filter(allows, self._by_target[self._form(target)]) for target in model.targets)
                if text := b"".join(_line(model.id, offer) for offers in found for offer in offers):
                    lines[model.id] = text
        return lines


def _line(model: str, offer: Offer) -> bytes:
    return f"{model}\0{offer.provider}\0{offer.entry.id}\n".encode("utf-8", "surrogatepass")
