"""Settings that adjust how the list of a provider is requested and read, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Annotated

from pydantic import AfterValidator, Field

from proxy.config.fields import DottedPaths, Prefixes, QueryParameters, Settings, TokenCount
from proxy.config.hints import did_you_mean
from proxy.dialects import EXTRA_NAMES, Dialect

_SOURCE_NAMES = ("owned_by", "created", *EXTRA_NAMES)


def _known_name(name: str) -> str:
    if name not in _SOURCE_NAMES:
        hint = did_you_mean(name, _SOURCE_NAMES) or f"; valid names: {', '.join(_SOURCE_NAMES)}"
        raise ValueError(f"must be a standard name{hint}")
    return name


class ListSettings(Settings):
    """What an operator can change about the list of any provider."""

    strip_prefix: Prefixes = ()
    """Prefixes removed from ids, besides those that the kind removes."""
    params: QueryParameters = Field(default_factory=dict)
    """Query parameters of the first request; they replace those of the kind with the same name."""
    fields: Mapping[Annotated[str, AfterValidator(_known_name)], DottedPaths] = Field(default_factory=dict)
    """Standard name -> paths in an entry, tried before those of the kind."""
    price_per: TokenCount | None = None
    """Number of tokens that the prices are for."""


def adjusted(row: Dialect, settings: ListSettings) -> Dialect:
    """The row of a kind with the settings of a provider applied; the same row if they change nothing."""
    changes: dict[str, object] = {}
    if given := settings.strip_prefix:
        after_own = (own + prefix for own in row.strip_prefix for prefix in given)
        changes["strip_prefix"] = (*given, *after_own, *row.strip_prefix)
    if settings.params:
        changes["params"] = {**row.params, **settings.params}
    if settings.price_per:
        changes["price_per"] = settings.price_per
    sources = dict(settings.fields)
    if sources:
        changes["chosen"] = (*row.chosen, *chain.from_iterable(sources.values()))
    if "owned_by" in sources:
        changes["owner"] = (*sources.pop("owned_by"), *row.owner)
    if "created" in sources:
        changes["created"] = (*sources.pop("created"), *row.created)
    if sources:
        names = dict.fromkeys((*sources, *row.extra))
        changes["extra"] = {name: (*sources.get(name, ()), *row.extra.get(name, ())) for name in names}
    return replace(row, **changes) if changes else row  # type: ignore[arg-type]  # the types of Dialect
