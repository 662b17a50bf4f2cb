"""What is known of a JSON object after one pass over its text: its containers can be looked into."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import NamedTuple

from proxy.cooperative import Cooperative
from proxy.inference.request.json_pass import OPENING, JsonPass
from proxy.inference.request.json_patterns import ONE_ITEM, ONE_MEMBER
from proxy.inference.request.json_spans import TOO_MANY_VALUES, Span, decode_name, duplicate_field, without_surrogates
from proxy.inference.request.json_text import ITERATION

MAX_MEMBERS = 1000
"""Fields of one object that is looked into."""
MAX_NAME_LENGTH = 1000
"""Bytes of the name of such a field; guarded names are much shorter."""
_MAX_ITEMS = 100_000
"""Containers in one array that is looked into."""


class Member(NamedTuple):
    """A member of an object, with offsets in the text."""

    name: str
    name_start: int
    name_end: int
    start: int
    """Of the value."""
    end: int


class Outline(JsonPass):
    """A JSON object, which must be read before it is looked into."""

    def members(self, start: int) -> Cooperative[list[Member]]:
        """Return the members of the object that starts there.

        Raises ValueError: a name is duplicate, too long or not valid UTF-8, or there are too many.
        """
        found: dict[str, Member] = {}
        at = yield from self.blanks_end(start + 1)
        while not self.text.startswith(b"}", at):
            match = ONE_MEMBER.match(self.text, at, at + self.min_window)
            if match:
                (name_start, name_end), (value, end), at = match.span(1), match.span(2), match.end()
            else:
                name_start, name_end = at, (yield from self.scalar_end(at))
                value = yield from self.blanks_end(name_end)
                value = yield from self.blanks_end(value + 1)
                end = yield from self._value_end(value)
                at = yield from self._after_comma(end)
            name = self._decoded(name_start, name_end)
            if name in found:
                raise duplicate_field(name)
            found[name] = Member(name, name_start, name_end, value, end)
            if len(found) > MAX_MEMBERS:
                raise ValueError(f"contains more than {MAX_MEMBERS} fields")
            if self.spend(ITERATION):
                yield
            if at - name_start >= self.min_window:
                at = yield from self.blanks_end(at)
        return [*found.values()]

    def values_of(self, start: int) -> Cooperative[Mapping[str, Span]]:
        """Return the spans of the values of the object that starts there, by name. Raises ValueError as `members`."""
        members = yield from self.members(start)
        return {member.name: (member.start, member.end) for member in members}

    def _after_comma(self, at: int) -> Cooperative[int]:
        """Return where the next member starts after the end of a value, or the end of the container."""
        at = yield from self.blanks_end(at)
        if self.text.startswith(b",", at):
            at = yield from self.blanks_end(at + 1)
        return at

    def _value_end(self, at: int) -> Cooperative[int]:
        if self.text.startswith(OPENING, at):
            return self.end_of(at)
        return (yield from self.scalar_end(at))

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
        at = yield from self.blanks_end(start + 1)
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
        at = yield from self.blanks_end(start + 1)
        while not self.text.startswith(b"]", at):
            if len(found) >= limit:
                raise ValueError(TOO_MANY_VALUES)
            end = yield from self._value_end(at)
            found.append((at, end))
            if self.spend(ITERATION):
                yield
            at = yield from self._after_comma(end)
        return found

    def _next_item(self, at: int) -> Cooperative[int]:
        """Return where the next item starts, or the end of the array. Of numbers, many are skipped."""
        if (after := self.numbers_end(at)) > at:
            if self.spend(self.max_window):
                yield
            return (yield from self.blanks_end(after))
        if self.spend(ITERATION):
            yield
        match = ONE_ITEM.match(self.text, at, at + self.min_window)
        if match and match.end() < at + self.min_window:
            return match.end()
        end = yield from self._value_end(at)
        return (yield from self._after_comma(end))
