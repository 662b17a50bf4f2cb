"""Replace the model id in an event stream (text/event-stream), line by line, and count its tokens."""

from __future__ import annotations

import re

import msgspec

from proxy.decoding import MANY_VALUES, count_values
from proxy.inference.response.error_texts import ErrorTexts
from proxy.inference.response.events import (
    BLANK_LINES,
    OBJECT_LINE,
    event_objects,
    has_blank_line,
    open_event,
)
from proxy.inference.response.fields import COMMON, ResponseFields
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.long_errors import REPLACEMENT, LongError, is_error
from proxy.inference.response.observer import Observer
from proxy.inference.response.rename import model_span
from proxy.inference.response.stream_end import StreamEnd
from proxy.inference.response.tokens import WRAPPERS, reported_tokens
from proxy.telemetry import Tokens

_MAX_LINE = 16 * 1024
"""Bytes; longer lines are sent before their end has arrived, and objects in more lines are not renamed."""
_MAX_READ = 1024 * 1024
"""Bytes of such a line that are kept until its end, to read the ids in it and whether it ends the stream."""
_NAME = re.compile(rb"event:[ \t]*([^\r\n]*)")
_LINE_END = re.compile(rb"\r\n|\r|\n")


class EventStreamRenamer:
    """Renames the model in the events of a stream, counts the tokens that they report, and recognizes its end."""

    def __init__(
        self,
        own_id: str | None,
        public_id: str,
        observer: Observer | None = None,
        error_texts: ErrorTexts | None = None,
        fields: ResponseFields = COMMON,
    ) -> None:
        """`observer` is called before what it reads is returned. `error_texts` redacts errors if `own_id` is None."""
        self.tokens = Tokens()
        self.end = StreamEnd()
        self._observer = observer
        self._observe = observer.read_lines if observer else None
        self._error_texts = error_texts
        self._own_id, self._public_id = own_id, public_id
        self._renames = own_id != public_id
        self._fields = fields
        self._lines = _LineRenamer(own_id, public_id, fields)
        self._unfinished = bytearray()  # the beginning of the last line
        self._counted = self._values = 0  # bytes of it, and values in them
        self._open = bytearray()  # whole lines of the last event, if they need its next lines
        self._long_line: JsonStreamRenamer | LongError | None = None  # the last line, if it is too long to be held
        self._long_name = ""  # of the event with this line
        self._long_text = bytearray()  # the event up to this line; only its beginning if it is too long to be read
        self._long_values = self._long_size = 0  # JSON values in the event, and its size in bytes
        self._last_sent = b"\n\n"  # at least the last four bytes

    @property
    def between_events(self) -> bool:
        """Whether the bytes sent so far end with a complete event, so that another event can follow."""
        return self._last_sent.endswith(BLANK_LINES)

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to send after this chunk has arrived: the chunk itself if no model is renamed."""
        out = self._read(chunk)
        return self._sent(out if self._renames else chunk)

    def rest(self) -> bytes:
        """Return the bytes still held when the stream has ended."""
        if self._long_line:
            out = self._long_line.rest()
            self.tokens = self.tokens.merge(self._long_line.tokens)
        else:
            lines = bytes(self._open + self._unfinished)
            self._open.clear()
            self._unfinished.clear()
            self._counted = self._values = 0
            out = self._read_lines(lines)
        return self._sent(out) if self._renames else b""

    def _read(self, chunk: bytes) -> bytes:
        """Read a chunk. Return the renamed bytes; they are incomplete if nothing has to be renamed."""
        if self._long_line:
            return self._continue_long_line(self._long_line, chunk)
        lines = self._whole_lines(chunk) if self._unfinished or not chunk.endswith(b"\n") else chunk
        if lines and (self._open or not lines.endswith(BLANK_LINES)):
            lines = self._without_open_event(lines)
        out = self._read_lines(lines) if lines else b""
        return out + self._begin_long_line() if self._is_too_long() else out

    def _is_too_long(self) -> bool:
        """Whether the unfinished line is not held. Lines with errors to redact are, unless they have many values."""
        size = len(self._unfinished)
        if size <= _MAX_LINE:
            return False
        if self._error_texts is None or size > _MAX_READ:
            return True
        self._values += count_values(self._unfinished[self._counted :])
        self._counted = size
        return self._values > MANY_VALUES

    def _read_lines(self, lines: bytes) -> bytes:
        """Read whole lines, in which every object is whole, and return them renamed."""
        self.end.read(lines)
        if self._observe:
            self._observe(lines)
        if self._fields.usage_mark in lines and self._fields.has_usage.search(lines):
            self.tokens = self.tokens.merge(_reported_tokens(lines, self._fields))
        if self._error_texts:
            lines = self._error_texts.redacted_events(lines)
        return self._lines.renamed(lines) if self._renames else b""

    def _whole_lines(self, chunk: bytes) -> bytes:
        """Return the lines that end in this chunk, and keep the beginning of the next one."""
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not end:
            self._unfinished += chunk
            return b""
        lines = bytes(self._unfinished) + chunk[:end]
        self._unfinished = bytearray(chunk[end:])
        self._counted = self._values = 0
        return lines

    def _without_open_event(self, lines: bytes) -> bytes:
        """Return the lines that can be read, and keep an event of which an object or only the name has arrived."""
        if self._open:
            seen = len(self._open)
            self._open += lines
            if len(self._open) <= _MAX_LINE and not has_blank_line(self._open, seen):
                return b""
            lines = bytes(self._open)
            self._open.clear()
        if len(lines) <= _MAX_LINE:
            start = open_event(lines)
            self._open += lines[start:]
            lines = lines[:start]
        return lines

    def _begin_long_line(self) -> bytes:
        """Send the unfinished line, and its rest as it arrives."""
        out = self._read_lines(bytes(self._open))
        name = _NAME.search(self._open)
        self._long_name = name[1].decode("utf-8", "replace") if name else ""
        line = bytes(self._unfinished)
        self._long_text, self._long_values, self._long_size = bytearray(), 0, 0
        self._keep_long_text(self._open + line)
        self._open = bytearray()
        self._unfinished.clear()
        self._counted = self._values = 0
        data = OBJECT_LINE.match(line)
        start = data.end() if data else 0
        if self._error_texts and is_error(self._long_name, line[start:]):
            self._long_line = LongError()
            return out + (line[:start] if data else b"data: ") + REPLACEMENT
        # A line that is not an event is sent unchanged.
        self._long_line = JsonStreamRenamer(
            self._own_id if data else self._public_id,
            self._public_id,
            also_wrapped=self._fields is COMMON,
            fields=self._fields,
        )
        return out + line[:start] + self._long_line.feed(line[start:])

    def _continue_long_line(self, line: JsonStreamRenamer | LongError, chunk: bytes) -> bytes:
        line_end = _LINE_END.search(chunk)
        self._keep_long_text(chunk[: line_end.end()] if line_end else chunk)
        if line_end is None:
            return line.feed(chunk)
        out = line.feed(chunk[: line_end.start()]) + self._end_long_line(line)
        return out + line_end[0] + self._read(chunk[line_end.end() :])

    def _end_long_line(self, line: JsonStreamRenamer | LongError) -> bytes:
        self.tokens = self.tokens.merge(line.tokens)
        self.end.read_type(line.type)
        self.end.read_type(self._long_name)
        self._read_long_text(bytes(self._long_text))
        self._long_text = bytearray()
        self._long_line = None
        return line.rest()

    def _keep_long_text(self, part: bytes | bytearray) -> None:
        """Keep a part of a long line. If it is too long, or has too many values, to be read, keep its beginning."""
        self._long_size += len(part)
        if self._long_values > MANY_VALUES:
            return
        self._long_values += count_values(part)
        self._long_text += part
        if len(self._long_text) > _MAX_READ:
            self._long_values = MANY_VALUES + 1
        if self._long_values > MANY_VALUES:
            del self._long_text[_MAX_LINE:]

    def _read_long_text(self, lines: bytes) -> None:
        if self._long_values <= MANY_VALUES:
            self.end.read(lines)
            if self._observe:
                self._observe(lines)
        elif self._observer and b"{" in lines:
            self._observer.read_long(lines, self._long_size)

    def _sent(self, out: bytes) -> bytes:
        if out:
            self._last_sent = out if len(out) > 3 else self._last_sent[-4:] + out
        return out


class _LineRenamer:
    """Renames the model in whole lines of an event stream.

    Nearly all events of a stream begin with the same bytes, up to the end of `model`: in later events these are
    replaced without decoding; or kept, if it is another model, such as one with a date. They cannot occur within a
    string, because they contain unescaped quotes.
    """

    def __init__(self, own_id: str | None, public_id: str, fields: ResponseFields) -> None:
        self._own_id, self._public_id = own_id, msgspec.json.encode(public_id)
        self._model, self._name = fields.model, fields.model_name
        self._prefix = self._renamed_prefix = b""

    def renamed(self, lines: bytes) -> bytes:
        """Return the lines with the public id."""
        if not self._prefix and (first := lines.find(self._name)) >= 0:
            # Decode the first event with a model; the others usually have the same prefix.
            end = lines.find(b"\n\n", first)
            end = (end if end >= 0 else lines.find(b"\n\r\n", first)) + 1 or len(lines)
            return self._rename_objects(lines[:end]) + self._rename_by_prefix(lines[end:])
        return self._rename_by_prefix(lines)

    def _rename_by_prefix(self, lines: bytes) -> bytes:
        names = lines.count(self._name)
        if names and self._prefix and lines.count(self._prefix) == names:
            return lines.replace(self._prefix, self._renamed_prefix)
        # An escape can hide a name.
        return self._rename_objects(lines) if names or rb"\u" in lines else lines

    def _rename_objects(self, lines: bytes) -> bytes:
        out: list[bytes] = []
        sent = 0
        for event in event_objects(lines):
            span = model_span(event.text, event.members, self._own_id, WRAPPERS, self._model)
            if span is None:
                if event.line is not None and (other := event.members.get(self._model)):
                    self._prefix = self._renamed_prefix = lines[event.line : event.start + other[1]]
                continue
            start, end = event.start + span[0], event.start + span[1]
            out += (lines[sent:start], self._public_id)
            sent = end
            if event.line is not None:
                self._prefix, self._renamed_prefix = (
                    lines[event.line : end],
                    lines[event.line : start] + self._public_id,
                )
        return b"".join((*out, lines[sent:]))


def _reported_tokens(lines: bytes, fields: ResponseFields) -> Tokens:
    """Return the tokens that events report."""
    tokens = Tokens()
    for event in event_objects(lines, fields.usage_mark):
        tokens = tokens.merge(reported_tokens(event.text, event.members, fields))
    return tokens
