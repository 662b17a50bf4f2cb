"""Texts and dates of a listed model that formats write under their own names. Its other facts: `offer_facts`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from proxy.catalog import Model
from proxy.catalog.offer_facts import facts_of as facts_of_offer
from proxy.dialects.known_facts import Facts


class Fields(Struct, frozen=True, gc=False):
    """The fields of an entry with standard names; "" or None where a value is unknown or not what the name says."""

    display_name: str = ""
    description: str = ""
    deprecated: bool | None = None
    deprecated_at: int | None = None
    shutdown_at: int | None = None


_decode = msgspec.json.Decoder(Fields).decode
_decode_all = msgspec.json.Decoder(dict[str, Any]).decode
_TYPES = {field.name: field.type for field in msgspec.structs.fields(Fields)}


def facts_of(model: Model) -> Facts:
    """Return the facts of a listed model: those of its first offer."""
    return facts_of_offer(model.offers[0])


def fields_of(model: Model) -> Fields:
    """Return the texts and dates of a listed model."""
    extra = model.offers[0].entry.extra
    try:
        return _decode(extra)
    except msgspec.ValidationError:  # a provider or the operator can use such a name for something else
        return _valid(_decode_all(extra))


def all_fields(model: Model) -> dict[str, Any]:
    """Return everything that the entry of a model contains."""
    return _decode_all(model.offers[0].entry.extra)


def _valid(values: dict[str, Any]) -> Fields:
    valid = {}
    for name, type_ in _TYPES.items():
        try:
            valid[name] = msgspec.convert(values[name], type_)
        except (KeyError, msgspec.ValidationError):
            continue
    return Fields(**valid)


def rfc3339(seconds: int) -> str:
    """Return a time in UTC; 0, an unknown time, is the beginning of 1970."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00Z"
