"""`overrides`: fields of models and parameters of calls, by patterns over the provider's own ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator

from proxy.config.fields import Globs
from proxy.config.hints import closest
from proxy.dialects import EXTRA_NAMES, RESERVED_FIELDS, unix_seconds
from proxy.dialects.metadata import expected_value
from proxy.guards import CALLER_NAMES, GUARDED, MODEL, fold_name

_EXAMPLE = 'must be a mapping like {match: "qwen3-*", context_length: 65536}'
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EXPECTED = {"owned_by": "a non-empty string", "created": "a time, like 2026-01-31 or Unix seconds"}
_MAX_PARAM = 100
_WHY = "it selects models, an upstream or stored state, which would bypass the access rules"
STANDARD_NAMES = ("owned_by", "created", *EXTRA_NAMES)


@dataclass(frozen=True)
class Override:
    """What is changed for matching models: the fields that are shown, and the parameters of calls."""

    match: Globs
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Name, with dots for nested objects -> value; None removes the field."""
    set_params: Mapping[str, Any] = field(default_factory=dict)
    """Name of a field in the request -> value, as JSON can express it."""
    drop_params: tuple[str, ...] = ()
    rename_params: Mapping[str, str] = field(default_factory=dict)
    """Name of a field in the request -> its new name."""

    @property
    def changes_params(self) -> bool:
        """Whether calls are changed."""
        return bool(self.set_params or self.drop_params or self.rename_params)


def misspelled(name: str) -> str:
    """The standard name that was probably meant, "" if this is one or is similar to none."""
    return "" if name in STANDARD_NAMES else closest(name, (*STANDARD_NAMES, *_PARAMS), 0.8)


def _override(given: object) -> object:
    if isinstance(given, Override):
        return given
    if not isinstance(given, dict) or "match" not in given:
        raise ValueError(_EXAMPLE)
    fields = {name: _field(name, given[name]) for name in given if name not in ("match", *_PARAMS)}
    params = {name: check(given[name]) for name, check in _PARAMS.items() if name in given}
    if not fields and not any(params.values()):
        raise ValueError("sets no field; add one, like `context_length: 65536`")
    return Override(_patterns(given["match"]), fields, **params)


def _set_params(given: object) -> Mapping[str, Any]:
    if not isinstance(given, dict) or not all(map(_is_param, given)):
        raise ValueError("`set_params` must be a mapping of field names to values, like {temperature: 1}")
    for name, value in given.items():
        _check_target("set_params", name)
        if guarded := _guarded_name(value):
            raise ValueError(f"`set_params.{name}` must not contain `{guarded}`: {_WHY}")
    return {name: _plain(f"set_params.{name}", value, 16) for name, value in given.items()}


def _drop_params(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(map(_is_param, given)):
        raise ValueError("`drop_params` must be a list of field names, like [temperature]")
    for name in given:
        _check_source("drop_params", name)
    return tuple(given)


def _rename_params(given: object) -> Mapping[str, str]:
    if not isinstance(given, dict) or not all(map(_is_param, [*given, *given.values()])):
        raise ValueError(
            "`rename_params` must be a mapping of field names to new ones, like {max_tokens: max_completion_tokens}"
        )
    for name, new_name in given.items():
        _check_source("rename_params", name)
        _check_target("rename_params", new_name)
    return dict(given)


def _is_param(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _MAX_PARAM and not _CONTROL.search(name)


def _check_source(setting: str, name: str) -> None:
    if fold_name(name) == MODEL:
        raise ValueError(f"`{setting}` cannot change `model`: the proxy sets it; use `aliases`")


def _check_target(setting: str, name: str) -> None:
    _check_source(setting, name)
    if fold_name(name) in GUARDED:
        raise ValueError(f"`{setting}` cannot add `{name}`: {_WHY}")


def _guarded_name(value: object) -> str:
    """The first name in a value that selects models, an upstream or stored state, "" without any."""
    if isinstance(value, list):
        return next(filter(None, map(_guarded_name, value)), "")
    if not isinstance(value, dict):
        return ""
    for name, inner in value.items():
        folded = fold_name(str(name))
        if folded in GUARDED:
            return str(name)
        if folded not in CALLER_NAMES and (guarded := _guarded_name(inner)):
            return guarded
    return ""


_PARAMS: Mapping[str, Callable[[object], Any]] = {
    "set_params": _set_params,
    "drop_params": _drop_params,
    "rename_params": _rename_params,
}


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
