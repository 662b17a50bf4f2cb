"""The facts about a listed model that formats write under names of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from proxy.catalog import Model


class Facts(Struct, frozen=True, gc=False):
    """What the fields of an entry contain under standard names; None, "" or () where it is unknown."""

    display_name: str = ""
    description: str = ""
    type: str = ""
    context_length: int | None = None
    max_output_tokens: int | None = None
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    supports_tools: bool | None = None
    supports_reasoning: bool | None = None
    deprecated: bool | None = None
    deprecated_at: int | None = None
    shutdown_at: int | None = None

    def accepts(self, modality: str) -> bool:
        """Whether the input can contain this modality, such as `image`."""
        return modality in self.input_modalities


_decode = msgspec.json.Decoder(Facts).decode
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Facts)}


def facts_of(model: Model) -> Facts:
    """Return the facts of a listed model: those of its first offer."""
    extra = model.offers[0].entry.extra
    try:
        return _decode(extra)
    except msgspec.ValidationError:  # an operator can name a field as a fact that has another type
        return _valid(msgspec.json.decode(extra))


def _valid(values: dict[str, Any]) -> Facts:
    valid = {}
    for name, type_ in _FIELDS.items():
        try:
            valid[name] = msgspec.convert(values[name], type_)
        except (KeyError, msgspec.ValidationError):
            continue
    return Facts(**valid)


def rfc3339(seconds: int) -> str:
    """Return a time in UTC; 0, an unknown time, is the beginning of 1970."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00Z"
