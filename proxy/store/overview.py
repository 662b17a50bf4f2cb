"""All models, and the models that each key can access, as values: to compare a file with the running proxy. No secrets.

The models of a key are shown as a digest, because a thousand keys may access ten thousand models each. Equal
digests mean equal ids from the same providers in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, compress, groupby

from msgspec import Raw, Struct

from proxy.access import Policy
from proxy.access.visibility import OfferSet, Visibility
from proxy.catalog import Offer
from proxy.catalog.virtual import catalog_of, offers_by_target
from proxy.config import Config
from proxy.config.identities import GROUP
from proxy.cooperative import run_now
from proxy.limits.quota import Quota, Quotas
from proxy.wire.openai import model_object

_DIGEST = 16  # hex digits
_BITS = bytes.maketrans(b"01", b"\0\1")


# Without garbage collection: they form no cycles, and there are 20 times 10,000 of them.
class OfferName(Struct, frozen=True, gc=False):
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
    """None: requests without an API key. `group:staff`: users with a login in this group."""
    admin: bool
    call: bool
    expires: str | None
    models: int
    """Number of models that it can access."""
    digest: str
    not_before: str | None = None
    allowed_ips: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    """Each one as `requests 600/m`, those of the group's members together as `group requests 600/m`."""


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


class VisibleModel(Struct, frozen=True, gc=False):
    id: str
    offers: tuple[OfferName, ...]


class KeyModels(Struct, frozen=True):
    """The response of `GET /admin/catalog?key_name=...`: the models that one key can access."""

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


