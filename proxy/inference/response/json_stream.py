"""Replace the model id in a JSON response that is too long to be held in memory, and count its tokens."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy.decoding import decode_or_none
from proxy.inference.response.fields import COMMON, ResponseFields
from proxy.inference.response.json_scanner import MODEL, TYPE, USAGE, MemberScanner, Part
from proxy.inference.response.observer import Observer
from proxy.inference.response.rename import is_own
from proxy.inference.response.tokens import usage_tokens
from proxy.telemetry import Tokens

_MAX_USAGE = 64 * 1024
"""Bytes of a `usage` object; a longer one is not counted."""
_MAX_ITEM = 1024 * 1024
"""Bytes of an item of an array that are kept to be observed."""
_IN_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""Line ends are only between values, not in strings."""
_BETWEEN_ITEMS = b"\xef\xbb\xbf[, \t\r\n"


class JsonStreamRenamer:
    """Does what `rename_model` does, piece by piece."""

    def __init__(
        self,
        own_id: str | None,
        public_id: str,
        *,
        also_wrapped: bool = False,
        fields: ResponseFields = COMMON,
        in_array: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """`also_wrapped`: the model is also replaced in a response that is wrapped in a stream event.

        `in_array`: whether the response is an array of objects, in each of which it is replaced. `observer` is called
        with each of them, in one line, when it has ended.
        """
        self.renames = own_id != public_id
        self.type = ""
        """`type` of the outermost object, as far as it has arrived."""
        self._in_array = in_array
        self._scanner = MemberScanner(fields, in_array=in_array)
        self._items = _Items(observer) if observer else None
        self._usage = _UsageCounter(fields)
        self._own_id, self._public_id = own_id, msgspec.json.encode(public_id)
        self._levels = (1, 2) if also_wrapped else (1,)

    @property
    def tokens(self) -> Tokens:
        """The tokens reported so far."""
        return self._usage.tokens

    @property
    def is_complete(self) -> bool:
        """Whether exactly one object, or the whole array, has arrived, and nothing of another one."""
        if self._in_array:
            return self._scanner.has_ended
        return self._scanner.objects == 1 and self._scanner.is_between_objects

    @property
    def error_item(self) -> bytes | None:
        """The bytes before a further item of an array; None if an object has not arrived completely."""
        if not self._scanner.is_between_objects or self._scanner.held:
            return None
        return b"," if self._scanner.needs_comma else b""

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes to send after this piece has arrived."""
        text, parts = self._scanner.scan(piece)
        if self._items:
            self._items.read(text, self._scanner.ends)
        out: list[bytes] = []
        sent = 0
        for part in parts:
            value = text[part.start : part.end]
            if part.name == USAGE:
                self._usage.add(value, complete=part.complete)
            elif part.name == TYPE and part.level == 1:
                self.type = str(decode_or_none(value))
            elif self.renames and self._is_own_model(part, value):
                out += (text[sent : part.start], self._public_id)
                sent = part.end
        return b"".join((*out, text[sent:]))

    def rest(self) -> bytes:
        """Return the bytes still held when the response has ended."""
        return self._scanner.held

    def _is_own_model(self, part: Part, value: bytes) -> bool:
        return part.name == MODEL and part.level in self._levels and is_own(decode_or_none(value), self._own_id)


class _UsageCounter:
    """Counts the tokens in `usage` objects that arrive in parts."""

    def __init__(self, fields: ResponseFields) -> None:
        self.tokens = Tokens()
        self._fields = fields
        self._usage = bytearray()

    def add(self, part: bytes, *, complete: bool) -> None:
        self._usage += part[: _MAX_USAGE - len(self._usage)]  # an object that is cut off is invalid: zero tokens
        if complete:
            self.tokens = self.tokens.merge(usage_tokens(bytes(self._usage), self._fields))
            self._usage.clear()


class _Items:
    """The items of an array that arrive in parts."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._item = bytearray()
        self._size = 0

    def read(self, text: bytes, ends: Iterable[int]) -> None:
        """`ends`: where items end in this text."""
        start = 0
        for end in ends:
            self._add(text[start:end])
            item = bytes(self._item)
            if self._size <= _MAX_ITEM:
                self._observer.read_lines(item.lstrip(_BETWEEN_ITEMS).translate(_IN_ONE_LINE))
            else:
                self._observer.read_long(item, self._size)
            self._item.clear()
            self._size = 0
            start = end
        self._add(text[start:])

    def _add(self, part: bytes) -> None:
        self._item += part[: _MAX_ITEM - len(self._item)]
        self._size += len(part)
