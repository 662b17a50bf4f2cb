"""Facts that no provider reports, from the package `genai-prices` (`facts: bundled`).

A model is looked up with the documented rules of the package: those of the provider whose API has the base URL, or of
those whose models it has. Behind any other URL, where models can be limited or priced differently, only the exact id of
a model whose weights are not published is used, without a price.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from proxy.catalog.families import OPEN

LIBRARY = "genai_prices"
_DATA = f"{LIBRARY}.data"
_NAMES_OF_MAKERS = {"xai": "x-ai", "voyage": "voyageai"}
"""The proxy's names of makers -> the package's names, where they differ."""
_PER_TOKEN = 1_000_000
_ENCODE = msgspec.json.Encoder().encode


class _ModelData(NamedTuple):
    """One model in the data."""

    context: int
    """0 if unknown."""
    pricing: Mapping[str, str]
    """Empty unless each token has one price."""


class _Source(NamedTuple):
    """One provider in the data."""

    url: re.Pattern[str]
    models: Sequence[_ModelData]
    exact: Mapping[str, int]
    """Id -> the first model whose rule names exactly this id, by its position."""
    own: Mapping[str, int]
    """Id -> the model that has it in the data, by its position."""
    patterns: Sequence[tuple[int, Callable[[str], bool]]]
    """Position and rule of the models that match other ids, too."""
    fallbacks: Sequence[str]
    """Names of providers whose models it also has."""

    def find(self, name: str) -> _ModelData | None:
        """Return the first model that matches an id."""
        last = self.exact.get(name, len(self.models))
        position = next((at for at, is_match in self.patterns if at < last and is_match(name)), last)
        return self.models[position] if position < len(self.models) else None


class Bundled:
    """The data of the package, without what is not needed."""

    def __init__(self, providers: Sequence[Any], package_version: str) -> None:
        """`providers`: those of the package."""
        self.version = package_version
        self._sources = {each.id: _source(each) for each in providers}
        self._days = sorted(_days(providers))

    def date(self, now: float) -> date | None:
        """The day of the latest change of a price in the data that is not in the future. `now`: Unix seconds.

        The package contains no other date; its data can be newer. None if no price has such a day.
        """
        today = datetime.fromtimestamp(now, UTC).date()
        return max((day for day in self._days if day <= today), default=None)

    def label(self, now: float) -> str:
        """The package, its version, and the date of its latest price change. `now`: Unix seconds."""
        day = self.date(now)
        return f"genai-prices {self.version}" + (f", latest price change {day}" if day else "")

    def lookup(self, base_url: str | None) -> Callable[[str, str], bytes]:
        """Return a function from an own id and an owner to the facts of the model, as a JSON object.

        `base_url`: that of the provider.
        """
        source = next((each for each in self._sources.values() if base_url and each.url.match(base_url)), None)

        @lru_cache(4096)
        def facts(own_id: str, owner: str) -> bytes:
            name = own_id.lower()
            if source:
                return self._of_source(source, name)
            known = None if name.startswith(OPEN) else self._of_maker(name, owner.lower())
            return _encoded(known, with_price=False) if known else b""

        return facts

    def _of_source(self, source: _Source, name: str) -> bytes:
        own = source.find(name)
        if own:
            return _encoded(own, with_price=True)
        others = (self._sources[each].find(name) for each in source.fallbacks if each in self._sources)
        known = next(filter(None, others), None)
        return _encoded(known, with_price=False) if known else b""

    def _of_maker(self, name: str, owner: str) -> _ModelData | None:
        source = self._sources.get(_NAMES_OF_MAKERS.get(owner, owner))
        if source is None:
            return None
        own_id = name.removeprefix(f"{owner}/")
        position = source.exact.get(own_id, source.own.get(own_id))
        return None if position is None else source.models[position]


@cache
def bundled() -> Bundled:
    """Read the data, once. Takes about 0.2 s."""
    from importlib.metadata import version  # imported here: 3 MiB that nothing else needs

    return Bundled(_data().providers, version("genai-prices"))


def _data() -> ModuleType:
    """Return the module with the data, without keeping it in memory: it is 30 MiB, of which 1 MiB is needed."""
    import_module(LIBRARY)
    spec = find_spec(_DATA)
    assert spec, "the package is installed: the configuration was validated"
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _source(provider: Any) -> _Source:
    exact: dict[str, int] = {}
    patterns = []
    for at, model in enumerate(provider.models):
        clauses = [*_clauses(model.match)]
        for own_id in (clause.equals.lower() for clause in clauses if hasattr(clause, "equals")):
            exact.setdefault(own_id, at)
        if not all(hasattr(clause, "equals") for clause in clauses):
            patterns.append((at, model.match.is_match))
    models = tuple(_ModelData(model.context_window or 0, _pricing(model)) for model in provider.models)
    own = {model.id.lower(): at for at, model in enumerate(provider.models)}
    fallbacks = tuple(provider.fallback_model_providers or ())
    return _Source(re.compile(provider.api_pattern), models, exact, own, patterns, fallbacks)


def _clauses(match: Any) -> Iterator[Any]:
    """The alternatives of a rule of the package."""
    if not hasattr(match, "or_"):
        yield match
        return
    for clause in match.or_:
        yield from _clauses(clause)


def _pricing(model: Any) -> Mapping[str, str]:
    """The prices of one token in US dollars. None if they depend on the time, the length or the kind of a request."""
    names = {"prompt": "input_mtok", "completion": "output_mtok"}
    prices = {name: getattr(model.prices, field, None) for name, field in names.items()}
    if model.price_variants or not all(hasattr(price, "normalize") for price in prices.values()):
        return {}
    return {name: f"{(price / _PER_TOKEN).normalize():f}" for name, price in prices.items() if price is not None}


def _encoded(model: _ModelData, *, with_price: bool) -> bytes:
    facts: dict[str, Any] = {"context_length": model.context} if model.context else {}
    if with_price and model.pricing:
        facts["pricing"] = model.pricing
    return _ENCODE(facts) if facts else b""


def _days(providers: Sequence[Any]) -> Iterator[date]:
    """The days at which prices change."""
    for provider in providers:
        for model in provider.models:
            for price in model.prices if isinstance(model.prices, list) else ():
                if isinstance(day := getattr(price.constraint, "start_date", None), date):
                    yield day
