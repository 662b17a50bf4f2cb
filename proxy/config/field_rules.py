"""`where`: rules over the fields of a provider's entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from proxy.config.fields import dotted
from proxy.config.hints import did_you_mean

_EXAMPLE = "must be a mapping like {field: enabled, is: true}"
_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    ((int, float), "number"),
    (str, "string"),
    (list, "list"),
)


def type_name(value: object) -> str:
    """The type of a JSON value: `boolean`, `number`, `string`, `list` or `object`."""
    return next((name for kinds, name in _TYPES if isinstance(value, kinds)), "object")


def _is_equal(value: object, expected: object) -> bool:
    """Types must match: True is neither "true" nor 1. All numbers have one type."""
    return type_name(value) == type_name(expected) and value == expected


def _is_any(values: Iterable[object], expected: object) -> bool:
    return any(_is_equal(value, option) for value in values for option in _listed(expected))


def _listed(expected: object) -> list[Any]:
    return expected if isinstance(expected, list) else [expected]


def _at_least(values: Iterable[object], least: float) -> bool:
    return any(isinstance(value, int | float) and type_name(value) == "number" and value >= least for value in values)


def _contains(values: Iterable[object], expected: object) -> bool:
    return any(isinstance(value, list) and _is_any(value, expected) for value in values)


@dataclass(frozen=True)
class Operator:
    """How a rule compares. `test`: the values of the field, none if it is missing, and the expected value."""

    test: Callable[[list[Any], Any], bool]
    accepts: Callable[[object], bool]
    expected: str
    """What `accepts` accepts, for messages."""


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool | int | float)


def _are_scalars(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_scalar, value))


OPERATORS: Mapping[str, Operator] = {
    "is": Operator(_is_any, _is_scalar, "a string, a number or a boolean; use `in` for several values"),
    "in": Operator(_is_any, _are_scalars, "a list of strings, numbers or booleans"),
    "not": Operator(
        lambda values, expected: not _is_any(values, expected),
        lambda value: _is_scalar(value) or _are_scalars(value),
        "a string, a number or a boolean, or a list of them",
    ),
    "exists": Operator(
        lambda values, expected: bool(values) is expected, lambda value: isinstance(value, bool), "true or false"
    ),
    "at_least": Operator(_at_least, lambda value: type_name(value) == "number", "a number"),
    "contains": Operator(_contains, _is_scalar, "a string, a number or a boolean"),
}


@dataclass(frozen=True)
class FieldRule:
    """One rule of `where`."""

    field: str
    """A dotted path in an entry."""
    operator: str
    value: Any

    def __str__(self) -> str:
        return f"{self.field} {self.operator} {json.dumps(self.value, ensure_ascii=False)}"

    def allows(self, values: list[Any]) -> bool:
        """Whether an entry with these values of the field is kept. A value that is null does not exist."""
        return OPERATORS[self.operator].test(values, self.value)


def _field_rule(given: object) -> object:
    if isinstance(given, FieldRule):
        return given
    if not isinstance(given, dict) or "field" not in given:
        raise ValueError(_EXAMPLE)
    field, operators = given["field"], {name: given[name] for name in given if name != "field"}
    if not isinstance(field, str) or not field:
        raise ValueError("`field` must be a field name, like enabled or limits.context")
    names = ", ".join(OPERATORS)
    for name in operators:
        if name not in OPERATORS:
            raise ValueError(f"unknown operator{did_you_mean(name, OPERATORS) or f'; use one of {names}'}")
    if len(operators) != 1:
        raise ValueError(f"must have exactly one of {names}; write one entry for each rule")
    ((name, value),) = operators.items()
    if value is None:
        raise ValueError(f"`{name}` has no value; use `exists: false` for a missing field")
    if not OPERATORS[name].accepts(value):
        raise ValueError(f"`{name}` must be {OPERATORS[name].expected}")
    return FieldRule(dotted(field), name, value)


FieldRules = tuple[Annotated[FieldRule, BeforeValidator(_field_rule)], ...]
