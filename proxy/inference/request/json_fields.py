"""The fields of objects within a JSON body, with the offsets of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy.guards import fold_name
from proxy.inference.request.json_spans import Span, decode_string, duplicate_field, member_spans


class Field(NamedTuple):
    """A field of an object."""

    name: str
    """As `fold_name` returns it."""
    start: int
    end: int
    """Offsets of the value in the whole body."""


def fields_of(body: bytes, start: int, end: int) -> Sequence[Field]:
    """Return the fields of the object at these offsets. Raises ValueError."""
    spans = member_spans(body[start:end])
    return [Field(fold_name(name), start + first, start + last) for name, (first, last) in spans.items()]


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
    """Return a string, "" for any other value and for a string that cannot be decoded."""
    try:
        return decode_string(body[field.start : field.end])
    except ValueError:
        return ""


def texts_of(body: bytes, fields: Sequence[Field], name: str) -> Sequence[str]:
    """Return the strings in all fields with this name."""
    return [text_of(body, field) for field in fields if field.name == name and body.startswith(b'"', field.start)]
