"""Spans in the format of OTLP (Protocol Buffers). Pure.

Not with OpenTelemetry's library, which takes more time for two spans than the proxy for a call. Tests decode everything
with the definitions of OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct

Value = str | int | float | bool
SERVER, CLIENT = 2, 3
"""Kinds of spans."""

_TIMES = Struct("<BQBQ").pack
_DOUBLE = Struct("<d").pack
_START, _END = 0x39, 0x41
_ERROR = b"\x7a\x02\x18\x02"
_MAX_TEXT = 1000
"""Characters of a text."""


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _field(tag: int, data: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return b"%c%b%b" % (tag, _varint(len(data)), data)


def text_of(value: str) -> bytes:
    return value[:_MAX_TEXT].encode("utf-8", "replace")


def attribute(name: str, value: Value) -> bytes:
    """An attribute of a span."""
    return _field(0x4A, _pair(name, value))


@lru_cache(4096)
def attributes(*pairs: tuple[str, Value]) -> bytes:
    """Several attributes, which many spans have: they are encoded once."""
    return b"".join(attribute(name, value) for name, value in pairs)


def _pair(name: str, value: Value) -> bytes:
    if isinstance(value, bool):
        content = b"\x10\x01" if value else b"\x10\x00"
    elif isinstance(value, int):
        content = b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    elif isinstance(value, float):
        content = b"\x21" + _DOUBLE(value)
    else:
        content = _field(0x0A, text_of(value))
    return _field(0x0A, name.encode()) + _field(0x12, content)


def span(
    trace: bytes,
    own: bytes,
    parent: bytes,
    name: str,
    kind: int,
    times: tuple[int, int],
    attributes: bytes,
    *,
    is_error: bool = False,
) -> bytes:
    """A span. `trace`: 16 bytes; `own`: its id of 8 bytes; `parent`: b"" without one; `times`: Unix nanoseconds."""
    content = b"\n\x10%b\x12\x08%b%b%b\x30%c%b%b%b" % (
        trace,
        own,
        b'"\x08' + parent if parent else b"",
        _title(name),
        kind,
        _TIMES(_START, times[0], _END, times[1]),
        attributes,
        _ERROR if is_error else b"",
    )
    return _field(0x12, content)


@lru_cache(4096)
def _title(name: str) -> bytes:
    return _field(0x2A, text_of(name))


def export_request(resource: Mapping[str, str], version: str, spans: Iterable[bytes]) -> bytes:
    """The body of a request with spans of this program. `resource`: its attributes."""
    of_resource = b"".join(_field(0x0A, _pair(name, value)) for name, value in resource.items())
    scope = _field(0x0A, b"models-proxy") + _field(0x12, version.encode())
    return _field(0x0A, _field(0x0A, of_resource) + _field(0x12, _field(0x0A, scope) + b"".join(spans)))
