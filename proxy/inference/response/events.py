"""Find the JSON objects in the events of a stream, also those that are split over several `data` lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from proxy.decoding import is_unfinished
from proxy.inference.request.json_spans import Span, member_spans

OBJECT_LINE = re.compile(rb"(?:\xef\xbb\xbf)?(?:data:)?[ \t]*(?=\{)")
"""The beginning of a line with an object, up to the object.

A stream can begin with a byte order mark. Lines without `data:` occur where a provider sends JSON lines.
"""
_BOM = b"\xef\xbb\xbf"
_FIELD = re.compile(rb"(?:\xef\xbb\xbf)?(data|event):")
_EVENT = re.compile(rb"(?:[^\r\n]++(?:\r\n|[\r\n]|\Z))++")
BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")
"""With the end of the line before. They end an event."""


class EventObject(NamedTuple):
    """A JSON object in the data of an event."""

    name: bytes
    """The value of `event`, b"" without one."""
    line: int | None
    """Where the line with the object starts, None if the object is split over several lines."""
    start: int
    """Where `text` starts."""
    text: bytes
    """The object, with the length it has in the stream: where it is split, spaces replace what is not data."""
    members: Mapping[str, Span]
    """The spans of the members in `text`."""


def event_objects(lines: bytes, containing: bytes = b"") -> Iterator[EventObject]:
    """Yield the objects in whole lines of a stream, of those with these bytes."""
    start = lines.rfind(b"\n\n", 0, lines.find(containing)) + 1  # most often only the last event has them
    for event in _EVENT.finditer(lines, start):
        if containing in event[0]:
            yield from _objects_of(event[0], event.start(), containing)


def has_blank_line(lines: bytes | bytearray, start: int) -> bool:
    """Return whether a blank line ends after `start`."""
    return any(lines.find(blank, max(0, start - len(blank) + 1)) >= 0 for blank in BLANK_LINES)


def open_event(lines: bytes) -> int:
    """Return where an unfinished event starts whose object or name needs the next line; the length if there is none."""
    start = last_events(lines, 1)
    event = lines[start:].splitlines(keepends=True)
    fields = {field[1] for field in map(_FIELD.match, event) if field}
    if fields == {b"event"} or ((text := _joined(event).strip()) and is_unfinished(text)):
        return start
    return len(lines)


def last_events(lines: bytes, count: int) -> int:
    """Return where the last events start; what follows the last blank line counts as one."""
    start, end = 0, len(lines)
    for _ in range(count):
        end, size = max((lines.rfind(blank, 0, end), len(blank)) for blank in BLANK_LINES)
        if end < 0:
            return 0
        start = end + size
    return start


def next_event(lines: bytes, at: int) -> int:
    """Return where an event starts after a blank line at or after this offset; the length if there is none."""
    for blank in BLANK_LINES:
        if (found := lines.find(blank, at)) >= 0:
            return found + len(blank)
    return len(lines)


def _objects_of(event: bytes, at: int, containing: bytes) -> Iterator[EventObject]:
    """Yield the objects of an event: of each line, or, if no line is one, the object of all lines together.

    Several objects in an event occur where a provider sends no blank lines.
    """
    name = b""
    found, data_lines, start = False, 0, at
    lines = event.splitlines(keepends=True)
    for line in lines:
        field = _FIELD.match(line)
        if field and field[1] == b"event":
            name = line[field.end() :].strip()
        else:
            data_lines += field is not None
            prefix = OBJECT_LINE.match(line) if containing in line else None
            members = _members(text := line[prefix.end() :].rstrip()) if prefix else None
            if prefix and members is not None:
                found = True
                yield EventObject(name, start, start + prefix.end(), text, members)
        start += len(line)
    members = _members(text := _joined(lines)) if data_lines != 1 and not found else None
    if members is not None:
        yield EventObject(name, None, at, text, members)


def _joined(event: Sequence[bytes]) -> bytes:
    """Return the data of an event, with spaces instead of all other bytes.

    Lines that begin with an object but have no fields are JSON without events, and returned as they are.
    """
    if OBJECT_LINE.match(b"".join(event[:1])) and not any(map(_FIELD.match, event)):
        return b"".join(event).replace(_BOM, b" " * len(_BOM), 1)
    return b"".join(map(_only_data, event))


def _only_data(line: bytes) -> bytes:
    field = _FIELD.match(line)
    kept = field.end() if field and field[1] == b"data" else len(line)
    return b" " * kept + line[kept:]


def _members(text: bytes) -> Mapping[str, Span] | None:
    """Return the spans of the members, None if the text is not one valid object."""
    try:
        return member_spans(text)
    except ValueError:
        return None
