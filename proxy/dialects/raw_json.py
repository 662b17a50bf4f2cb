"""Open long JSON objects and arrays in steps: msgspec would block the event loop for up to a second.

The values inside stay raw. A value is skipped by decoding it together with what follows: msgspec reports where the
value ended. The JSON must be valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from proxy.cooperative import Cooperative

SHORT = 64 * 1024
"""Bytes. Shorter JSON is decoded at once, which takes some milliseconds at most."""
_SHORT_ARRAY, _FEW_COMMAS = 4 * 1024 * 1024, 150_000
"""Bytes of an array that is decoded at once, too, if it has few commas: values are opened faster than fields."""
AT_ONCE = 256 * 1024
"""Bytes of JSON that is opened at once: of an object with 50,000 fields, or an array with 130,000 values."""
MAX_FIELDS = 100_000
_MAX_BLANKS = 1024 * 1024
_VALUES_PER_STEP = 200
_MAX_OUTLINED = 1000  # fields of an object
_LONG_NAME = f"a field name of more than {SHORT:,} bytes"

_RAW = msgspec.json.Decoder(Raw)
_RAW_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_RAW_ARRAY = msgspec.json.Decoder(list[Raw])
_NAME = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder()
_END = re.compile(r"trailing characters \(byte (\d+)\)")
_BLANKS = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class TooLong(ValueError):
    """An object has more than MAX_FIELDS fields, a name is not SHORT, or there are too many blanks in a row."""


def is_object(raw: Raw) -> bool:
    return memoryview(raw)[0] == ord("{")


def is_array(raw: Raw) -> bool:
    return memoryview(raw)[0] == ord("[")


def structure_of(text: bytes) -> int:
    """The number of values in JSON, or one less for each empty object or array."""
    outside = _STRING.sub(b"", text)
    return 1 + outside.count(b",") + outside.count(b"[") + outside.count(b"{")


def members(raw: Raw) -> Cooperative[Mapping[str, Raw]]:
    """The fields of an object. Raises TooLong."""
    view = memoryview(raw)
    if len(view) <= AT_ONCE:
        opened = _RAW_OBJECT.decode(raw)
        if len(view) > SHORT and any(len(name) + 2 > SHORT for name in opened):
            raise TooLong(_LONG_NAME)
        return opened
    yield
    fields: dict[str, Raw] = {}
    at = _after_blanks(view, 1)
    while view[at] != ord("}"):
        colon = _end(view, at)
        if colon - at > SHORT:
            raise TooLong(_LONG_NAME)
        name, at = _NAME.decode(view[at:colon]), _after_blanks(view, colon + 1)
        end = _end(view, at)
        fields[name] = Raw(view[at:end])
        if len(fields) > MAX_FIELDS:
            raise TooLong(f"an object with more than {MAX_FIELDS:,} fields")
        if end - at > SHORT or len(fields) % _VALUES_PER_STEP == 0:
            yield
        at = _after_separator(view, end)
    return fields


def elements(raw: Raw, most: int) -> Cooperative[Sequence[Raw]]:
    """The values of an array; of a longer one only the first `most` and one more."""
    view = memoryview(raw)
    if len(view) <= AT_ONCE or (len(view) <= _SHORT_ARRAY and bytes(raw).count(b",") <= _FEW_COMMAS):
        return _RAW_ARRAY.decode(raw)[: most + 1]
    yield
    values: list[Raw] = []
    at = _after_blanks(view, 1)
    yield
    while view[at] != ord("]") and len(values) <= most:
        end = _end(view, at)
        values.append(Raw(view[at:end]))
        if end - at > SHORT or len(values) % _VALUES_PER_STEP == 0:
            yield
        at = _after_separator(view, end)
    return values


def sketch(raw: Raw, most: int = 20_000, levels: int = 4) -> Cooperative[Any]:
    """The value of JSON; of a long one its outline: the first fields of objects, and arrays of
    at most `most` empty objects."""
    view = memoryview(raw)
    if len(view) <= SHORT or view[0] == ord('"'):
        yield
        return _ANY.decode(raw)
    if is_object(raw) and levels:
        fields = yield from members(raw)
        outline: dict[str, Any] = {}
        for name in list(fields)[:_MAX_OUTLINED]:
            outline[name] = yield from sketch(fields[name], most, levels - 1)
        return outline
    if is_array(raw):
        values = yield from elements(raw, most)
        return [{} if is_object(value) else None for value in values]
    return {} if is_object(raw) else 0


def _end(view: memoryview, at: int) -> int:
    """The position of the first character that is not blank after the value at a position."""
    try:
        _RAW.decode(view[at:])
    except msgspec.DecodeError as error:
        if match := _END.search(str(error)):
            return at + int(match[1]) - 1
        raise
    raise AssertionError("a value inside of an object or array is followed by a character")


def _after_blanks(view: memoryview, at: int) -> int:
    match = _BLANKS.match(view, at, at + _MAX_BLANKS)
    assert match is not None, "it matches the empty string"
    if match.end() == at + _MAX_BLANKS:
        raise TooLong(f"more than {_MAX_BLANKS:,} blanks in a row")
    return match.end()


def _after_separator(view: memoryview, at: int) -> int:
    """The position of the next value or name after a comma; that of a closing bracket if there is one."""
    if view[at] != ord(","):
        return at
    return at + 1 if view[at + 1] > ord(" ") else _after_blanks(view, at + 1)
