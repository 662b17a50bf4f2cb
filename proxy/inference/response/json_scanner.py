"""Find the members `model`, `type` and `usage` of a JSON object that arrives in pieces, without decoding it.

In the native APIs, other members have these meanings (`ResponseFields`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from proxy.decoding import decode_or_none
from proxy.inference.request.json_spans import STRING, WHITESPACE
from proxy.inference.response.fields import COMMON, ResponseFields
from proxy.inference.response.tokens import WRAPPERS

MODEL = "model"
TYPE = "type"
USAGE = "usage"
_MAX_STRING = 8 * 1024
"""Bytes of a name, a model id or a type; longer strings are skipped."""

_STRING = re.compile(STRING, re.DOTALL)
_REST_OF_STRING = re.compile(STRING.removeprefix(b'"'), re.DOTALL)
_NEXT_SIGN = re.compile(rb'[{}\[\],"]')
_NEXT_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|%b)*+[{}\[\]"]' % STRING, re.DOTALL)
"""Up to the next bracket outside of strings, or to the quote of a string without an end."""
_QUOTE, _OPENING = ord('"'), b"{["


@lru_cache
def _other_members(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Members with other names whose values are strings, numbers or words, up to the comma after the last one.

    One by one they would take four times as long.
    """
    return re.compile(
        rb'(?:%b(?!"(?:%b)")"[^"\\]*+"%b:%b(?:%b|[^"{}\[\],]++)%b,)++'
        % (WHITESPACE, "|".join(names).encode(), WHITESPACE, WHITESPACE, STRING, WHITESPACE),
        re.DOTALL,
    )


class Part(NamedTuple):
    """A value of `model` or `type` (strings) or of `usage` (an object), or what one piece contains of it."""

    name: str
    level: int
    """1: a member of the outermost object; 2: a member of an object wrapped in it."""
    start: int
    end: int
    complete: bool
    """Whether the value ends here. Only values of `usage` are reported in several parts."""


class MemberScanner:
    """Follows brackets and strings from piece to piece."""

    def __init__(self, fields: ResponseFields = COMMON, *, in_array: bool = False) -> None:
        """`in_array`: whether the objects are the items of one array."""
        self._names = {**dict.fromkeys(fields.models, MODEL), TYPE: TYPE}
        self._usage_name = fields.usage
        self._other_members = _other_members(tuple(self._names))
        self._expects_array = in_array
        self.needs_comma = False
        """Whether another object needs a comma before it, in an array."""
        self.held = b""
        """Bytes that need the next piece: the beginning of a name or a value, or a backslash."""
        self.objects = 0
        """Objects that have ended and are not within another value."""
        self.ends: list[int] = []
        """Where they have ended in the text that `scan` has returned last."""
        self._level = 0  # of the innermost object whose members are read: 1 the outermost one, 2 a wrapped one
        self._nested = 0  # brackets open within a member of that object: their content is skipped
        self._in_string = False  # the last piece ended within a string that is skipped
        self._name = ""  # of the current member
        self._expects_name = False
        self._usage_start: int | None = None

    @property
    def is_between_objects(self) -> bool:
        """Whether no value is open."""
        return self._level <= 0 and not self._nested and not self._in_string

    @property
    def has_ended(self) -> bool:
        """Whether the array that contains the objects has ended."""
        return self._level < 0

    def scan(self, piece: bytes) -> tuple[bytes, list[Part]]:
        """Read the next piece. Return the bytes read so far and not returned before, and the parts in them."""
        text, self.held = self.held + piece, b""
        parts: list[Part] = []
        self.ends = []
        at = self._skip_string(text, 0) if self._in_string else 0
        while at < len(text):
            at = self._skip_nested(text, at, parts) if self._nested else self._read_member(text, at, parts)
        text = text[: len(text) - len(self.held)]
        if self._usage_start is not None:
            parts.append(Part(USAGE, self._level, self._usage_start, len(text), False))
            self._usage_start = 0
        return text, parts

    def _read_member(self, text: bytes, at: int, parts: list[Part]) -> int:
        """Read up to the next sign of an object whose members matter. Return where to continue."""
        if self._expects_name and (others := self._other_members.match(text, at)):
            return others.end()
        match = _NEXT_SIGN.search(text, at)
        if match is None:
            return len(text)
        sign, start, end = match[0], match.start(), match.end()
        if sign == b'"':
            return self._read_string(text, start, parts)
        if sign == b",":
            self._name, self._expects_name = "", self._level > 0
            self.needs_comma &= self._level > 0
        elif sign in _OPENING:
            self._open(sign, start)
        else:
            self._level -= 1
            if self._level == 0:
                self.objects += 1
                self.ends.append(end)
                self.needs_comma = True
            self._name, self._expects_name = "", False
        return end

    def _open(self, sign: bytes, start: int) -> None:
        if sign == b"{" and (self._level == 0 or (self._level == 1 and self._name in WRAPPERS)):
            self._level += 1
            self._name, self._expects_name = "", True
            return
        if self._expects_array and sign == b"[":
            self._expects_array = False
            return
        self._nested = 1
        if sign == b"{" and self._name == self._usage_name:
            self._usage_start = start

    def _skip_nested(self, text: bytes, at: int, parts: list[Part]) -> int:
        """Skip an array or object up to its end, or to the end of the text. Return where to continue."""
        nested = self._nested
        while nested:
            match = _NEXT_BRACKET.match(text, at)
            if match is None:
                at = len(text)
                break
            at = match.end()
            sign = text[at - 1]
            if sign == _QUOTE:
                at = self._leave_in_string(text)
                break
            nested += 1 if sign in _OPENING else -1
        self._nested = nested
        if not nested and self._usage_start is not None:
            parts.append(Part(USAGE, self._level, self._usage_start, at, True))
            self._usage_start = None
        return at

    def _read_string(self, text: bytes, start: int, parts: list[Part]) -> int:
        match = _STRING.match(text, start)
        if match is None:
            return self._read_cut_string(text, start)
        if self._expects_name:
            self._name, self._expects_name = str(decode_or_none(match[0])), False
        elif name := self._names.get(self._name):
            parts.append(Part(name, self._level, start, match.end(), True))
        return match.end()

    def _read_cut_string(self, text: bytes, start: int) -> int:
        """Keep an unfinished string if it is a name, a model id or a type; otherwise skip it."""
        if (self._expects_name or self._name in self._names) and len(text) - start <= _MAX_STRING:
            self.held = text[start:]
            return len(text)
        return self._leave_in_string(text)

    def _skip_string(self, text: bytes, at: int) -> int:
        match = _REST_OF_STRING.match(text, at)
        if match is None:
            return self._leave_in_string(text)
        self._in_string = False
        return match.end()

    def _leave_in_string(self, text: bytes) -> int:
        """Continue within a string in the next piece, which contains the byte that a last backslash escapes."""
        self._in_string = True
        backslashes = len(text) - len(text.rstrip(b"\\"))
        self.held = b"\\" * (backslashes % 2)
        return len(text)
