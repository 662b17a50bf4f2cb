"""Find the bytes of a JSON body that select models or reference state, before any of it is decoded.

Most bodies have none but their `model`, and the rest of them is not read.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from proxy.inference.request.json_spans import STRING, TOO_MANY_VALUES, WHITESPACE

_MAX_MARKS = 500_000
_MAX_TRIED = 1000
_REFERENCE = re.compile(
    rb'"(?=[facvlsiegm])(?:'
    rb'f(?:ile_ids?"%(ws)s:%(ws)s["\[]|ile_?uri"|ile_?search_?store_?names"|ileid://)'
    rb'|c(?:ontainer(?:_id)?"%(ws)s:%(ws)s["\[{]|ached_?content"|ollection_ids")'
    rb'|audio"%(ws)s:%(ws)s\{|(?:vector_store|library)_ids"|skill_id"'
    rb'|vertex_?(?:ai_?search|rag_?store)"|external_?api"|manual_?mode"|gs[:\\]'
    rb'|item_reference")' % {b"ws": WHITESPACE}
)
_MODEL = re.compile(rb'models?"%b:' % WHITESPACE)
"""One of these two matches in the lower case of every object that references stored state or selects models.

They do not match in the text of a string: its quotes are escaped. Names hidden by escapes are found by `_hidden_names`.
"""
UNTYPED_OBJECT = re.compile(rb'\{%b"(?!(?:type|role)"%b:%b"[a-z])' % (WHITESPACE, WHITESPACE, WHITESPACE))
"""Matches an object that does not begin with its type or role: an item of `input` may be nothing but a reference."""


def spelled(text: bytes) -> bytes:
    """Return a pattern that matches a text in JSON, in any case and with any characters escaped."""
    return b"(?i:%b)" % b"".join(
        rb"(?:%c|\\u00(?:%02x|%02x))" % (each, each, each ^ 32 if bytes((each,)).isalpha() else each) for each in text
    )


FILE_TEXT = re.compile(
    rb'"' + b"".join(rb"(?:%c|\\u00%x[%x%X])" % (each, each >> 4, each & 15, each & 15) for each in b"fileid:")
)
"""Matches a string that may be nothing but the id of a file (Alibaba: `fileid://...`)."""
_ESCAPED = re.compile(
    rb"\\u(?:(?P<nul>0000)|00(?:4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])|(?P<folded>017[fF]|212[aA]))"
)
"""Matches an escaped letter or underscore, a NUL, and the two characters that case folding maps to letters."""
_FOLDED = (re.compile("\u017f".encode()), re.compile("\u212a".encode()))
"""The same two characters without escape."""
_REST_OF_STRING = re.compile(STRING.removeprefix(b'"') + WHITESPACE + b"(:?)", re.DOTALL)


class Marks:
    """Where a body has names that may select a model or reference state. They are added in the order of the body."""

    def __init__(self) -> None:
        self._models = array("q")
        self._references = array("q")
        self._untyped = array("q")
        self._unsearched = b""

    def add(self, body: bytes, start: int, end: int) -> int:
        """Add the marks between these offsets, where members of a container start and end. Returns their number.

        Raises ValueError: there are too many.
        """
        before = self._count
        piece = body[start:end]
        self._add_names(piece, start)
        if b"{" in piece:
            _add(self._untyped, start, _offsets(UNTYPED_OBJECT, piece))
        return self._count - before

    @property
    def _count(self) -> int:
        return len(self._models) + len(self._references) + len(self._untyped)

    def add_all(self, body: bytes, *, has_one_model_only: bool) -> None:
        """Add the marks of a whole short body; `has_one_model_only`: as the function of that name returned."""
        self._unsearched = body  # untyped objects matter only in an `input`
        if has_one_model_only:
            _add(self._models, 0, _offsets(_MODEL, body.lower()))
        else:
            self._add_names(body, 0)

    def _add_names(self, piece: bytes, start: int) -> None:
        folded = piece.lower()
        # Most bodies have few marks: a search without a match takes less time than an iterator.
        if _MODEL.search(folded):
            _add(self._models, start, _offsets(_MODEL, folded))
        references = [*_offsets(_REFERENCE, folded)] if _REFERENCE.search(folded) else []
        if _may_hide_names(piece):
            references = sorted([*references, *(match.start() for match in _hidden_names(piece))])
        if references:
            _add(self._references, start, references)

    def add_string(self, body: bytes, start: int) -> None:
        """Add the mark of a string that is too long to be the type of an object."""
        if FILE_TEXT.match(body, start):
            self.add_any(start)

    def add_object(self, start: int) -> None:
        """Add an object that may have no type."""
        _add(self._untyped, start, (0,))

    def add_any(self, start: int) -> None:
        """Add what may be any mark."""
        _add(self._references, start, (0,))

    def has_any(self, start: int, end: int) -> bool:
        """Return whether objects between these offsets may select models or reference state."""
        return self.has_reference(start, end) or _is_between(self._models, start, end)

    def has_untyped(self, start: int, end: int) -> bool:
        """Return whether objects between these offsets may have no type."""
        if self._unsearched:
            _add(self._untyped, 0, _offsets(UNTYPED_OBJECT, self._unsearched))
            self._unsearched = b""
        return _is_between(self._untyped, start, end)

    def has_reference(self, start: int, end: int) -> bool:
        """Return whether objects between these offsets may reference state."""
        return _is_between(self._references, start, end)


def has_one_model_only(body: bytes) -> bool:
    """Return whether a body has exactly one mark of a model, and no other mark; False if that is not certain."""
    folded = body.lower()
    first = _MODEL.search(folded)
    if first is None or _MODEL.search(folded, first.end()) or _REFERENCE.search(folded):
        return False
    return not _may_hide_names(body) or next(_hidden_names(body, _MAX_TRIED), None) is None


def _offsets(pattern: re.Pattern[bytes], piece: bytes) -> Iterator[int]:
    return (match.start() for match in pattern.finditer(piece))


def _add(marks: array[int], start: int, offsets: Iterable[int]) -> None:
    marks.extend(start + offset for offset in offsets)
    if len(marks) > _MAX_MARKS:
        raise ValueError(TOO_MANY_VALUES)


def _is_between(offsets: Sequence[int], start: int, end: int) -> bool:
    at = bisect_left(offsets, start)
    return at < len(offsets) and offsets[at] < end


def _may_hide_names(body: bytes) -> bool:
    return not body.isascii() or _ESCAPED.search(body) is not None


def _hidden_names(body: bytes, max_tried: int | None = None) -> Iterator[re.Match[bytes]]:
    """Yield where a name, or a type of an object, may be written in a way that no mark matches.

    `max_tried`: after this many characters that hide nothing, it yields the next one.
    """
    yield from _hidden(_ESCAPED, body, max_tried)
    if not body.isascii():
        for character in _FOLDED:
            yield from _hidden(character, body, max_tried)


def _hidden(pattern: re.Pattern[bytes], body: bytes, max_tried: int | None) -> Iterator[re.Match[bytes]]:
    match = pattern.search(body)
    tried = 0
    while match is not None:
        tried += 1
        end = match.end()
        if tried == max_tried:
            yield match
        elif not (body.startswith(b"\\", match.start()) and _is_escaped(body, match.start())):
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
