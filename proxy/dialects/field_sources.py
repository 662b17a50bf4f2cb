"""The fields of an entry that may contain values of `extra`, in order of preference, and the values in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from proxy.dialects import fact_names
from proxy.dialects.getters import Getter
from proxy.dialects.metadata import Reader


@dataclass(frozen=True, slots=True)
class FieldSource:
    """A field of an entry that may contain a value of `extra`."""

    name: str
    """The name of the value; "" if `read` returns several values by name."""
    path: str
    """The field that is replaced by the value, "" if it stays."""
    get: Getter
    read: Reader
    field: str
    """The dotted name of the field, for explanations."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The fields to read of entries with one shape."""

    fields: tuple[FieldSource, ...]
    """In order of preference."""
    may_have_inputs: bool
    """Whether flags of inputs are among them (`_add_inputs`)."""


def ordered(ranked: Iterable[tuple[int, FieldSource]]) -> Sources:
    """Sources in the order of their ranks."""
    fields = tuple(source for _, source in sorted(ranked, key=itemgetter(0)))
    return Sources(fields, any(source.name in fact_names.INPUTS or not source.name for source in fields))


def known_values(payload: Mapping[str, Any], sources: Sources, price_per: int) -> tuple[dict[str, Any], list[str]]:
    """Metadata under standard names, and the paths of the fields that it replaces."""
    known: dict[str, Any] = {}
    used: list[str] = []
    for source in sources.fields:
        name = source.name
        if name in known and known[name] is not False:
            continue
        value = source.get(payload)
        if value is None or (value := source.read(value, price_per)) is None:
            continue
        if source.path:
            used.append(source.path)
        if name:
            known[name] = value
        else:
            known.update({fact: each for fact, each in value.items() if not known.get(fact)})
    if sources.may_have_inputs:
        _add_inputs(known)
    return known, used


def _add_inputs(known: dict[str, Any]) -> None:
    """Replace flags of inputs with `input_modalities`, unless that is known."""
    flags = [modality for flag, modality in fact_names.INPUTS.items() if known.pop(flag, False)]
    if flags and "input_modalities" not in known:
        known["input_modalities"] = ["text", *flags]
