"""The fields of an entry that the proxy does not set, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proxy.dialects.dialect import Dialect, EntryPlan
from proxy.dialects.field_sources import known_values
from proxy.dialects.prices import is_plain, priced

ENCODE = msgspec.json.Encoder().encode


def extra_of(dialect: Dialect, payload: Mapping[str, Any], rest: Mapping[str, Any], plan: EntryPlan) -> bytes:
    """The other fields as JSON: metadata under standard names, unknown fields unchanged."""
    price_per = dialect.price_per
    sources = plan.sources(plan.shape_of(payload)) if plan.groups else plan.extra
    known, used = known_values(payload, sources, price_per)
    hidden = (*used, *plan.private) if used and not dialect.keeps_originals else plan.private
    nested = {name: known.pop(name) for name in plan.nested if name in known} if plan.nested else None
    shown = {**(without_fields(rest, hidden) if hidden else rest), **known}
    for name in plan.reserved:
        shown.pop(name, None)
    if plan.has_prices and not (plan.may_have_plain_prices and is_plain(payload)):
        _set_prices(shown, priced(payload, price_per))
    if nested:
        _set_nested(shown, nested)
    # Copied to the exact size: what `encode` returns occupies up to half as much again, as long as the entry is kept.
    return b"%b" % ENCODE(shown)


def _set_nested(shown: dict[str, Any], nested: Mapping[str, Any]) -> None:
    """Set fields of objects, by dotted name."""
    for name, value in nested.items():
        outer, inner = name.split(".")
        existing = shown.get(outer)
        shown[outer] = {**existing, inner: value} if isinstance(existing, dict) else {inner: value}


def _set_prices(shown: dict[str, Any], pricing: Mapping[str, Any] | None) -> None:
    """Replace `pricing`, unless there is nothing to change. It is not shown if nothing of it is left."""
    if pricing:
        shown["pricing"] = pricing
    elif pricing is not None:
        shown.pop("pricing", None)


def without_fields(payload: Any, paths: Sequence[str]) -> Any:
    """An object without the fields at these dotted paths."""
    for path in paths:
        payload = _without(payload, path.split("."))
    return payload


def _without(value: Any, path: Sequence[str]) -> Any:
    """A value without the field at a path. Arrays on the path are processed element by element."""
    if isinstance(value, list):
        return [_without(inner, path) for inner in value]
    if not isinstance(value, dict):
        return value
    name, *deeper = path
    if not deeper:
        return {key: inner for key, inner in value.items() if key != name}
    return {key: _without(inner, deeper) if key == name else inner for key, inner in value.items()}
