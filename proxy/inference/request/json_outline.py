"""One pass over a JSON text: check its syntax, and record where its marks are and where its containers end.

No value is decoded and no container is built. The pass is in short steps, because a body can be long: patterns match
runs of values within a window, and a stack has the containers that no pattern matches: those nested or long.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec import Raw

from proxy.cooperative import Cooperative
from proxy.inference.request.json_spans import (
    TOO_MANY_VALUES,
    WHITESPACE,
    Span,
    decode_lenient,
    decode_members,
    decode_name,
    duplicate_field,
    without_surrogates,
)
from proxy.inference.request.marks import Marks

MAX_NESTING = 1000
"""Arrays and objects in a text, whatever they contain."""
MAX_MEMBERS = 1000
"""Fields of one object that is looked into."""
MAX_NAME_LENGTH = 1000
"""Bytes of the name of such a field; guarded names are much shorter."""
_MAX_CONTAINERS = 200_000
"""Containers on the stack: each takes about 5 us."""
_MAX_ITEMS = 100_000
"""Containers in one array that is looked into."""
_MIN_WINDOW = 2 * 1024
_MAX_WINDOW = 64 * 1024
"""Bytes that one match of a pattern can take: less than 3 ms for the slowest, 0.3 ms for text."""
_MARK_STEP = 16 * 1024  # bytes in which marks are searched for together
_MANY_MARKS = 200  # in such a part; then the following parts are shorter, because each mark takes time
_STEP = 64 * 1024  # bytes, or their equivalent in time, between two yields
_ITERATION = 512  # bytes whose match takes as long as one iteration in Python
_DESCRIBED = 1024 * 1024  # bytes of a text whose error msgspec describes

_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = rb"(?:[1-9][0-9]*+|0|-(?:[1-9][0-9]*+|0))(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR = rb"(?:%b|%b|true|false|null)" % (_STRING, _NUMBER)
_ITEM = _SCALAR + WHITESPACE
_MEMBER = rb"%b%b:%b%b%b" % (_STRING, WHITESPACE, WHITESPACE, _SCALAR, WHITESPACE)
_REST = rb"(?:%(end)b|%(each)b(?:,%(ws)b%(each)b)*+%(end)b)"
_FLAT = rb"(?:\[%(ws)b%(items)b|\{%(ws)b%(members)b)" % {
    b"ws": WHITESPACE,
    b"items": _REST % {b"each": _ITEM, b"ws": WHITESPACE, b"end": rb"\]"},
    b"members": _REST % {b"each": _MEMBER, b"ws": WHITESPACE, b"end": rb"\}"},
}
"""Matches a container that contains no other."""
_VALUE = rb"(?:%b|%b)%b" % (_FLAT, _SCALAR, WHITESPACE)
_NAME = rb"%b%b:%b" % (_STRING, WHITESPACE, WHITESPACE)
_RUN = rb"(?:%(each)b,%(ws)b)*+(?:%(each)b%(end)b)?+"
_ITEMS = re.compile(_RUN % {b"each": _VALUE, b"ws": WHITESPACE, b"end": rb"\]"})
_MEMBERS = re.compile(_RUN % {b"each": _NAME + _VALUE, b"ws": WHITESPACE, b"end": rb"\}"})
"""Match the next members of a container with their commas, and its end if it is reached."""
_ONE_ITEM = re.compile(rb"%b,%b" % (_VALUE, WHITESPACE))
_ONE_MEMBER = re.compile(
    rb"(%b)%b:%b((?:%b|%b))%b(?:,%b|(?=\}))" % (_STRING, WHITESPACE, WHITESPACE, _FLAT, _SCALAR, WHITESPACE, WHITESPACE)
)
_FLAT_CONTAINER = re.compile(_FLAT)
_NAME_AND_COLON = re.compile(rb"(%b)%b:%b" % (_STRING, WHITESPACE, WHITESPACE))
_SHORT_SCALAR = re.compile(_SCALAR)
_CHARACTERS = re.compile(_STRING[1:-1])
_BLANKS = re.compile(WHITESPACE)
_DIGITS = re.compile(rb"[0-9]*+")
_NUMBERS = re.compile(rb"[-+.eE0-9, \t\r\n]*+")
_FIRST_OF_NUMBER = frozenset(b"%c" % digit for digit in b"-0123456789")
_FIRST_OF_VALUE = frozenset(b'["-0123456789tfn')
OPENING = (b"[", b"{")
_BLANK = (b" ", b"\t", b"\r", b"\n")
_LONGEST_ESCAPE = 6
_check = msgspec.json.Decoder(Raw).decode


class Member(NamedTuple):
    """A member of an object, with offsets in the text."""

    name: str
    name_start: int
    name_end: int
    start: int
    """Of the value."""
    end: int


class Outline:
    """What is known of a JSON object after one pass over its text."""

    def __init__(self, text: bytes, max_window: int = _MAX_WINDOW) -> None:
        """`max_window`: bytes that one match of a pattern can take, at least 16."""
        self.text = text
        self._max_window = max_window
        self._min_window = min(max_window, _MIN_WINDOW)
        self._mark_step = min(max_window, _MARK_STEP)
        self._longest_run = max_window
        self.marks = Marks()
        self.start = 0
        """Of the outermost object."""
        # Of the containers that were on the stack, in the order of their starts.
        self._starts = array("q")
        self._ends = array("q")
        self._stack: list[int] = []
        self._marked = 0
        """Up to where marks were searched for."""
        self._spent = 0

    def read(self) -> Cooperative[None]:
        """Read the whole text. Raises ValueError: it is not a JSON object, or its nesting is too deep."""
        self.start = yield from self._after_blanks(0)
        if not self.text.startswith(b"{", self.start):
            raise self._not_an_object(self.start)
        at = yield from self._open(self.start)
        window = self._min_window
        is_value = False
        while self._stack:
            if self.spend(window + _ITERATION):
                yield
            is_object = self._in_object()
            if is_value and at - self._marked > self._mark_step:
                self._mark(at)
            begin, at = at, self._run_end(at, window, is_object=is_object)
            if at == begin:
                window = self._min_window
                at, is_value = yield from self._read_one(at, is_object=is_object)
            else:
                window = min(2 * window if at - begin > window // 2 else window, self._longest_run)
                is_value = True
                if not self.text.startswith((b"]", b"}"), at - 1):  # after a comma, or a blank that follows one
                    if self.text.startswith(_BLANK, at):
                        at = yield from self._after_blanks(at)
                    continue
                self._close(at)
            if is_value:
                at = yield from self._after_value(at)
        self._mark(at)
        at = yield from self._after_blanks(at)
        if at < len(self.text):
            raise self._invalid(at)

    def _run_end(self, at: int, window: int, *, is_object: bool) -> int:
        """Return the end of the members that a pattern matches within a window, `at` if there are none."""
        if not is_object and window == self._max_window and (end := self._numbers_end(at)) > at:
            self._mark(at)
            self._marked = end
            return end
        match = (_MEMBERS if is_object else _ITEMS).match(self.text, at, at + window)
        assert match, "the patterns match an empty text"
        return match.end()

    def _read_one(self, at: int, *, is_object: bool) -> Cooperative[tuple[int, bool]]:
        """Read a member that no pattern matches. Returns where it ends, and True; or, if its value is a container
        that is not empty, where the first member of that starts, and False."""
        if is_object:
            at = yield from self._read_name(at)
        if self.text.startswith(OPENING, at):
            depth = len(self._stack)
            at = yield from self._open(at)
            return at, len(self._stack) == depth
        start, at = at, (yield from self._scalar_end(at))
        if at - start > self._max_window:
            self._mark(start + 1)  # with the quote, because marks of names contain the first byte of the value
            self._marked = at
            self.marks.add_string(self.text, start)
        return at, True

    def _read_name(self, at: int) -> Cooperative[int]:
        """Read a name and its colon. Returns the start of the value."""
        match = _NAME_AND_COLON.match(self.text, at, at + self._max_window)
        if match and match.end() < at + self._max_window:
            return match.end()
        self._mark(at + 1)
        self.marks.add_any(at)
        end = yield from self._string_end(at)
        colon = yield from self._blanks_end(end)
        if not self.text.startswith(b":", colon):
            raise self._invalid(colon)
        self._marked = yield from self._blanks_end(colon + 1)
        return self._marked

    def _after_value(self, at: int) -> Cooperative[int]:
        """Read what follows a value: the end of its container, and of those around it, and a comma."""
        while self._stack:
            if self.text.startswith(_BLANK, at):
                at = yield from self._after_blanks(at)
            if self.text.startswith(b",", at):
                at += 1
                return (yield from self._after_blanks(at)) if self.text.startswith(_BLANK, at) else at
            if not self.text.startswith(self._closing(), at):
                raise self._invalid(at)
            at += 1
            self._close(at)
            if self.spend(_ITERATION):
                yield
        return at

    # The stack

    def _open(self, at: int) -> Cooperative[int]:
        """Read the start of a container. Returns where its first member starts, or, if it has none, its end."""
        if len(self._stack) >= MAX_NESTING:
            raise ValueError("is nested too deeply")
        if len(self._starts) >= _MAX_CONTAINERS:
            raise ValueError(TOO_MANY_VALUES)
        self._stack.append(len(self._starts))
        self._starts.append(at)
        self._ends.append(0)
        first = at + 1
        if self.text.startswith(_BLANK, first):
            first = yield from self._after_blanks(first)
        if self.text.startswith(self._closing(), first):
            first += 1
            self._close(first)
        elif self._marked == first and self._in_object():  # after many blanks
            self.marks.add_object(at)
        return first

    def _close(self, end: int) -> None:
        self._ends[self._stack.pop()] = end

    def _in_object(self) -> bool:
        return self.text.startswith(b"{", self._starts[self._stack[-1]])

    def _closing(self) -> bytes:
        return b"}" if self._in_object() else b"]"

    # Values of any length

    def _after_blanks(self, at: int) -> Cooperative[int]:
        end = yield from self._blanks_end(at)
        if end - at > self._max_window:
            self._mark(at)
            self._marked = end
        return end

    def _blanks_end(self, at: int) -> Cooperative[int]:
        while True:
            match = _BLANKS.match(self.text, at, at + self._max_window)
            assert match, "it matches an empty text"
            at, begin = match.end(), at
            if at < begin + self._max_window:
                return at
            if self.spend(self._max_window):
                yield

    def _scalar_end(self, at: int) -> Cooperative[int]:
        """Return the end of a scalar. Raises ValueError."""
        window = self._min_window if self.text.startswith(b'"', at) else self._max_window
        match = _SHORT_SCALAR.match(self.text, at, at + window)
        if match and match.end() < at + window:
            return match.end()
        end = self.text.find(b'"', at + 1, at + self._max_window) + 1
        if end and self.text.startswith(b'"', at) and _is_valid(self.text[at:end]):
            return end
        if self.text.startswith(b'"', at):
            return (yield from self._string_end(at))
        return (yield from self._number_end(at))

    def _string_end(self, at: int) -> Cooperative[int]:
        if not self.text.startswith(b'"', at):
            raise self._invalid(at)
        at += 1
        while not self.text.startswith(b'"', at):
            if self.spend(self._max_window):
                yield
            if (end := self._characters_end(at)) == at:
                raise self._invalid(at)
            at = end
        return at + 1

    def _characters_end(self, at: int) -> int:
        """Return the end of characters within a string, at most a window; `at` if the next one is not valid."""
        for cut in range(at + self._max_window, at + self._max_window - _LONGEST_ESCAPE, -1):
            # Most pieces are checked in a tenth of the time without a pattern, if no escape is cut.
            if cut < len(self.text) and _is_valid(b'"%b"' % self.text[at:cut]):
                return cut
        match = _CHARACTERS.match(self.text, at, at + self._max_window)
        assert match, "it matches an empty text"
        return match.end()

    def _number_end(self, at: int) -> Cooperative[int]:
        at += self.text.startswith(b"-", at)
        if self.text.startswith(b"0", at):
            at += 1
        else:
            at = yield from self._digits_end(at)
        if self.text.startswith(b".", at):
            at = yield from self._digits_end(at + 1)
        if self.text.startswith((b"e", b"E"), at):
            at += 1
            at += self.text.startswith((b"+", b"-"), at)
            at = yield from self._digits_end(at)
        return at

    def _digits_end(self, at: int) -> Cooperative[int]:
        first = at
        while True:
            match = _DIGITS.match(self.text, at, at + self._max_window)
            assert match, "it matches an empty text"
            at, begin = match.end(), at
            if at == first:
                raise self._invalid(at)
            if at < begin + self._max_window:
                return at
            if self.spend(self._max_window):
                yield

    def _mark(self, at: int) -> None:
        """Add the marks up to an offset where no mark continues."""
        if at > self._marked:
            found = self.marks.add(self.text, self._marked, at)
            self._marked = at
            self._spent += found * _ITERATION
            if found > _MANY_MARKS:
                self._longest_run = self._mark_step = self._min_window

    def spend(self, amount: int) -> bool:
        """Record work, in bytes. Returns whether other tasks should run now."""
        self._spent += amount
        if self._spent < _STEP:
            return False
        self._spent = 0
        return True

    # Containers that are looked into, after the pass

    def end_of(self, start: int) -> int:
        """Return the end of the container that starts there."""
        index = bisect_left(self._starts, start)
        if index < len(self._starts) and self._starts[index] == start:
            return self._ends[index]
        match = _FLAT_CONTAINER.match(self.text, start, start + self._max_window)
        assert match, "no longer than the window in which it was matched before"
        return match.end()

    def members(self, start: int) -> Cooperative[list[Member]]:
        """Return the members of the object that starts there.

        Raises ValueError: a name is duplicate, too long or not valid UTF-8, or there are too many.
        """
        found: dict[str, Member] = {}
        at = yield from self._blanks_end(start + 1)
        while not self.text.startswith(b"}", at):
            match = _ONE_MEMBER.match(self.text, at, at + self._min_window)
            if match:
                (name_start, name_end), (value, end), at = match.span(1), match.span(2), match.end()
            else:
                name_start, name_end = at, (yield from self._scalar_end(at))
                value = yield from self._blanks_end(name_end)
                value = yield from self._blanks_end(value + 1)
                end = yield from self._value_end(value)
                at = yield from self._after_comma(end)
            name = self._decoded(name_start, name_end)
            if name in found:
                raise duplicate_field(name)
            found[name] = Member(name, name_start, name_end, value, end)
            if len(found) > MAX_MEMBERS:
                raise ValueError(f"contains more than {MAX_MEMBERS} fields")
            if self.spend(_ITERATION):
                yield
            if at - name_start >= self._min_window:
                at = yield from self._blanks_end(at)
        return [*found.values()]

    def values_of(self, start: int) -> Cooperative[Mapping[str, Span]]:
        """Return the spans of the values of the object that starts there, by name. Raises ValueError as `members`."""
        members = yield from self.members(start)
        return {member.name: (member.start, member.end) for member in members}

    def _after_comma(self, at: int) -> Cooperative[int]:
        """Return where the next member starts after the end of a value, or the end of the container."""
        at = yield from self._blanks_end(at)
        if self.text.startswith(b",", at):
            at = yield from self._blanks_end(at + 1)
        return at

    def _value_end(self, at: int) -> Cooperative[int]:
        if self.text.startswith(OPENING, at):
            return self.end_of(at)
        return (yield from self._scalar_end(at))

    def _decoded(self, start: int, end: int) -> str:
        if end - start > MAX_NAME_LENGTH:
            raise ValueError(f"contains a field name of more than {MAX_NAME_LENGTH} bytes")
        encoded = self.text[start:end]
        try:
            return decode_name(encoded)
        except UnicodeDecodeError:
            raise ValueError("is not valid UTF-8") from None
        except ValueError:  # a lone surrogate
            return decode_name(without_surrogates(encoded))

    def containers_in(self, start: int) -> Cooperative[array[int]]:
        """Return the starts of the arrays and objects in the array that starts there. Raises ValueError: too many."""
        found = array("q")
        at = yield from self._blanks_end(start + 1)
        while not self.text.startswith(b"]", at):
            if self.text.startswith(OPENING, at):
                found.append(at)
                if len(found) > _MAX_ITEMS:
                    raise ValueError(TOO_MANY_VALUES)
            at = yield from self._next_item(at)
        return found

    def items_in(self, start: int, limit: int) -> Cooperative[list[Span]]:
        """Return the spans of all items of the array that starts there. Raises ValueError: more than `limit`."""
        found: list[Span] = []
        at = yield from self._blanks_end(start + 1)
        while not self.text.startswith(b"]", at):
            if len(found) >= limit:
                raise ValueError(TOO_MANY_VALUES)
            end = yield from self._value_end(at)
            found.append((at, end))
            if self.spend(_ITERATION):
                yield
            at = yield from self._after_comma(end)
        return found

    def _next_item(self, at: int) -> Cooperative[int]:
        """Return where the next item starts, or the end of the array. Of numbers, many are skipped."""
        if (after := self._numbers_end(at)) > at:
            if self.spend(self._max_window):
                yield
            return (yield from self._blanks_end(after))
        if self.spend(_ITERATION):
            yield
        match = _ONE_ITEM.match(self.text, at, at + self._min_window)
        if match and match.end() < at + self._min_window:
            return match.end()
        end = yield from self._value_end(at)
        return (yield from self._after_comma(end))

    def _numbers_end(self, at: int) -> int:
        """Return where a run of several numbers ends, after a comma; `at` if there is none, or it is not valid."""
        if self.text[at : at + 1] not in _FIRST_OF_NUMBER:
            return at
        match = _NUMBERS.match(self.text, at, at + self._max_window)
        assert match, "it matches an empty text"
        comma = self.text.rfind(b",", at, match.end())
        if comma < 0:
            return at
        return comma + 1 if _is_valid(b"[%b]" % self.text[at:comma]) else at

    # Errors

    def _not_an_object(self, at: int) -> ValueError:
        if at < len(self.text) and self.text[at] in _FIRST_OF_VALUE and len(self.text) > _DESCRIBED:
            return ValueError("must be a JSON object with a `model` field")
        return self._invalid(at)

    def _invalid(self, at: int) -> ValueError:
        """Return the error for a text that is not JSON, or not an object."""
        if len(self.text) <= _DESCRIBED:
            try:
                decode_lenient(self.text, decode_members)
            except ValueError as error:
                return error
        if at >= len(self.text):
            return ValueError("is not valid JSON: unexpected end of input")
        return ValueError(f"is not valid JSON: unexpected character (byte {at})")


def _is_valid(text: bytes) -> bool:
    """Return whether a short text is JSON."""
    try:
        _check(text)
    except ValueError:
        return False
    return True
