"""Find the bytes of a JSON body that select models or reference state, before any of it is decoded.

Most bodies have none but their `model`, and the rest of them is not read.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice

from proxy.inference.request.json_spans import STRING, TOO_MANY_VALUES, WHITESPACE

_MAX_MARKS = 100_000
_MAX_TRIED = 300_000
_REFERENCE = re.compile(
    rb'"(?=[facvlsi])(?:'
    rb'f(?:ile_ids?"%(ws)s:%(ws)s["\[]|ile_?uri"|ile_?search_?store_?names"|ileid://)'
    rb'|c(?:ontainer(?:_id)?"%(ws)s:%(ws)s["\[{]|ached_?content"|ollection_ids")'
    rb'|audio"%(ws)s:%(ws)s\{|(?:vector_store|library)_ids"|skill_id"'
    rb'|item_reference")' % {b"ws": WHITESPACE}
)
_MODEL = re.compile(rb'models?"%b:' % WHITESPACE)
"""One of these two matches in the lower case of every object that references stored state or selects models.

They do not match in the text of a string: its quotes are escaped. Names hidden by escapes are found by `_hidden_names`.
"""
UNTYPED_OBJECT = re.compile(rb'\{%b"(?=[\w\\])(?!(?:type|role)"%b:%b"[a-z])' % (WHITESPACE, WHITESPACE, WHITESPACE))
"""Matches an object that does not begin with its type or role: an item of `input` may be nothing but a reference."""
_ESCAPED = re.compile(
    rb"\\u(?:(?P<nul>0000)|00(?:4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])|(?P<folded>017[fF]|212[aA]))"
)
"""Matches an escaped letter or underscore, a NUL, and the two characters that case folding maps to letters."""
_FOLDED = (re.compile("\u017f".encode()), re.compile("\u212a".encode()))
"""The same two characters without escape."""
_REST_OF_STRING = re.compile(STRING.removeprefix(b'"') + WHITESPACE + b"(:?)", re.DOTALL)


class Marks:
    """Where a body has names that may select a model or reference state."""

    def __init__(self, body: bytes) -> None:
        """Raises ValueError if there are too many."""
        folded = body.lower()
        self._models = _offsets(_MODEL.finditer(folded))
        # Most bodies have no references: a search without a match takes less time than an iterator.
        self._references = _offsets(_REFERENCE.finditer(folded)) if _REFERENCE.search(folded) else ()
        self._hidden = sorted(_offsets(_hidden_names(body))) if _may_hide_names(body) else ()
        self._body = body

    @property
    def only_one_model(self) -> bool:
        return len(self._models) == 1 and not self._references and not self._hidden

    def has_any(self, start: int, end: int) -> bool:
        """Return whether objects between these offsets may select models or reference state."""
        return self.has_reference(start, end) or _is_between(self._models, start, end)

    def has_untyped(self, start: int, end: int) -> bool:
        """Return whether objects between these offsets may have no type."""
        return _is_between(self._untyped, start, end)

    @cached_property
    def _untyped(self) -> Sequence[int]:
        return _offsets(UNTYPED_OBJECT.finditer(self._body))

    def has_reference(self, start: int, end: int) -> bool:
        """Return whether objects between these offsets may reference state."""
        return _is_between(self._references, start, end) or _is_between(self._hidden, start, end)


def _offsets(matches: Iterable[re.Match[bytes]]) -> Sequence[int]:
    offsets = [match.start() for match in islice(matches, _MAX_MARKS)]
    if len(offsets) == _MAX_MARKS:
        raise ValueError(TOO_MANY_VALUES)
    return offsets


def _is_between(offsets: Sequence[int], start: int, end: int) -> bool:
    at = bisect_left(offsets, start)
    return at < len(offsets) and offsets[at] < end


def _may_hide_names(body: bytes) -> bool:
    return not body.isascii() or _ESCAPED.search(body) is not None


def _hidden_names(body: bytes) -> Iterable[re.Match[bytes]]:
    """Yield where a name, or a type of an object, may be written in a way that no mark matches. Raises ValueError."""
    yield from _hidden(_ESCAPED, body)
    if not body.isascii():
        for character in _FOLDED:
            yield from _hidden(character, body)


def _hidden(pattern: re.Pattern[bytes], body: bytes) -> Iterable[re.Match[bytes]]:
    match = pattern.search(body)
    tried = 0
    while match is not None:
        tried += 1
        if tried > _MAX_TRIED:
            raise ValueError(TOO_MANY_VALUES)
        end = match.end()
        if not (body.startswith(b"\\", match.start()) and _is_escaped(body, match.start())):
            rest = _REST_OF_STRING.match(body, end)
            if rest is None or rest[1] or (pattern is _ESCAPED and match.lastgroup is None):
                yield match  # in a name, or an escaped letter, which no client writes
            end = rest.end() if rest else end
        match = pattern.search(body, end)


def _is_escaped(body: bytes, start: int) -> bool:
    """Return whether the backslash there is the second of a pair."""
    before = start
    while body.startswith(b"\\", before - 1):
        before -= 1
    return (start - before) % 2 == 1
