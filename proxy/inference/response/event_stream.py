"""Replace the model id in an event stream (text/event-stream), line by line, and count its tokens."""

from __future__ import annotations

import re

import msgspec

from proxy.inference.request.json_spans import member_spans_or_empty
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.rename import model_span
from proxy.inference.response.tokens import WRAPPERS, reported_tokens
from proxy.telemetry import Tokens

_MAX_LINE = 1024 * 1024
"""Bytes; longer lines are sent before their end has arrived."""
_DATA = re.compile(rb"data:[ \t]*(?=\{)")
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_LINE_END = re.compile(rb"\r\n|\r|\n")


class EventStreamRenamer:
    """Renames the model in the events of a stream, and counts the tokens that they report."""

    def __init__(self, own_id: str, public_id: str) -> None:
        self.tokens = Tokens()
        self._own_id, self._public_id = own_id, public_id
        self._renames = own_id != public_id
        self._lines = _LineRenamer(own_id, public_id)
        self._unfinished = bytearray()  # the beginning of the last line
        self._long_line: JsonStreamRenamer | None = None  # the last line, if it is too long to be held
        self._last_sent = b"\n\n"  # at least the last four bytes

    @property
    def between_events(self) -> bool:
        """Whether the bytes sent so far end with a complete event, so that another event can follow."""
        return self._last_sent.endswith((b"\n\n", b"\n\r\n", b"\r\r"))

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to send after this chunk has arrived: the chunk itself if no model is renamed."""
        out = self._read(chunk)
        return self._sent(out if self._renames else chunk)

    def rest(self) -> bytes:
        """Return the bytes still held when the stream has ended."""
        if self._long_line:
            out = self._end_long_line(self._long_line)
        else:
            line = bytes(self._unfinished)
            self._unfinished.clear()
            self._count(line)
            out = self._lines.renamed(line)
        return self._sent(out) if self._renames else b""

    def _read(self, chunk: bytes) -> bytes:
        """Count the tokens in a chunk. Return the renamed bytes; they are incomplete if nothing has to be renamed."""
        if self._long_line:
            return self._continue_long_line(self._long_line, chunk)
        lines = self._whole_lines(chunk) if self._unfinished or not chunk.endswith(b"\n") else chunk
        if b'"usage"' in lines:
            self._count(lines)
        out = self._lines.renamed(lines) if self._renames else b""
        return out + self._begin_long_line() if len(self._unfinished) > _MAX_LINE else out

    def _count(self, lines: bytes) -> None:
        if _USAGE.search(lines):
            self.tokens = self.tokens.merge(_line_tokens(lines))

    def _whole_lines(self, chunk: bytes) -> bytes:
        """Return the lines that end in this chunk, and keep the beginning of the next one."""
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not end:
            self._unfinished += chunk
            return b""
        lines = bytes(self._unfinished) + chunk[:end]
        self._unfinished = bytearray(chunk[end:])
        return lines

    def _begin_long_line(self) -> bytes:
        """Send the unfinished line, and its rest as it arrives."""
        line = bytes(self._unfinished)
        self._unfinished.clear()
        data = _DATA.match(line)
        start = data.end() if data else 0
        # A line that is not an event is sent unchanged.
        self._long_line = JsonStreamRenamer(self._own_id, self._public_id if data else self._own_id, also_wrapped=True)
        return line[:start] + self._long_line.feed(line[start:])

    def _continue_long_line(self, line: JsonStreamRenamer, chunk: bytes) -> bytes:
        line_end = _LINE_END.search(chunk)
        if line_end is None:
            return line.feed(chunk)
        out = line.feed(chunk[: line_end.start()]) + self._end_long_line(line)
        return out + line_end[0] + self._read(chunk[line_end.end() :])

    def _end_long_line(self, line: JsonStreamRenamer) -> bytes:
        self.tokens = self.tokens.merge(line.tokens)
        self._long_line = None
        return line.rest()

    def _sent(self, out: bytes) -> bytes:
        if out:
            self._last_sent = out if len(out) > 3 else self._last_sent[-4:] + out
        return out


class _LineRenamer:
    """Renames the model in whole lines of an event stream.

    Nearly all events of a stream begin with the same bytes, up to the end of `model`: in later events these are
    replaced without decoding. They cannot occur within a string, because they contain unescaped quotes.
    """

    def __init__(self, own_id: str, public_id: str) -> None:
        self._own_id, self._public_id = own_id, msgspec.json.encode(public_id)
        self._prefix = self._renamed_prefix = b""

    def renamed(self, lines: bytes) -> bytes:
        """Return the lines with the public id."""
        if self._prefix or b'"model"' not in lines:
            return self._rename_by_prefix(lines)
        # Decode the first event with a model; the others usually have the same prefix.
        end = lines.find(b"\n", lines.find(b'"model"')) + 1 or len(lines)
        return self._rename_by_line(lines[:end]) + self._rename_by_prefix(lines[end:])

    def _rename_by_prefix(self, lines: bytes) -> bytes:
        names = lines.count(b'"model"')
        if names and self._prefix and lines.count(self._prefix) == names:
            return lines.replace(self._prefix, self._renamed_prefix)
        # An escape can hide a name.
        return self._rename_by_line(lines) if names or rb"\u" in lines else lines

    def _rename_by_line(self, lines: bytes) -> bytes:
        return b"".join(map(self._rename_line, lines.splitlines(keepends=True)))

    def _rename_line(self, line: bytes) -> bytes:
        data = _DATA.match(line)
        if data is None:
            return line
        event = line[data.end() :].rstrip(b"\r\n")
        span = model_span(event, member_spans_or_empty(event), self._own_id, WRAPPERS)
        if span is None:
            return line
        start, end = data.end() + span[0], data.end() + span[1]
        self._prefix, self._renamed_prefix = line[:end], line[:start] + self._public_id
        return self._renamed_prefix + line[end:]


def _line_tokens(lines: bytes) -> Tokens:
    """Return the tokens that events report."""
    tokens = Tokens()
    for line in lines.splitlines():
        data = _DATA.match(line)
        if data and b'"usage"' in line:
            event = line[data.end() :]
            tokens = tokens.merge(reported_tokens(event, member_spans_or_empty(event)))
    return tokens
