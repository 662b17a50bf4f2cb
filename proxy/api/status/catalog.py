"""The catalog on the status page: all models, or those that a key or the members of a group see; filtered, in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from msgspec import Struct

from proxy.access import Policy
from proxy.api.status.attention import is_rejected
from proxy.api.status.presentation import digest_of
from proxy.catalog import Catalog, Model, Offer
from proxy.catalog.virtual import catalog_of
from proxy.config import Config
from proxy.config.identities import GROUP
from proxy.cooperative import Cooperative, batched
from proxy.dialects.known_facts import CAPABILITIES, TYPE_NAMES
from proxy.states import Calls
from proxy.store import Store
from proxy.wire.facts import facts_of
from proxy.wire.filters import MAX_TEXT, Filters, Index, indexed

PAGE_SIZE = 100
MAX_HIDDEN = 5
"""Maximum number of models in the result of `hidden`."""
_MAX_PAGE = 10**6
_EVERYTHING = ("*",)


class Row(Struct, frozen=True):
    """One model of a page."""

    id: str
    owner: str
    type: str
    context: int
    """In tokens, 0 if it is unknown."""
    capabilities: Sequence[str]
    providers: Sequence[str]
    """The providers of its offers, in the order in which calls try them."""
    is_rejected: bool
    """Whether no provider accepts its calls at the moment."""


class Choices(Struct, frozen=True):
    """The values of the filters."""

    owners: Sequence[str]
    providers: Sequence[str]
    types: Sequence[str]
    capabilities: Sequence[str]
    keys: Sequence[str]
    groups: Sequence[str]


class Page(Struct, frozen=True):
    """One page of the models that were found."""

    rows: Sequence[Row]
    total: int
    """Models that were found."""
    of: int
    """Models in the view."""
    number: int
    """From 1."""
    pages: int


class _View(Struct, frozen=True):
    rules: Sequence[str]
    offers: Sequence[Sequence[Offer]]
    catalog: Catalog
    index: Index


class Browser:
    """Finds models. The last views are kept, because their pages and filters are usually requested next."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._last: dict[bool, _View] = {}
        """Whether the view contains all models -> the last such view."""

    def choices(self) -> Cooperative[Choices]:
        view = yield from self._view(_EVERYTHING)
        owners = {model.owned_by for model in view.catalog.models}
        yield
        return Choices(
            sorted(owners, key=str.casefold),
            [provider.name for provider in self._config.providers],
            TYPE_NAMES,
            CAPABILITIES,
            [key.name for key in self._config.keys],
            [*self._config.groups],
        )

    def rules(self, parameters: Mapping[str, str]) -> Sequence[str] | None:
        """The rules of the view that is requested, None if there is no such key or group."""
        if key := parameters.get("as_key"):
            return None if key.startswith(GROUP) else self._config.rules_of(key)
        if group := parameters.get("as_group"):
            return self._config.rules_of(GROUP + group)
        return _EVERYTHING

    def page(
        self, rules: Sequence[str], parameters: Mapping[str, str], calls: Mapping[str, Calls]
    ) -> Cooperative[Page]:
        """`calls`: those of each provider."""
        view = yield from self._view(rules)
        filters = _filters(parameters)
        found = view.index.matching(filters) if any(filters) else range(len(view.catalog.models))
        yield
        pages = max(1, -(-len(found) // PAGE_SIZE))
        number = min(_page(parameters.get("page", "")), pages)
        models = view.catalog.models
        rows = [
            _row(models[at], calls, parameters.get("as_key"))
            for at in found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
        ]
        return Page(rows, len(found), len(models), number, pages)

    def hidden(self, rules: Sequence[str], parameters: Mapping[str, str]) -> Cooperative[Sequence[str]]:
        """The models that match the search, but that these rules do not allow: the one with this id, or, if the view
        contains no match, the first matches in the whole catalog."""
        text = parameters.get("q", "").strip()
        if not text or rules == _EVERYTHING:
            return []
        view, whole = (yield from self._view(rules)), (yield from self._view(_EVERYTHING))
        if (model := whole.catalog.find(text)) and view.catalog.find(text) is None:
            return [model.id]
        filters = _filters(parameters)
        if len(view.index.matching(filters)):
            return []
        yield
        return [whole.catalog.models[at].id for at in whole.index.matching(filters)[:MAX_HIDDEN]]

    def find(self, digest: str) -> Cooperative[str | None]:
        """The id with this digest."""
        view = yield from self._view(_EVERYTHING)
        for models in batched(view.catalog.models):
            for model in models:
                if digest_of(model.id) == digest:
                    return model.id
            yield
        return None

    def _view(self, rules: Sequence[str]) -> Cooperative[_View]:
        offers = [self._store.offers(provider.name) for provider in self._config.providers]
        is_whole = rules == _EVERYTHING
        last = self._last.get(is_whole)
        if last and last.rules == rules and all(a is b for a, b in zip(last.offers, offers, strict=True)):
            return last
        catalog = yield from catalog_of(chain.from_iterable(offers), Policy.of(rules), self._config)
        view = _View(rules, offers, catalog, (yield from indexed(catalog.models)))
        self._last[is_whole] = view
        return view


def _is_rejected(model: Model, calls: Mapping[str, Calls], key: str | None) -> bool:
    """Whether no provider accepts calls of a model at the moment. Providers that support listing only do not count."""
    offers = [offer for offer in model.offers if calls[offer.provider].state != "not_callable"]
    return bool(offers) and all(is_rejected(calls[offer.provider], offer.entry.id, key) for offer in offers)


def _filters(parameters: Mapping[str, str]) -> Filters:
    return Filters(
        type=parameters.get("type", ""),
        owned_by=parameters.get("owner", "").casefold(),
        provider=parameters.get("provider", ""),
        capability=parameters.get("capability", ""),
        q=parameters.get("q", "").strip()[:MAX_TEXT].casefold(),
    )


def _page(text: str) -> int:
    return max(1, int(text)) if text.isdecimal() and len(text) < len(str(_MAX_PAGE)) else 1


def _row(model: Model, calls: Mapping[str, Calls], key: str | None) -> Row:
    facts = facts_of(model)
    return Row(
        model.id,
        model.owned_by,
        facts.type,
        facts.context,
        [capability for capability in CAPABILITIES if capability in facts.capabilities],
        list(dict.fromkeys(offer.provider for offer in model.offers)),
        _is_rejected(model, calls, key),
    )
