"""Settings that adjust how the list of a provider is requested and read, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Annotated

from pydantic import AfterValidator, Field

from proxy.config.field_rules import FieldRules
from proxy.config.fields import DottedPath, DottedPaths, Prefixes, QueryParameters, Settings, TokenCount
from proxy.config.hints import did_you_mean
from proxy.config.overrides import STANDARD_NAMES, Overrides
from proxy.dialects import RESERVED_FIELDS, Dialect

RETIRED_FIELDS = (
    "status", "state", "lifecycle", "lifecycle_status", "lifecycle.status", "lifecycle_stage", "lifecycleStatus",
    "modelLifecycle.status", "model_status", "deprecation_status", "deprecation.status",
    "retired", "is_retired", "discontinued", "is_discontinued", "decommissioned",
)  # fmt: skip
"""Fields in which providers write that a model is retired: as a word, or true."""
_SHUTDOWN_DATES = (
    "shutdown_at", "shutdown_date", "retirement_date", "retirementDate", "retired_at", "retires_at", "sunset_date",
    "sunset_at", "end_of_life", "eol_date", "discontinued_at", "discontinuation_date", "expiration_date",
)  # fmt: skip
"""Fields in which providers write the date of the shutdown, besides those of the kind."""


def _known_name(name: str) -> str:
    if name not in STANDARD_NAMES:
        hint = did_you_mean(name, STANDARD_NAMES) or f"; valid names: {', '.join(STANDARD_NAMES)}"
        raise ValueError(f"must be a standard name{hint}")
    return name


def _droppable(path: str) -> str:
    if path.partition(".")[0] in RESERVED_FIELDS:
        raise ValueError("cannot be dropped: every model has it")
    return path


DroppedField = Annotated[DottedPath, AfterValidator(_droppable)]


class ListSettings(Settings):
    """What an operator can change about the list of any provider."""

    strip_prefix: Prefixes = ()
    """Prefixes removed from ids, besides those that the kind removes."""
    params: QueryParameters = Field(default_factory=dict, repr=False)
    """Query parameters of the first request; they replace those of the kind with the same name."""
    fields: Mapping[Annotated[str, AfterValidator(_known_name)], DottedPaths] = Field(default_factory=dict)
    """Standard name -> paths in an entry, tried before those of the kind."""
    price_per: TokenCount | None = None
    """Number of tokens that the prices are for."""
    where: FieldRules = ()
    """Rules over the provider's own fields; entries that pass all of them are listed."""
    hide_retired: bool = False
    """Whether models that their provider has retired are hidden."""
    drop_fields: tuple[DroppedField, ...] = ()
    """Dotted paths of fields that are not shown."""
    overrides: Overrides = ()
    """In the order of the file; later ones win."""


def adjusted(row: Dialect, settings: ListSettings) -> Dialect:
    """The row of a kind with the settings of a provider applied; the same row if they change nothing."""
    changes: dict[str, object] = {}
    also = tuple(adjusted(further, settings) for further in row.also)
    if also != row.also:
        changes["also"] = also
    if given := settings.strip_prefix:
        after_own = (own + prefix for own in row.strip_prefix for prefix in given)
        changes["strip_prefix"] = (*given, *after_own, *row.strip_prefix)
    if settings.params:
        changes["params"] = {**row.params, **settings.params}
    if settings.price_per:
        changes["price_per"] = settings.price_per
    if kept := (*(rule.field for rule in settings.where), *(RETIRED_FIELDS if settings.hide_retired else ())):
        changes["kept"] = tuple(dict.fromkeys(kept))
    sources = dict(settings.fields)
    if sources:
        changes["chosen"] = (*row.chosen, *chain.from_iterable(sources.values()))
    if "owned_by" in sources:
        changes["owner"] = (*sources.pop("owned_by"), *row.owner)
    if "created" in sources:
        changes["created"] = (*sources.pop("created"), *row.created)
    others = {"shutdown_at": _SHUTDOWN_DATES} if settings.hide_retired else {}
    if sources or others:
        names = dict.fromkeys((*sources, *row.extra, *others))
        changes["extra"] = {
            name: (*sources.get(name, ()), *row.extra.get(name, ()), *others.get(name, ())) for name in names
        }
    return replace(row, **changes) if changes else row  # type: ignore[arg-type]  # the types of Dialect
