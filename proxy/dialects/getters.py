"""Read values at paths of entries. Each getter is created once per path, for speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

Getter = Callable[[Mapping[str, Any]], Any]
MISSING = object()
"""Returned by the getters in `ids` if there is no value; all others return None."""


def getter(*steps: str) -> Getter:
    """A getter of a value that exists in every entry of a shape."""
    outer, inner, *deeper = steps
    if not deeper:
        return lambda payload: payload[outer][inner]

    def get(payload: Mapping[str, Any]) -> Any:
        value = payload[outer][inner]
        for step in deeper:
            value = value[step]
        return value

    return get


def optional_getter(outer: str, inner: str, arrow: str) -> Getter:
    """A getter of a value that may not exist. `arrow`: a field with `text+image->text`, used instead; "" if none."""

    def get(payload: Mapping[str, Any]) -> Any:
        group = payload[outer]
        try:
            return group[inner]
        except (KeyError, TypeError):  # no such field, or not an object
            value = group.get(arrow) if type(group) is dict else None
            return value if isinstance(value, str) and "->" in value else None

    return get


def path_getter(path: str, missing: object = None) -> Getter:
    """Return a getter for the value at a dotted path, `missing` if there is none. Created once per path, for speed."""
    outer, *deeper = path.split(".")
    if not deeper:
        return itemgetter(outer)
    inner, *deepest = deeper
    if not deepest:

        def get_inner(payload: Mapping[str, Any]) -> Any:
            try:
                return payload[outer][inner]
            except (KeyError, TypeError):  # no such field, or not an object
                return missing

        return get_inner

    def get(payload: Mapping[str, Any]) -> Any:
        try:
            value = payload[outer][inner]
            for step in deepest:
                value = value[step]
        except (KeyError, TypeError):  # no such field, or not an object
            return missing
        return value

    return get


def values_at(value: Any, path: str) -> Iterator[Any]:
    """All values at a dotted path, without nulls. Arrays on the path are searched element by element."""
    name, dot, deeper = path.partition(".")
    if isinstance(value, list):
        for inner in value:
            yield from values_at(inner, path)
    elif isinstance(value, dict) and value.get(name) is not None:
        if dot:
            yield from values_at(value[name], deeper)
        else:
            yield value[name]


def joined_getter(paths: Sequence[str]) -> Getter:
    """Return a getter for the texts at several paths, joined with slashes; None if one is not a text."""
    getters = [path_getter(path, MISSING) for path in paths]
    if len(getters) == 1:
        return getters[0]

    def get_joined(payload: Mapping[str, Any]) -> Any:
        values = [get(payload) for get in getters]
        if MISSING in values:
            return MISSING
        return "/".join(values) if all(isinstance(value, str) and value for value in values) else None

    return get_joined
