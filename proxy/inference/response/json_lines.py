"""Replace the model id in JSON lines, and count their tokens."""

from __future__ import annotations

from proxy.decoding import decode_or_none
from proxy.inference.response.error_texts import ErrorTexts
from proxy.inference.response.fields import ResponseFields
from proxy.inference.response.observer import Observer
from proxy.inference.response.rename import rename_model
from proxy.telemetry import Tokens

_MAX_LINE = 4 * 1024**2
"""Bytes of a line that are held until its end; a longer one is sent unchanged."""
_BEGINNING = 16 * 1024
"""Bytes of a longer line that are observed."""
_DONE = b'"done"'


class JsonLinesRenamer:
    """Does what `rename_model` does, line by line. An incomplete line is held."""

    def __init__(
        self,
        own_id: str | None,
        public_id: str,
        fields: ResponseFields,
        error_texts: ErrorTexts | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`error_texts` redacts the errors in the lines, for an `own_id` that is None.

        `observer` is called with each line.
        """
        self.tokens = Tokens()
        self.is_complete = False
        """Whether the last line so far ends the stream."""
        self.renames = True
        self._own_id, self._public_id = own_id, public_id
        self._fields = fields
        self._error_texts = error_texts
        self._observer = observer
        self._held = bytearray()
        self._is_long = False  # the line that has begun is sent unchanged
        self._long_beginning, self._long_size = b"", 0  # of it, and the bytes that were sent

    @property
    def error_item(self) -> bytes | None:
        """The bytes before a further line; None if a part of a line was sent."""
        return None if self._is_long else b""

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes to send after this piece has arrived."""
        self._held += piece
        out = b""
        end = self._held.rfind(b"\n") + 1
        if end:
            lines = bytes(self._held[:end])
            del self._held[:end]
            out = self._renamed_lines(lines)
        if len(self._held) > _MAX_LINE and not self._is_long:
            self._is_long = True
            self._long_beginning, self._long_size = bytes(self._held[:_BEGINNING]), 0
        if self._is_long:
            out += bytes(self._held)
            self._long_size += len(self._held)
            self._held.clear()
        return out

    def rest(self) -> bytes:
        """Return the bytes still held when the response has ended."""
        return self._renamed_lines(bytes(self._held))

    def _renamed_lines(self, lines: bytes) -> bytes:
        first = b""
        if self._is_long:
            first, end, lines = lines.partition(b"\n")
            first += end
            self._is_long = False
            if self._observer:
                self._observer.read_long(self._long_beginning, self._long_size + len(first))
        return first + b"".join(map(self._renamed, lines.splitlines(keepends=True)))

    def _renamed(self, line: bytes) -> bytes:
        if self._observer:
            self._observer.read_lines(line)
        if self._error_texts:
            line = self._error_texts.redacted_json(line)
        if line.strip():
            self.is_complete = _DONE in line and _is_done(line)
        renamed, tokens = rename_model(line, self._own_id, self._public_id, self._fields)
        self.tokens = self.tokens.merge(tokens)
        return renamed


def _is_done(line: bytes) -> bool:
    value = decode_or_none(line)
    return isinstance(value, dict) and value.get("done") is True
