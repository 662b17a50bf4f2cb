"""Shorten a long JSON response, in short steps, to what the proxy reads in it: ids, and errors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from msgspec import Struct

from proxy.cooperative import Cooperative
from proxy.decoding import MANY_VALUES, count_values
from proxy.inference.request.long_strings import PIECE, read_string

_MAX_STRING = 2 * 1024
"""Bytes; longer strings are emptied."""
_MAX_LENGTH = 1024 * 1024
_STRINGS_PER_STEP = 1000
_BACKSLASH = ord("\\")


class ShortForm(Struct, frozen=True):
    """JSON in which long strings are empty."""

    text: bytes
    cuts: Sequence[int]
    """Where the content of strings was removed, in `text`."""
    removed: Sequence[int]
    """How many bytes were removed up to each of them, with those before."""

    def offset(self, at: int) -> int:
        """Return where a position in `text`, which is not within a string, is in the response."""
        index = bisect_right(self.cuts, at)
        return at + (self.removed[index - 1] if index else 0)

    def is_cut(self, start: int, end: int) -> bool:
        """Return whether a part of `text` has lost the content of a string."""
        return bisect_right(self.cuts, start) != bisect_right(self.cuts, end)


def short_form(json: bytes) -> Cooperative[ShortForm | None]:
    """Return the short form of a response; None if it has very many values, or is not short without long strings."""
    values = 0
    for start in range(0, len(json), PIECE):
        values += count_values(json[start : start + PIECE])
        if values > MANY_VALUES:
            return None
        yield
    parts: list[bytes] = []
    cuts: list[int] = []
    removed: list[int] = []
    length = kept = at = strings = 0
    while (start := json.find(b'"', at) + 1) > 0:
        end = json.find(b'"', start, start + _MAX_STRING)
        if end < 0 or json[end - 1] == _BACKSLASH:
            end, _ = yield from read_string(json, start)
            if end < 0:
                return None
        strings += 1
        if strings % _STRINGS_PER_STEP == 0:
            yield
        if end - start > _MAX_STRING:
            parts.append(json[kept:start])
            length += start - kept
            cuts.append(length)
            removed.append(end - length)
            kept = end
        at = end + 1
    if length + len(json) - kept > _MAX_LENGTH:
        return None
    return ShortForm(b"".join((*parts, json[kept:])), cuts, removed)
