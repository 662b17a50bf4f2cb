"""Several descriptions of one model become one: the first is kept, the others fill its missing values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from proxy.cooperative import Cooperative, batched
from proxy.dialects.diagnosis import ANY_DECODER
from proxy.dialects.entry import Entry
from proxy.dialects.entry_size import MAX_BYTES

_LONG = 8 * 1024  # bytes
_ENCODE = msgspec.json.Encoder().encode


_MAX_MERGED = 10
"""Descriptions of one model beyond the first that are read."""


def without_duplicates(entries: Sequence[Entry]) -> Cooperative[Sequence[Entry]]:
    """The entries of one list with each id once, in their order."""
    by_id: dict[str, Entry] = {}
    merged: Counter[str] = Counter()
    for batch in batched(entries):
        for entry in batch:
            first = by_id.setdefault(entry.id, entry)
            if first is not entry and merged[entry.id] < _MAX_MERGED:
                merged[entry.id] += 1
                by_id[entry.id] = filled(first, entry)
                if len(entry.extra) > _LONG:
                    yield
        yield
    return tuple(by_id.values())


def filled(entry: Entry, other: Entry) -> Entry:
    """An entry with the values of another one where its own are missing or null. Fields are not mixed within."""
    created, owner = entry.created or other.created, entry.owner or other.owner
    parent = entry.parent if entry.parent is not None else other.parent
    extra, aliases = _filled_extra(entry.extra, other.extra), tuple(dict.fromkeys(entry.aliases + other.aliases))
    result = replace(entry, created=created, owner=owner, parent=parent, extra=extra, aliases=aliases)
    return entry if result == entry else result


def _filled_extra(extra: bytes, other: bytes) -> bytes:
    if extra == other or other == b"{}" or len(extra) + len(other) > MAX_BYTES:
        return extra
    own = ANY_DECODER.decode(extra)
    missing = {
        name: value
        for name, value in ANY_DECODER.decode(other).items()
        if value is not None and _is_missing(own.get(name))
    }
    return _ENCODE({**own, **missing}) if missing else extra


def _is_missing(value: object) -> bool:
    """Whether a field is absent, null, or an object of nulls (`pricing: {prompt: null}`)."""
    return value is None or (isinstance(value, dict) and all(map(_is_missing, value.values())))
