"""Rename the model in a stream of events, line by line."""

from __future__ import annotations

import re

import msgspec

from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.rename import _span_of_model
from proxy.inference.response.tokens import _WRAPPED, _members, _tokens
from proxy.telemetry import Tokens

_MAX_LINE = 1024 * 1024
"""Bytes; an unfinished line of a stream that is longer goes out as it comes."""
_DATA = re.compile(rb"data:[ \t]*(?=\{)")
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_LINE_END = re.compile(rb"\r\n|\r|\n")


class EventStreamRenamer:
    """A stream of events on its way (text/event-stream): renamed line by line, `usage` counted."""

    def __init__(self, own_id: str, public_id: str) -> None:
        self.tokens = Tokens()
        self._own_id, self._public_id = own_id, public_id
        self._renames = own_id != public_id
        # Nearly all events of a stream begin alike, up to their `model`. What was found out by reading one is so found
        # in the next ones without reading them. (No text of an event can hold it: it has bare quotes.)
        self._beginning = self._new_beginning = b""
        self._held = bytearray()  # of an unfinished line, what has come of it
        self._long: JsonStreamRenamer | None = (
            None  # the event of an unfinished line, where that is too long to be held
        )
        self._went_out = b"\n\n"  # at least its last four bytes

    @property
    def between_events(self) -> bool:
        """Whether what went out ends with a whole event: something of ours that follows is no part of it."""
        return self._went_out.endswith((b"\n\n", b"\n\r\n", b"\r\r"))

    def passed(self, chunk: bytes) -> bytes:
        """What goes out when this comes in. Without a new name that is the chunk itself."""
        out = self._looked_at(chunk)
        return self._out(out if self._renames else chunk)

    def _looked_at(self, chunk: bytes) -> bytes:
        if self._long:
            return self._of_long_line(self._long, chunk)
        whole = self._whole_lines(chunk) if self._held or not chunk.endswith(b"\n") else chunk
        if b'"usage"' in whole and _USAGE.search(whole):
            self._count(whole)
        out = self._renamed(whole) if self._renames else b""
        return out + self._begin_long_line() if len(self._held) > _MAX_LINE else out

    def rest(self) -> bytes:
        """What is still held when the stream has ended."""
        if self._long:
            rest = self._end_of_long_line(self._long)
        else:
            line = bytes(self._held)
            self._held.clear()
            self._count(line)
            rest = self._renamed(line)
        return self._out(rest) if self._renames else b""

    def _whole_lines(self, chunk: bytes) -> bytes:
        """What was held and has now an end; the beginning of the next line is held."""
        cut = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not cut:
            self._held += chunk
            return b""
        whole = bytes(self._held) + chunk[:cut]
        self._held = bytearray(chunk[cut:])
        return whole

    def _begin_long_line(self) -> bytes:
        """The line that is held becomes one that goes out as it comes."""
        line = bytes(self._held)
        self._held.clear()
        data = _DATA.match(line)
        begin = data.end() if data else 0
        # In a line that is no event nothing is replaced.
        self._long = JsonStreamRenamer(self._own_id, self._public_id if data else self._own_id, also_wrapped=True)
        return line[:begin] + self._long.passed(line[begin:])

    def _of_long_line(self, long: JsonStreamRenamer, chunk: bytes) -> bytes:
        ends = _LINE_END.search(chunk)
        if ends is None:
            return long.passed(chunk)
        out = long.passed(chunk[: ends.start()]) + self._end_of_long_line(long)
        return out + ends[0] + self._looked_at(chunk[ends.end() :])

    def _end_of_long_line(self, long: JsonStreamRenamer) -> bytes:
        self.tokens = self.tokens.and_then(long.tokens)
        self._long = None
        return long.rest()

    def _out(self, out: bytes) -> bytes:
        if out:
            self._went_out = out if len(out) > 3 else self._went_out[-4:] + out
        return out

    def _count(self, lines: bytes) -> None:
        for line in lines.splitlines():
            data = _DATA.match(line)
            if data and b'"usage"' in line:
                event = line[data.end() :]
                self.tokens = self.tokens.and_then(_tokens(event, _members(event)))

    def _renamed(self, lines: bytes) -> bytes:
        if not self._beginning and b'"model"' in lines:
            # The first event that says it, alone: then the others that came with it need not be read.
            first = lines.find(b"\n", lines.find(b'"model"')) + 1 or len(lines)
            return self._by_line(lines[:first]) + self._at_once(lines[first:])
        return self._at_once(lines)

    def _at_once(self, lines: bytes) -> bytes:
        mentioned = lines.count(b'"model"')
        if mentioned and self._beginning and lines.count(self._beginning) == mentioned:
            return lines.replace(self._beginning, self._new_beginning)
        # A name may be written in other ways.
        return self._by_line(lines) if mentioned or b"\\u" in lines else lines

    def _by_line(self, lines: bytes) -> bytes:
        return b"".join(map(self._renamed_line, lines.splitlines(keepends=True)))

    def _renamed_line(self, line: bytes) -> bytes:
        data = _DATA.match(line)
        if data is None:
            return line
        event = line[data.end() :].rstrip(b"\r\n")
        span = _span_of_model(event, _members(event), self._own_id, _WRAPPED)
        if span is None:
            return line
        start, end = data.end() + span[0], data.end() + span[1]
        self._beginning, self._new_beginning = line[:end], line[:start] + msgspec.json.encode(self._public_id)
        return self._new_beginning + line[end:]
