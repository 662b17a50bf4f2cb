"""Recognize that an event stream is complete by its last events, whatever its framing does afterwards."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from proxy.decoding import decode_or_none
from proxy.inference.response.events import EventObject, event_objects, last_events, next_event

LAST_TYPES = frozenset(
    {
        "message_stop", "response.completed", "response.failed", "response.incomplete", "response.cancelled",
        "response.done", "error", "speech.audio.done",
        "transcript.text.done", "image_generation.completed", "image_edit.completed",
    }
)  # fmt: skip
"""Types, or names, of events that end a stream."""

_LAST = re.compile(rb"(?:\A|[\r\n])(?:\xef\xbb\xbf)?(?:data:[ \t]*\[DONE\]|event:[ \t]*error[ \t]*(?:\r\n|\r|\n)data:)")
"""Last events without a JSON object."""
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d{1,15})\b')
_KEPT = 8
"""Pieces of a stream. After the event that ends a stream few follow: token counts and `[DONE]`."""
_MAX_PIECE = 8 * 1024
"""Bytes of a piece that is kept. Of a longer one only its last events are."""
_MAX_BLANK = 2
_COLON = ord(":")
_LONG_EVENTS = 2
"""Events that are read at the end of a piece whose last event is longer."""


class StreamEnd:
    """Keeps the last events of a stream, and decodes them only if its framing does not show whether it is complete."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque(maxlen=_KEPT)
        self._ended = False
        self._finished: set[str] = set()
        self._unfinished: set[str] = set()
        self._number = -1

    def read(self, lines: bytes) -> None:
        """Read whole lines of the stream. An event is never split over two calls."""
        if len(lines) > _MAX_PIECE:
            self._read_long(lines)
        elif len(lines) > _MAX_BLANK and lines[0] != _COLON:  # neither a blank line nor a comment
            self._pieces.append(lines)

    def read_type(self, event_type: str) -> None:
        """Read the type, or name, of an event that was too long for `read`."""
        self._read_pieces()
        self._ended |= event_type in LAST_TYPES

    @property
    def is_over(self) -> bool:
        """Whether the stream is complete: it had its last event, or every choice has finished."""
        self._read_pieces()
        return self._ended or (bool(self._finished) and not self._unfinished)

    @property
    def next_number(self) -> int:
        """The `sequence_number` of the event that would follow; 0 if no event had one."""
        self._read_pieces()
        return self._number + 1

    def _read_long(self, lines: bytes) -> None:
        last = lines[next_event(lines, len(lines) - _MAX_PIECE) :]
        if last:
            self._pieces.append(last)
        else:
            self._read_pieces()
            self._read_events(lines[last_events(lines, _LONG_EVENTS + 1) :])

    def _read_pieces(self) -> None:
        for piece in self._pieces:
            self._read_events(piece)
        self._pieces.clear()

    def _read_events(self, lines: bytes) -> None:
        self._ended |= _LAST.search(lines) is not None
        for number in _NUMBER.findall(lines):
            self._number = int(number)
        for event in event_objects(lines):
            self._ended |= _is_last(event)
            for choice, finished in _choices(event):
                self._unfinished.discard(choice)
                if finished:
                    self._finished.add(choice)
                elif choice not in self._finished:
                    self._unfinished.add(choice)


def _is_last(event: EventObject) -> bool:
    if event.name.decode("utf-8", "replace") in LAST_TYPES or _member(event, "error"):
        return True
    if _object(_member(event, "promptFeedback")).get("blockReason"):  # Gemini: nothing was generated
        return True
    event_type = _member(event, "type")
    return isinstance(event_type, str) and event_type in LAST_TYPES


def _choices(event: EventObject) -> Iterator[tuple[str, bool]]:
    """Yield the choices in an event by their index, and whether each is finished. Anthropic's API has only one.

    Gemini has candidates.
    """
    if "stop_reason" in (delta := _object(_member(event, "delta"))):
        yield "0", bool(delta["stop_reason"])
    choices = _member(event, "choices")
    for choice in map(_object, choices if isinstance(choices, list) else ()):
        yield str(choice.get("index") or 0), bool(choice.get("finish_reason"))
    candidates = _member(event, "candidates")
    for candidate in map(_object, candidates if isinstance(candidates, list) else ()):
        yield str(candidate.get("index") or 0), bool(candidate.get("finishReason"))


def _member(event: EventObject, name: str) -> Any:
    start, end = event.members.get(name, (0, 0))
    value = event.text[start:end]
    # Half of a surrogate pair, as programs send that truncate strings, is only accepted by `json`.
    return _decoded_leniently(value) if rb"\u" in value else decode_or_none(value)


def _decoded_leniently(value: bytes) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
