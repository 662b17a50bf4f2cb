"""Find where the members of a JSON object start and end, to replace single values in the original bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")

Span = tuple[int, int]
"""Start and end of a value: offsets in bytes."""

_MAX_MEMBERS = 1000

MAX_NAME = 100
"""Characters of a field name that are quoted in an error message."""
TOO_MANY_VALUES = "contains too many values"
"""Error messages of this module continue "The request body"."""

WHITESPACE = rb"[ \t\r\n]*+"
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A JSON string; compile with `re.DOTALL`, or a line break after a backslash ends the match."""
_NEXT_NAME = re.compile(rb"%b[{,]%b(%b)%b:%b" % (WHITESPACE, WHITESPACE, STRING, WHITESPACE, WHITESPACE))
_NEXT_ITEM = re.compile(rb"%b[\[,]%b" % (WHITESPACE, WHITESPACE))
_END = re.compile(rb"%b\{?%b\}%b" % (WHITESPACE, WHITESPACE, WHITESPACE))

decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_items = msgspec.json.Decoder(list[Raw]).decode
decode_string = msgspec.json.Decoder(str).decode


def member_spans(body: bytes) -> dict[str, Span]:
    """Return the span of every value of a JSON object, by name.

    Raises ValueError if the body is not a JSON object, has a duplicate field, or has too many fields.
    """
    values, decoded = decode_lenient(body, decode_members)
    if len(values) > _MAX_MEMBERS:
        raise ValueError(f"contains more than {_MAX_MEMBERS} fields")
    spans: dict[str, Span] = {}
    end = 0
    name = ""
    for _ in values:
        match = _NEXT_NAME.match(decoded, end)
        if match is None:
            raise duplicate_field(name)
        name, start = decode_name(match[1]), match.end()
        # The decoder returns only the last value of a duplicate field. Either the first value has other bytes, or the
        # name is found a second time. Only a number can be the prefix of another JSON value (1 and 12); then the next
        # match fails.
        if name in spans or not decoded.startswith(values[name], start):
            raise duplicate_field(name)
        end = start + len(values[name])
        spans[name] = (start, end)
    if not _END.fullmatch(decoded, end):
        match = _NEXT_NAME.match(decoded, end)
        raise duplicate_field(decode_name(match[1]) if match else name)
    return spans


def duplicate_field(name: str) -> ValueError:
    """Return the error for an object that contains this name twice."""
    return ValueError(f"contains a duplicate field: `{name[:MAX_NAME]}`")


def member_spans_or_empty(body: bytes) -> Mapping[str, Span]:
    """Return the span of every value of a JSON object; empty where `member_spans` raises an error."""
    try:
        return member_spans(body)
    except ValueError:
        return {}


def item_spans(array: bytes) -> Iterator[Span]:
    """Yield the span of every item of a JSON array. Raises ValueError if it is not an array."""
    values, decoded = decode_lenient(array, _decode_items)
    end = 0
    for value in values:
        match = _NEXT_ITEM.match(decoded, end)
        start = match.end() if match else end
        end = start + len(value)
        yield start, end


def without_surrogates(body: bytes) -> bytes:
    """Return a body of the same length in which escaped surrogates are replaced by other characters."""
    return body.replace(rb"\ud", rb"\uc").replace(rb"\uD", rb"\uC")


def decode_name(encoded: bytes) -> str:
    """Decode a JSON string. Raises ValueError if it is invalid."""
    return encoded[1:-1].decode() if b"\\" not in encoded else decode_string(encoded)


def decode_lenient(body: bytes, decode: Callable[[bytes], T]) -> tuple[T, bytes]:
    r"""Return the decoded body, and the bytes it was decoded from, which have the same length as the body.

    Programs that truncate strings send lone surrogates (`\ud83d`). Most parsers accept them, but msgspec does not, so
    they are replaced by other characters (`\uc83d`), which occur in no guarded field name.
    """
    decoded = body
    try:
        try:
            return decode(body), body
        except ValueError:
            decoded = without_surrogates(body)
            if decoded == body:
                raise
        return decode(decoded), decoded
    except (ValueError, RecursionError) as error:
        raise ValueError(_describe(error)) from error


def _describe(error: ValueError | RecursionError) -> str:
    """Return why a body could not be decoded. msgspec's messages contain an offset, and no part of the body."""
    if isinstance(error, msgspec.ValidationError):
        return "must be a JSON object with a `model` field"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "is not valid UTF-8"
    reason = str(error).removeprefix("JSON is malformed: ")
    return f"is not valid JSON: {reason.replace('Input data was truncated', 'unexpected end of input')}"
