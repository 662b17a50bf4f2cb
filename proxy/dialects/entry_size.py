"""Limit the size of entries: a model with too much data is listed without its largest fields."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from proxy.dialects.dialect import Dialect
from proxy.dialects.raw_json import structure_of
from proxy.dialects.reader import InvalidEntry

MAX_BYTES = 64 * 1024
MAX_VALUES = 1_000
_MAX_READ_BYTES = 1024 * 1024
_MAX_READ_COMMAS = 20_000  # reading an object with so many fields takes some milliseconds

_RAW_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ENCODE = msgspec.json.Encoder().encode


def within_limits(dialect: Dialect, entry: bytes) -> bytes:
    """Return the entry itself, or if it exceeds a limit, one with the fields that fit: first its names, then the
    shortest. Raises InvalidEntry if it is too large to be read."""
    if len(entry) <= 2 * MAX_VALUES or (len(entry) <= MAX_BYTES and _values_fit(entry)):
        return entry
    if len(entry) > _MAX_READ_BYTES or entry.count(b",") > _MAX_READ_COMMAS:
        raise InvalidEntry(f"larger than {_MAX_READ_BYTES:,} bytes or {_MAX_READ_COMMAS:,} values")
    try:
        fields = _RAW_OBJECT.decode(entry)
    except (ValueError, RecursionError) as error:
        raise InvalidEntry(f"larger than {MAX_BYTES:,} bytes or {MAX_VALUES:,} values") from error
    needed = {name for path in (*dialect.id, *dialect.owner, *dialect.created) for name in path.split("/")}
    size, values = 2, 1
    kept: set[str] = set()
    for name in sorted(fields, key=lambda name: (name not in needed, len(memoryview(fields[name])))):
        size += len(name) + len(memoryview(fields[name])) + 4
        if size > MAX_BYTES or (values := values + structure_of(bytes(fields[name]))) > MAX_VALUES:
            break
        kept.add(name)
    return _ENCODE({name: fields[name] for name in fields if name in kept})


def _values_fit(entry: bytes) -> bool:
    # Counting also those in texts is faster, and nearly always sufficient.
    if entry.count(b",") + entry.count(b"[") + entry.count(b"{") < MAX_VALUES:
        return True
    return structure_of(entry) <= MAX_VALUES
