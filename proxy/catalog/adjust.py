"""What an operator changes about the entries of a provider: pure functions over one entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from proxy.catalog.kept_fields import results_kept, values_kept
from proxy.config.field_rules import FieldRule
from proxy.dialects.entry import DEFAULT_PERMISSIONS, Entry
from proxy.dialects.extra_fields import without_fields
from proxy.dialects.getters import values_at

_RETIRED = frozenset(("retired", "shutdown", "discontinued", "decommissioned", "sunset", "endoflife", "eol"))
"""Words for retired, without separators."""
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_ENCODE = msgspec.json.Encoder().encode


def completed(declared: Entry, listed: Entry) -> Entry:
    """A declared model with the fields that only the provider's entry of the same id has."""
    return replace(
        listed,
        owner=declared.owner or listed.owner,
        created=declared.created or listed.created,
        root=declared.root if declared.root != declared.id else listed.root,
        parent=declared.parent or listed.parent,
        permissions=listed.permissions if declared.permissions == DEFAULT_PERMISSIONS else declared.permissions,
        extra=_ENCODE(_patched(_DECODE(listed.extra), _DECODE(declared.extra))),
    )


def overridden(entry: Entry, fields: Mapping[str, Any]) -> Entry:
    """An entry with other values of these fields (`Override.fields`). `owned_by` is not a field of the entry."""
    others = {name: value for name, value in fields.items() if name not in ("owned_by", "created")}
    return replace(
        entry,
        created=entry.created if "created" not in fields else fields["created"] or 0,
        extra=_ENCODE(_patched(_DECODE(entry.extra), others)) if others else entry.extra,
    )


def _patched(extra: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    for path, value in fields.items():
        _set(extra, path, value)
    return extra


def _set(fields: dict[str, Any], path: str, value: Any) -> None:
    """Set a value at a dotted path; None removes it."""
    name, dot, deeper = path.partition(".")
    if dot:
        inner = fields.get(name)
        fields[name] = dict(inner) if isinstance(inner, dict) else {}
        _set(fields[name], deeper, value)
    elif value is None:
        fields.pop(name, None)
    else:
        fields[name] = value


def without(entry: Entry, paths: Sequence[str]) -> Entry:
    """An entry without the fields at these paths."""
    return replace(entry, extra=_ENCODE(without_fields(_DECODE(entry.extra), paths)))


def fields_of(entry: Entry) -> Callable[[str], list[Any]]:
    """Return a function from a dotted path to all values of the field: as the provider sent it, and as it is shown.

    It returns none if the field is missing, null or private. Of a stored entry it returns the fields that are shown,
    and `True` for those that mark the model as retired.
    """
    kept = values_kept(entry)
    extra = _DECODE(entry.extra)
    own = {"id": entry.id, "owned_by": entry.owner, "created": entry.created}

    def values(path: str) -> list[Any]:
        known = [own[path]] if own.get(path) else []
        return [*kept.get(path, ()), *values_at(extra, path), *known]

    return values


def passes(entry: Entry, rules: Iterable[FieldRule]) -> bool:
    """Whether an entry passes all rules of `where`."""
    values, results = fields_of(entry), results_kept(entry)
    return all(
        results[text] if results and (text := str(rule)) in results else rule.allows(values(rule.field))
        for rule in rules
    )


def shutdown_at(entry: Entry) -> float | None:
    """The earliest shutdown date of a model in Unix seconds, None without one."""
    if b'"shutdown_at"' not in entry.extra:
        return None  # most models; decoding takes longer
    dates = values_at(_DECODE(entry.extra), "shutdown_at")
    return min((date for date in dates if isinstance(date, int | float) and date > 0), default=None)


def is_retired(entry: Entry, fields: Iterable[str], now: float) -> bool:
    """Whether a model is past its shutdown date, or one of these fields marks it as retired.

    A model that is deprecated, or will be shut down, is not retired. `now`: Unix seconds.
    """
    return retired_by(entry, fields, now) is not None


def retired_by(entry: Entry, fields: Iterable[str], now: float) -> tuple[str, object] | None:
    """The field that marks a model as retired, and its value; None if it is not retired. See `is_retired`."""
    date = shutdown_at(entry)
    if date is not None and date <= now:
        return "shutdown_at", date
    values = fields_of(entry)
    return next(((field, value) for field in fields for value in values(field) if means_retired(value)), None)


def means_retired(value: object) -> bool:
    """Whether the value of a field such as `status` means that the model is retired."""
    if isinstance(value, str):
        return re.sub(r"[\W_]", "", value).casefold() in _RETIRED
    return value is True
