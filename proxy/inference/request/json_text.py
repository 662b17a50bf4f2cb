"""Where the values in a JSON text end, whatever their length."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from proxy.cooperative import Cooperative
from proxy.inference.request.json_patterns import BLANKS, CHARACTERS, DIGITS, FIRST_OF_NUMBER, NUMBERS, SHORT_SCALAR
from proxy.inference.request.json_spans import decode_lenient, decode_members

_MIN_WINDOW = 2 * 1024
MAX_WINDOW = 64 * 1024
"""Bytes that one match of a pattern can take: less than 3 ms for the slowest, 0.3 ms for text."""
_STEP = 64 * 1024  # bytes, or their equivalent in time, between two yields
ITERATION = 512  # bytes whose match takes as long as one iteration in Python
MAX_DESCRIBED = 1024 * 1024  # bytes of a text whose error msgspec describes
FIRST_OF_VALUE = frozenset(b'["-0123456789tfn')
_LONGEST_ESCAPE = 6
_check = msgspec.json.Decoder(Raw).decode


class JsonText:
    """A JSON text, and where its values of any length end. Long work is in steps of at most `max_window` bytes."""

    def __init__(self, text: bytes, max_window: int = MAX_WINDOW) -> None:
        """`max_window`: bytes that one match of a pattern can take, at least 16."""
        self.text = text
        self.max_window = max_window
        self.min_window = min(max_window, _MIN_WINDOW)
        self._spent = 0

    def spend(self, amount: int) -> bool:
        """Record work, in bytes. Returns whether other tasks should run now."""
        self._spent += amount
        if self._spent < _STEP:
            return False
        self._spent = 0
        return True

    def blanks_end(self, at: int) -> Cooperative[int]:
        while True:
            match = BLANKS.match(self.text, at, at + self.max_window)
            assert match, "it matches an empty text"
            at, begin = match.end(), at
            if at < begin + self.max_window:
                return at
            if self.spend(self.max_window):
                yield

    def scalar_end(self, at: int) -> Cooperative[int]:
        """Return the end of a scalar. Raises ValueError."""
        window = self.min_window if self.text.startswith(b'"', at) else self.max_window
        match = SHORT_SCALAR.match(self.text, at, at + window)
        if match and match.end() < at + window:
            return match.end()
        end = self.text.find(b'"', at + 1, at + self.max_window) + 1
        if end and self.text.startswith(b'"', at) and _is_valid(self.text[at:end]):
            return end
        if self.text.startswith(b'"', at):
            return (yield from self.string_end(at))
        return (yield from self._number_end(at))

    def string_end(self, at: int) -> Cooperative[int]:
        if not self.text.startswith(b'"', at):
            raise self.invalid(at)
        at += 1
        while not self.text.startswith(b'"', at):
            if self.spend(self.max_window):
                yield
            if (end := self._characters_end(at)) == at:
                raise self.invalid(at)
            at = end
        return at + 1

    def _characters_end(self, at: int) -> int:
        """Return the end of characters within a string, at most a window; `at` if the next one is not valid."""
        for cut in range(at + self.max_window, at + self.max_window - _LONGEST_ESCAPE, -1):
            # Most pieces are checked in a tenth of the time without a pattern, if no escape is cut.
            if cut < len(self.text) and _is_valid(b'"%b"' % self.text[at:cut]):
                return cut
        match = CHARACTERS.match(self.text, at, at + self.max_window)
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
            match = DIGITS.match(self.text, at, at + self.max_window)
            assert match, "it matches an empty text"
            at, begin = match.end(), at
            if at == first:
                raise self.invalid(at)
            if at < begin + self.max_window:
                return at
            if self.spend(self.max_window):
                yield

    def numbers_end(self, at: int) -> int:
        """Return where a run of several numbers ends, after a comma; `at` if there is none, or it is not valid."""
        if self.text[at : at + 1] not in FIRST_OF_NUMBER:
            return at
        match = NUMBERS.match(self.text, at, at + self.max_window)
        assert match, "it matches an empty text"
        comma = self.text.rfind(b",", at, match.end())
        if comma < 0:
            return at
        return comma + 1 if _is_valid(b"[%b]" % self.text[at:comma]) else at

    def invalid(self, at: int) -> ValueError:
        """Return the error for a text that is not JSON, or not an object."""
        if len(self.text) <= MAX_DESCRIBED:
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
