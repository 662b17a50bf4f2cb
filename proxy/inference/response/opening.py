"""Read the beginning of an event stream, up to the first event with output. Pure.

Until that event another provider can be tried, so the status line and the events before it are held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from proxy.decoding import decode_or_none
from proxy.inference.error_signs import is_error
from proxy.inference.response.content import BOM

MAX_HELD = 64 * 1024
"""Bytes of events that are held."""
_LEAD_INS = frozenset({"response.created", "response.queued", "response.in_progress", "message_start", "ping"})
"""Types of events without output at the beginning of a stream."""
_ERRORS = frozenset({"error", "response.failed"})
_Kind = Literal["lead_in", "output", "error"]


class Opening:
    """The events of a stream that are held."""

    def __init__(self, kind: _Kind = "lead_in") -> None:
        """`kind`: `output` if nothing is held."""
        self.kind = kind
        """What has arrived so far. Nothing is read after `output` and `error`."""
        self.error = b""
        """The data of the event that is an error."""
        self._held = bytearray()
        self._unfinished = b""  # the beginning of the last line
        self._name = b""  # of the event that has begun
        self._is_in_event = False

    @property
    def held(self) -> bytes:
        """The bytes that were not sent."""
        return bytes(self._held) + self._unfinished

    def release(self) -> bytes:
        """Return the bytes that were not sent: now they are."""
        self.kind = "output"
        return self.held

    def feed(self, piece: bytes) -> bytes:
        """Read a piece. Returns the comments between events in it, and blank lines: they are sent at once."""
        comments = b""
        *lines, self._unfinished = (self._unfinished + piece).splitlines(keepends=True) or [b""]
        if self._unfinished.endswith((b"\n", b"\r")):
            lines.append(self._unfinished)
            self._unfinished = b""
        for index, line in enumerate(lines):
            if self.kind != "lead_in":
                self._held += b"".join(lines[index:])
                break
            text = line.removeprefix(BOM).strip()
            is_ignored = not text or text.startswith(b":")
            if is_ignored and not self._is_in_event:
                comments += line
                continue
            self._held += line
            if not is_ignored:
                self._judge(text)
            self._is_in_event = bool(text)
        if self.kind == "lead_in" and len(self._held) + len(self._unfinished) > MAX_HELD:
            self.kind = "output"
        return comments

    def end(self) -> None:
        """Read the last line of the stream, which has no line end."""
        if self.kind == "lead_in" and (text := self._unfinished.removeprefix(BOM).strip()):
            self._judge(text)

    def _judge(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if not self._is_in_event:
            self._name = b""
        if field == b"event":
            self._name = value.strip()
        elif field not in (b"id", b"retry"):
            data = value.strip() if field == b"data" else line
            self.kind = _kind(self._name.decode("utf-8", "replace"), data)
            self.error = data if self.kind == "error" else b""


def _kind(name: str, data: bytes) -> _Kind:
    if data in (b"", b"[DONE]"):
        return "lead_in"
    payload = decode_or_none(data)
    if not isinstance(payload, dict):
        return "error" if name == "error" else "output"
    types = {name, str(payload.get("type"))}
    choices = payload.get("choices")
    batch = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if any(map(_has_output, batch)):
        return "output"
    if not _ERRORS.isdisjoint(types) or payload.get("error") or is_error(payload):
        return "error"
    is_first_chunk = isinstance(choices, list) and not payload.get("usage")
    is_finished = any(choice.get("finish_reason") for choice in batch)
    return "lead_in" if not _LEAD_INS.isdisjoint(types) or (is_first_chunk and not is_finished) else "output"


def _has_output(choice: Mapping[str, Any]) -> bool:
    """Whether a choice contains more than the role of the message."""
    delta = choice.get("delta")
    members = delta if isinstance(delta, dict) else {}
    return bool(choice.get("text")) or any(value for name, value in members.items() if name != "role")