class Views:
    """What a configuration shows of these lists. All methods take seconds with thousands of keys."""

    def __init__(self, config: Config, lists: Lists, without: Collection[str] = ()) -> None:
        """`without`: providers that are left out."""
        self._config = config
        self._states = lists.states
        self._offers = offers = lists.all(without)
        self._form = str.casefold if config.merge.ignore_case else str
        self._by_target = run_now(offers_by_target(offers, config, self._form))
        replaced = {self._form(model.id) for model in config.models}
        # The offers of one model are adjacent, in the order of providers.
        self._listed = sorted(
            (offer for offer in offers if self._form(offer.id) not in replaced), key=lambda offer: self._form(offer.id)
        )
        self._visibility = Visibility(self._listed)
        self._known: dict[tuple[OfferSet, bytes], tuple[int, str]] = {}

    def overview(self) -> Overview:
        """Return all models and the digests of all keys."""
        catalog = run_now(catalog_of(self._offers, Policy(["*"]), self._config))
        skipped = [ProviderOverview(skipped.name, skipped.state) for skipped in self._config.skipped]
        return Overview(
            self._config.generation,
            (*(ProviderOverview(name, state) for name, state in self._states.items()), *skipped),
            tuple(ModelOverview(Raw(model_object(model)), _names(model.offers)) for model in catalog.models),
            tuple(self._keys()),
        )

    def models_of(self, name: str | None) -> KeyModels | None:
        """Return the models that a key can access, None without such a key. `name`: None for requests without a key."""
        rules = _rules_of(self._config).get(name)
        if rules is None:
            return None
        models = [*self._listed_models(self._visibility.allowed(rules)), *self._virtual_models(rules)]
        return KeyModels(name, tuple(sorted(models, key=lambda model: model.id)))

    def _keys(self) -> Iterator[KeyOverview]:
        quotas = Quotas(self._config.groups)
        if anonymous := self._config.anonymous:
            limits = _limits(quotas.of_member(self._config.anonymous_group))
            models, digest = self._digest(anonymous.models)
            yield KeyOverview(None, False, bool(anonymous.call), None, models, digest, limits=limits)
        for name, group in self._config.groups_of_users.items():
            limits = _limits(quotas.of_member(name))
            models, digest = self._digest(group.models)
            yield KeyOverview(GROUP + name, False, group.call is not False, None, models, digest, limits=limits)
        for key in self._config.keys:
            models, digest = self._digest(key.rules)
            yield KeyOverview(
                key.name,
                key.admin,
                key.may_call,
                key.expires.isoformat() if key.expires else None,
                models,
                digest,
                key.not_before.isoformat() if key.not_before else None,
                key.allowed_ips or (),
                _limits(quotas.of(key.limits, key.group)),
            )

    def _digest(self, rules: Sequence[str]) -> tuple[int, str]:
        """Return how many models rules allow, and their digest."""
        allowed = self._visibility.allowed(rules)
        virtual = self._virtual_models(rules)
        key = (allowed, b"".join(map(_lines, virtual)))
        if key not in self._known:
            self._known[key] = self._compute(*key, len(virtual))
        return self._known[key]

    def _compute(self, allowed: OfferSet, virtual: bytes, virtual_models: int) -> tuple[int, str]:
        selected = _selected(allowed)
        text = b"".join(compress(self._texts, selected)) + virtual
        models = len(set(compress(self._forms, selected))) + virtual_models
        return models, hashlib.sha256(text).hexdigest()[:_DIGEST]

    @cached_property
    def _forms(self) -> Sequence[str]:
        return [self._form(offer.id) for offer in self._listed]

    @cached_property
    def _names(self) -> Sequence[tuple[OfferName, ...]]:
        """Of each offer."""
        return [(OfferName(offer.provider, offer.entry.id),) for offer in self._listed]

    @cached_property
    def _texts(self) -> Sequence[bytes]:
        return [_line(offer.id, name) for offer, (name,) in zip(self._listed, self._names, strict=True)]

    def _listed_models(self, allowed: OfferSet) -> Iterator[VisibleModel]:
        """As a catalog has them, without building it."""
        positions = compress(range(len(self._listed)), _selected(allowed))
        for _, same in groupby(positions, key=self._forms.__getitem__):
            first, *others = same
            names = _names([self._listed[at] for at in (first, *others)]) if others else self._names[first]
            yield VisibleModel(self._listed[first].id, names)

    def _virtual_models(self, rules: Sequence[str]) -> Sequence[VisibleModel]:
        """Return the virtual models that the rules allow."""
        policy = Policy(rules) if self._config.models else None
        models = []
        for model in self._config.models:
            if policy and (allows := policy.target_filter(model.id)):
                found = (_names(filter(allows, self._by_target[self._form(target)])) for target in model.targets)
                if offers := tuple(chain.from_iterable(found)):
                    models.append(VisibleModel(model.id, offers))
        return models


def _rules_of(config: Config) -> Mapping[str | None, Sequence[str]]:
    rules: dict[str | None, Sequence[str]] = {key.name: key.rules for key in config.keys}
    rules.update({GROUP + name: group.models for name, group in config.groups.items()})
    if config.anonymous:
        rules[None] = config.anonymous.models
    return rules


def _names(offers: Iterable[Offer]) -> tuple[OfferName, ...]:
    """Of each provider the first offer, as in a catalog."""
    ids: dict[str, str] = {}
    for offer in offers:
        ids.setdefault(offer.provider, offer.entry.id)
    return tuple(OfferName(provider, own_id) for provider, own_id in ids.items())


def _limits(quota: Quota | None) -> tuple[str, ...]:
    rules = (*quota.calls, *quota.lists) if quota else ()
    return tuple(
        f"{'group ' if rule.group else ''}{rule.kind} {rule.limit}{'/' * bool(rule.unit)}{rule.unit}" for rule in rules
    )


def _selected(offers: OfferSet) -> bytes:
    """The bits of a set, the first one first, as selectors of `compress`."""
    return bin(offers)[:1:-1].encode().translate(_BITS)


def _lines(model: VisibleModel) -> bytes:
    return b"".join(_line(model.id, offer) for offer in model.offers)


def _line(model: str, offer: OfferName) -> bytes:
    return f"{model}\0{offer.provider}\0{offer.id}\n".encode("utf-8", "surrogatepass")
