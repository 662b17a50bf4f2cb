"""Replace the provider's ids of a virtual model in errors within a response with status 2xx.

Texts of errors are the provider's. What the model has written, also about itself, stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from proxy.cooperative import Cooperative
from proxy.decoding import decode_or_none
from proxy.inference.error_redaction import Redaction
from proxy.inference.request.body import joined_in_steps
from proxy.inference.request.json_spans import (
    Span,
    item_spans,
    member_spans_or_empty,
    without_surrogates,
)
from proxy.inference.response.events import EventObject, event_objects
from proxy.inference.response.long_errors import REPLACEMENT
from proxy.inference.response.short_form import ShortForm
from proxy.inference.response.tokens import WRAPPERS

_MEMBERS = ("error", "errors")
_MAX_REDACTED = 16 * 1024
"""Bytes of the errors in an event or a response; longer ones are replaced, because each word is looked at."""
_TYPE = "error"
"""The type, or name, of an event that is nothing but an error."""
_PLAIN = re.compile(rb"((?:\A|[\r\n])event:[ \t]*error[ \t]*(?:\r\n|\r|\n)data:[ \t]*)(?!\{)([^\r\n\t ][^\r\n]*)")
"""An event that is an error and not an object."""


class ErrorTexts:
    """Redacts the errors in a response."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction

    def redacted_events(self, lines: bytes) -> bytes:
        """Return whole lines of a stream, in which every object is whole, with redacted errors."""
        if not _may_have_errors(lines):
            return lines
        spans = (
            (event.start + start, event.start + end, event.text[start:end])
            for event in event_objects(lines)
            for start, end in _errors_of_event(event)
        )
        return _PLAIN.sub(self._redacted_text, self._replaced(lines, spans))

    def redacted_json(self, body: bytes) -> bytes:
        """Return a complete JSON response with redacted errors."""
        if not _may_have_errors(body):
            return body
        spans = _errors(body, member_spans_or_empty(body))
        return self._replaced(body, ((start, end, body[start:end]) for start, end in spans))

    def redacted_long(self, json: bytes, short: ShortForm) -> Cooperative[bytes]:
        """Return a long JSON response with redacted errors, in short steps."""
        parts: list[bytes | memoryview] = []
        view, kept = memoryview(json), 0
        for start, end in _errors(short.text, member_spans_or_empty(short.text)):
            error = short.text[start:end]
            redacted = self._redacted(error)
            if redacted is None and short.is_cut(start, end):
                redacted = error
            if redacted is not None:
                parts += (view[kept : short.offset(start)], redacted)
                kept = short.offset(end)
            yield
        return (yield from joined_in_steps([*parts, view[kept:]])) if parts else json

    def _replaced(self, text: bytes, errors: Iterable[tuple[int, int, bytes]]) -> bytes:
        """`errors`: start, end and JSON of each."""
        out: list[bytes] = []
        sent = length = 0
        for start, end, error in errors:
            length += len(error)
            if (redacted := REPLACEMENT if length > _MAX_REDACTED else self._redacted(error)) is not None:
                out += [text[sent:start], redacted]
                sent = end
        return b"".join((*out, text[sent:])) if out else text

    def _redacted(self, error: bytes) -> bytes | None:
        """Return the JSON of an error, redacted; None if nothing in it is."""
        if len(error) > _MAX_REDACTED:
            return REPLACEMENT
        value = decode_or_none(without_surrogates(error))
        redacted = self._redaction.value(value)
        return None if redacted == value else msgspec.json.encode(redacted)

    def _redacted_text(self, match: re.Match[bytes]) -> bytes:
        if len(match[2]) > _MAX_REDACTED:
            return match[1] + REPLACEMENT
        text = match[2].decode("utf-8", "surrogateescape")
        return match[1] + self._redaction.text(text).encode("utf-8", "surrogateescape")


def _may_have_errors(text: bytes) -> bool:
    return b"error" in text or rb"\u" in text  # an escape can hide a name


def _errors_of_event(event: EventObject) -> Iterator[Span]:
    start, end = event.members.get("type", (0, 0))
    if event.name == _TYPE.encode() or decode_or_none(event.text[start:end]) == _TYPE:
        yield len(event.text) - len(event.text.lstrip()), len(event.text.rstrip())
    else:
        yield from _errors(event.text, event.members)


def _errors(text: bytes, members: Mapping[str, Span], at: int = 0) -> Iterator[Span]:
    """Yield the spans of the errors of an object, of what it wraps, and of its choices. `at`: is added to them."""
    for name, (start, end) in members.items():
        value = text[start:end]
        if name in _MEMBERS:
            yield at + start, at + end
        elif name in WRAPPERS:
            yield from _errors(value, member_spans_or_empty(value), at + start)
        elif name == "choices" and value.startswith(b"["):
            for first, last in item_spans(value):
                choice = value[first:last]
                yield from _errors(choice, member_spans_or_empty(choice), at + start + first)
