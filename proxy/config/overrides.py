"""`overrides`: fields of models, by patterns over the provider's own ids."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator

from proxy.config.fields import Globs
from proxy.config.hints import closest
from proxy.dialects import EXTRA_NAMES, RESERVED_FIELDS, unix_seconds
from proxy.dialects.metadata import expected_value

_EXAMPLE = 'must be a mapping like {match: "qwen3-*", context_length: 65536}'
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EXPECTED = {"owned_by": "a non-empty string", "created": "a time, like 2026-01-31 or Unix seconds"}
STANDARD_NAMES = ("owned_by", "created", *EXTRA_NAMES)


@dataclass(frozen=True)
class Override:
    """The fields that replace those of matching models."""

    match: Globs
    fields: Mapping[str, Any]
    """Name, with dots for nested objects -> value; None removes the field."""


def misspelled(name: str) -> str:
    """The standard name that was probably meant, "" if this is one or is similar to none."""
    return "" if name in STANDARD_NAMES else closest(name, STANDARD_NAMES, 0.8)


def _override(given: object) -> object:
    if isinstance(given, Override):
        return given
    if not isinstance(given, dict) or "match" not in given:
        raise ValueError(_EXAMPLE)
    fields = {name: _field(name, given[name]) for name in given if name != "match"}
    if not fields:
        raise ValueError("sets no field; add one, like `context_length: 65536`")
    return Override(_patterns(given["match"]), fields)


def _patterns(match: object) -> Globs:
    patterns = [match] if isinstance(match, str) else match
    if not isinstance(patterns, list) or not patterns or not all(map(_is_pattern, patterns)):
        raise ValueError("`match` must be a pattern over the provider's own ids, or a list of patterns")
    return tuple(patterns)


def _is_pattern(pattern: object) -> bool:
    return isinstance(pattern, str) and pattern != "" and not _CONTROL.search(pattern)


def _field(name: str, value: object) -> object:
    """The value to show. Raises ValueError if it is not valid under this name."""
    if name == "id":
        raise ValueError("`id` cannot be overridden; use `aliases`")
    if not all(name.split(".")):
        raise ValueError(f"`{name[:40]}` must be a field name, with dots for nested fields")
    if value is None:
        return None
    if name == "owned_by":
        return _valid(name, value if isinstance(value, str) and value and not _CONTROL.search(value) else None)
    if name == "created":
        return _valid(name, unix_seconds(value) or None)
    if name.partition(".")[0].casefold() in RESERVED_FIELDS:
        raise ValueError(f"`{name}` cannot be overridden: the proxy sets it")
    return _valid(name, EXTRA_NAMES[name](value, 1)) if name in EXTRA_NAMES else _plain(name, value, 16)


def _valid(name: str, value: object) -> object:
    if value is None:
        raise ValueError(f"`{name}` must be {_EXPECTED.get(name) or expected_value(name)}")
    return value


def _plain(name: str, value: object, levels: int) -> object:
    """A value that JSON can express."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict | list) and levels == 0:
        raise ValueError(f"`{name}` is nested too deeply")
    if isinstance(value, dict):
        return {key: _plain(name, inner, levels - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(name, inner, levels - 1) for inner in value]
    if isinstance(value, int | float) and not abs(value) < 2**53:  # also nan
        raise ValueError(f"`{name}` has a number that not every client can read; use a string")
    return value


Overrides = tuple[Annotated[Override, BeforeValidator(_override)], ...]
