"""Rename the model in a JSON object that is too long to be held in memory."""

from __future__ import annotations

import re

import msgspec

from proxy.inference.request.json_spans import STRING
from proxy.inference.response.tokens import _WRAPPED, _counted, _decoded
from proxy.telemetry import Tokens

_MAX_TEXT = 8 * 1024
"""Bytes of a name, or of a model's id, in what is too long to be held."""
_MAX_USAGE = 64 * 1024
_STRING = re.compile(STRING, re.DOTALL)
_REST_OF_STRING = re.compile(STRING.removeprefix(b'"'), re.DOTALL)
_SIGNS = re.compile(rb'[{}\[\],:"]')
_BRACKETS = re.compile(rb'[{}\[\]"]')


class JsonStreamRenamer:
    """A JSON object that is too long to be held, on its way: what `passed_on` does, piece by piece.

    It is never decoded: strings and brackets tell where its outermost members are.
    """

    def __init__(self, own_id: str, public_id: str, *, also_wrapped: bool = False) -> None:
        """`also_wrapped`: `model` is replaced in the wrapped members of an event, too."""
        self.tokens = Tokens()
        self.renames = own_id != public_id
        self._own_id, self._public_id = own_id, msgspec.json.encode(public_id)
        self._also_wrapped = also_wrapped
        self._held = b""  # the beginning of a text that matters
        self._depth = 0
        self._near = False  # whether the members of this object matter
        self._wrapping = False  # whether the object of the second level is a wrapped one
        self._in_text = False  # in one that does not matter
        self._name = ""
        self._name_is_next = False
        self._usage: bytearray | None = None
        self._usage_depth = 0

    def passed(self, piece: bytes) -> bytes:
        """What goes out when this comes in."""
        text = self._held + piece
        out: list[bytes] = []
        at = sent = counted = 0
        while at < len(text):
            if self._in_text:
                rest = _REST_OF_STRING.match(text, at)
                if rest is None:
                    # What follows a backslash belongs to it.
                    at = len(text) - (len(text) - len(text.rstrip(b"\\"))) % 2
                    break
                at, self._in_text = rest.end(), False
                continue
            found = (_SIGNS if self._near else _BRACKETS).search(text, at)
            if found is None:
                at = len(text)
                break
            start, at = found.span()
            sign = found[0]
            if sign == b'"':
                whole = _STRING.match(text, start)
                if whole:
                    at = whole.end()
                    if self._near and self._is_our_model(whole[0]):
                        out += [text[sent:start], self._public_id]
                        sent = at
                elif self._matters() and len(text) - start <= _MAX_TEXT:
                    at = start
                    break
                else:
                    self._in_text = True
            elif sign in b"{[":
                if self._near and self._name == "usage" and sign == b"{":
                    self._usage, self._usage_depth, counted = bytearray(), self._depth, start
                self._open(sign)
            elif sign in b"}]":
                self._close()
                if self._usage is not None and self._depth == self._usage_depth:
                    self._count(text[counted:at])
            elif sign == b",":
                self._name, self._name_is_next = "", True
        if self._usage is not None:
            self._usage += text[counted:at]
            if len(self._usage) > _MAX_USAGE:
                self._usage = None
        self._held = text[at:]
        out.append(text[sent:at])
        return b"".join(out)

    def rest(self) -> bytes:
        """What is still held when the answer has ended."""
        return self._held

    def _matters(self) -> bool:
        return self._near and (self._name_is_next or self._name == "model")

    def _is_our_model(self, encoded: bytes) -> bool:
        """Whether this text has to be replaced; a name is remembered."""
        if self._name_is_next:
            self._name, self._name_is_next = str(_decoded(encoded)), False
            return False
        return (
            self._name == "model"
            and self.renames
            and (self._depth == 1 or self._also_wrapped)
            and _decoded(encoded) == self._own_id
        )

    def _open(self, sign: bytes) -> None:
        self._depth += 1
        if self._depth == 2:
            self._wrapping = self._near and sign == b"{" and self._name in _WRAPPED
        self._near = (self._depth == 1 and sign == b"{") or (self._depth == 2 and self._wrapping)
        self._name, self._name_is_next = "", self._near

    def _close(self) -> None:
        self._depth -= 1
        self._near = self._depth == 1 or (self._depth == 2 and self._wrapping)
        self._name, self._name_is_next = "", False

    def _count(self, rest: bytes) -> None:
        assert self._usage is not None, "counted from where it began"
        self.tokens = self.tokens.and_then(_counted(bytes(self._usage + rest)))
        self._usage = None
