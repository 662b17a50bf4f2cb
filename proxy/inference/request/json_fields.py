"""The fields of objects within a JSON body, with the offsets of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy.cooperative import Cooperative
from proxy.guards import fold_name
from proxy.inference.request.json_outline import Outline
from proxy.inference.request.json_spans import Span, decode_string, duplicate_field, without_surrogates

_MAX_TEXT = 8 * 1024
_NO_NAME = "\ufffd"
"""Stands for a longer text, or one with half of a surrogate pair: no name, type or id of an API is such a text."""


class Field(NamedTuple):
    """A field of an object."""

    name: str
    """As `fold_name` returns it."""
    start: int
    end: int
    """Offsets of the value in the whole body."""


def fields_of(outline: Outline, start: int) -> Cooperative[Sequence[Field]]:
    """Return the fields of the object that starts there. Raises ValueError."""
    values = yield from outline.values_of(start)
    return [Field(fold_name(name), *span) for name, span in values.items()]


def without_duplicates(fields: Sequence[Field]) -> Sequence[Field]:
    """Return the same fields. Raises ValueError if two names are equal for a parser that ignores case."""
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise duplicate_field(next(name for name in names if names.count(name) > 1))
    return fields


def span_of(field: Field) -> Span:
    return field.start, field.end


def is_null(body: bytes, field: Field) -> bool:
    return body.startswith(b"null", field.start)


def text_of(body: bytes, field: Field) -> str:
    """Return a string, "" for any other value, and U+FFFD for a string that cannot be a name, type or id."""
    if not body.startswith(b'"', field.start):
        return ""
    if field.end - field.start > _MAX_TEXT:
        return _NO_NAME
    text = body[field.start : field.end]
    try:
        return decode_string(text)
    except ValueError:
        return _NO_NAME if without_surrogates(text) != text else ""


def texts_of(body: bytes, fields: Sequence[Field], name: str) -> Sequence[str]:
    """Return the strings in all fields with this name."""
    return [text_of(body, field) for field in fields if field.name == name and body.startswith(b'"', field.start)]
