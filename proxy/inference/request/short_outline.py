"""The outline of a short JSON text: it is decoded one level at a time, because that is fast for few values."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

from proxy.cooperative import Cooperative
from proxy.inference.request.json_outline import Outline
from proxy.inference.request.json_pass import OPENING
from proxy.inference.request.json_spans import TOO_MANY_VALUES, Span, item_spans, member_spans

_MAX_LENGTH = 512 * 1024
"""Bytes: one level is decoded in less than a millisecond."""
_MAX_VALUES = 10_000
"""Commas."""
_MAX_ESCAPED = 1000
"""Escaped characters that can hide names."""


def outline_of(text: bytes, *, has_one_model_only: bool) -> Outline:
    """Return the outline of a text, which must be read. `has_one_model_only`: as for `Marks.add_all`."""
    is_short = len(text) <= _MAX_LENGTH and text.count(b",") <= _MAX_VALUES and text.count(b"\\u00") <= _MAX_ESCAPED
    return ShortOutline(text, has_one_model_only=has_one_model_only) if is_short else Outline(text)


class ShortOutline(Outline):
    """What is known of a short JSON object. Only the containers in those that were looked into are known."""

    def __init__(self, text: bytes, *, has_one_model_only: bool = False) -> None:
        super().__init__(text)
        self._has_one_model_only = has_one_model_only
        self._outermost: Mapping[str, Span] = {}
        self._end_of: dict[int, int] = {}

    def read(self) -> Cooperative[None]:
        self._outermost = member_spans(self.text)
        self.start = self.text.index(b"{")
        self._record(self._outermost.values())
        if self.spend(len(self.text)):
            yield
        self.marks.add_all(self.text, has_one_model_only=self._has_one_model_only)
        if self.spend(len(self.text)):
            yield

    def end_of(self, start: int) -> int:
        return self._end_of[start]

    def values_of(self, start: int) -> Cooperative[Mapping[str, Span]]:
        if start == self.start:
            return self._outermost
        inner = self._container(start)
        if self.spend(len(inner)):
            yield
        values = {name: (start + first, start + last) for name, (first, last) in member_spans(inner).items()}
        self._record(values.values())
        return values

    def containers_in(self, start: int) -> Cooperative[array[int]]:
        items = yield from self.items_in(start, _MAX_VALUES + 1)
        return array("q", [first for first, _ in items if self.text.startswith(OPENING, first)])

    def items_in(self, start: int, limit: int) -> Cooperative[list[Span]]:
        inner = self._container(start)
        if self.spend(len(inner)):
            yield
        items = [(start + first, start + last) for first, last in item_spans(inner)]
        if len(items) > limit:
            raise ValueError(TOO_MANY_VALUES)
        self._record(items)
        return items

    def _container(self, start: int) -> bytes:
        return self.text[start : self._end_of[start]]

    def _record(self, spans: Iterable[Span]) -> None:
        self._end_of.update(span for span in spans if self.text.startswith(OPENING, span[0]))
