"""Where the members of a JSON object begin and end, without rebuilding it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")
_MAX_MEMBERS = 1000
_MAX_COMMAS = 500_000

_BLANK = rb"[ \t\r\n]*+"
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A string as JSON writes it."""
_NEXT_NAME = re.compile(rb"%b[{,]%b(%b)%b:%b" % (_BLANK, _BLANK, STRING, _BLANK, _BLANK))
_NEXT_ITEM = re.compile(rb"%b[\[,]%b" % (_BLANK, _BLANK))
_END = re.compile(rb"%b\{?%b\}%b" % (_BLANK, _BLANK, _BLANK))

Span = tuple[int, int]
_as_members = msgspec.json.Decoder(dict[str, Raw]).decode
_as_items = msgspec.json.Decoder(list[Raw]).decode
_as_text = msgspec.json.Decoder(str).decode


def members(body: bytes) -> dict[str, Span]:
    """The members of a JSON object: name -> where in the body its value begins and ends.

    Raises ValueError where it is none, or where a name stands twice; its words go on after "the body".
    """
    values, plain = _read(body, _as_members)
    if len(values) > _MAX_MEMBERS:
        raise ValueError("has far too many fields")
    spans: dict[str, Span] = {}
    end = 0
    for _ in values:
        found = _NEXT_NAME.match(plain, end)
        if found is None:
            raise ValueError(_TWICE)
        name, start = _name(found[1]), found.end()
        # Of a name that stands twice only the last value is known. The first has other bytes, or else the name comes
        # again: no JSON value is the beginning of another one, but for numbers, behind which no name comes.
        if name in spans or not plain.startswith(values[name], start):
            raise ValueError(_TWICE)
        end = start + len(values[name])
        spans[name] = (start, end)
    if not _END.fullmatch(plain, end):
        raise ValueError(_TWICE)
    return spans


def _items(array: bytes) -> Iterator[bytes]:
    """The items of a JSON array. Raises ValueError."""
    if array.count(b",") > _MAX_COMMAS:
        raise ValueError(_TOO_MUCH)
    values, plain = _read(array, _as_items)
    end = 0
    for value in values:
        found = _NEXT_ITEM.match(plain, end)
        start = found.end() if found else end
        end = start + len(value)
        yield array[start:end]


def _read(body: bytes, decode: Callable[[bytes], T]) -> tuple[T, bytes]:
    """What is in it, and the bytes it was read from: as long as the body, and like it but for some letters.

    Programs that cut texts leave halves of characters (`\ud83d`), and most parsers take them. Here they are read as
    letters that stand in no name that matters.
    """
    plain = body
    try:
        try:
            return decode(body), body
        except ValueError:
            plain = body.replace(rb"\ud", rb"\uc").replace(rb"\uD", rb"\uC")
            if plain == body:
                raise
        return decode(plain), plain
    except (ValueError, RecursionError) as error:
        raise ValueError("is no JSON object") from error


_TWICE = "names a field twice"
_TOO_MUCH = "has far too many values"


def _name(encoded: bytes) -> str:
    return encoded[1:-1].decode() if b"\\" not in encoded else _as_text(encoded)
