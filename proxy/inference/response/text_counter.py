"""Count the characters of the texts in a stream whose provider reports no tokens.

Most providers report them at the end, and reading events takes several times as long as relaying them. So events are
kept, and read only if that is necessary.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from proxy.decoding import decode_or_none, has_many_values
from proxy.inference.request.json_spans import without_surrogates
from proxy.inference.response.events import event_objects

_OBJECTS = re.compile(rb"^(?:\xef\xbb\xbf)?(?:data:)?[ \t]*(\{.*)", re.MULTILINE)
"""Matches a line with an object, or with its beginning."""
MAX_KEPT = 256 * 1024
"""Size of what is kept of one stream; earlier events are counted, because reading the rest must not take long."""
ALL_KEPT = 16 * 1024**2
"""The same of all streams. Beyond it, a stream is counted while it is relayed."""
_MAX_DEPTH = 20
_NOT_TEXT = frozenset(
    {
        "annotations", "citation", "citations", "container", "data", "encrypted_content", "expires_at",
        "extra_content", "fileData", "file_data", "finish_reason", "format", "id", "image_url", "images",
        "index", "inlineData", "inline_data", "item_id", "language", "logprobs", "mimeType", "mime_type",
        "name", "obfuscation", "object", "outcome", "provider_specific_fields", "role", "signature",
        "stop_details", "stop_reason", "stop_sequence", "thoughtSignature", "thought_signature", "type", "url",
    }
)  # fmt: skip
"""Members of deltas that are no output, or not text: ids, sources, signatures, and images and audio in Base64."""
_ARGUMENTS = frozenset({"args", "arguments"})
"""Members with tool-call arguments. As objects, they can have members with any name."""
_REASONING = frozenset({"reasoning", "reasoning_content", "reasoning_details", "thinking_blocks"})
"""Members with the same text: providers send several of them, for clients that read only one."""
_AUDIO = "audio.delta"
"""The end of the types of events whose delta is audio in Base64."""
_BEGINNING = 16 * 1024
_WITHOUT_TEXT = re.compile(
    rb'"type"\s*:\s*"(?:error|message_start|content_block_start'
    rb'|(?:response|image_generation|image_edit)\.[a-z0-9_.]*(?:(?<!delta)|(?<=audio\.delta)))"'
    rb'|"(?:audio|b64_json|image_url|images|inlineData|inline_data)"\s*:\s*\[?\s*[{"]'
    rb'|"context"\s*:\s*\[|\{\s*"error"\s*:\s*[{"]'
)
"""Matches in events without new text, with an image or audio, and with the tokens of a conversation (Ollama).

Does not match in a string: its quotes are escaped.
"""

_STEP = 8 * 1024  # bytes
_OF_OBJECT = 64
"""Bytes that each object counts for, in addition to its own: many tiny ones take more memory, and longer to read."""


class _Delta(Struct, gc=False, forbid_unknown_fields=True):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


class _Choice(Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None


class _Chunk(Struct, gc=False):
    """Most events of chat completions and completions. Cannot be decoded from other events with text."""

    choices: list[_Choice]
    delta: UnsetType = UNSET
    candidates: UnsetType = UNSET
    done: UnsetType = UNSET


_decode_chunks = msgspec.json.Decoder(list[_Chunk]).decode


class KeptEvents:
    """How much memory all streams together can still use for events that may have to be counted."""

    def __init__(self, left: int = ALL_KEPT) -> None:
        self.left = left
        """Bytes."""


class TextCounter:
    """Counts the characters of text deltas: of chat completions, completions, responses and messages.

    `close` must be called at the end.
    """

    def __init__(self, kept: KeptEvents) -> None:
        self._characters = 0
        self._all = kept
        self._kept: deque[bytes] = deque()
        self._taken = 0
        """Bytes of the memory of all streams."""
        self._room = 0
        """Bytes of them that are not used."""

    def read_lines(self, lines: bytes) -> None:
        """Take whole lines of a stream, in which every object is whole."""
        self._kept.append(lines)
        self._room -= _size_of(lines)
        if self._room < 0:
            self._make_room()

    def read_long(self, beginning: bytes, size: int) -> None:
        """Count all bytes of an event that is not decoded, unless its beginning shows that it has no text."""
        if not _WITHOUT_TEXT.search(beginning, 0, _BEGINNING):
            self._characters += size

    def count(self) -> int:
        """Return the characters of all events so far."""
        lines = b"\n".join(self._kept)  # items of an array have no line end
        self.close()
        self._count(lines)
        return self._characters

    def close(self) -> None:
        """Forget the events."""
        self._kept.clear()
        self._all.left += self._taken
        self._taken = self._room = 0

    def _make_room(self) -> None:
        """Take memory in steps; count events if there is none left."""
        while self._room < 0:
            if self._taken < MAX_KEPT and self._all.left >= _STEP:
                self._all.left -= _STEP
                self._taken += _STEP
                self._room += _STEP
            else:
                lines = self._kept.popleft()
                self._room += _size_of(lines)
                self._count(lines)

    def _count(self, lines: bytes) -> None:
        objects = _OBJECTS.findall(lines)
        if (length := _length_of_chunks(objects)) is not None:  # true for most streams
            self._characters += length
            return
        lengths = [_length_of_object(text) for text in objects]
        if None not in lengths:
            self._characters += sum(filter(None, lengths))
            return
        for event in event_objects(lines):  # an object can be split over several lines
            length = _length_of_object(event.text)
            if length is None:
                self.read_long(event.text, len(event.text))
            else:
                self._characters += length


def _size_of(lines: bytes) -> int:
    return len(lines) + _OF_OBJECT * (1 + lines.count(b"{"))


def _length_of_object(text: bytes) -> int | None:
    """Return the characters of the texts in an event, None if it is no object or takes long to decode."""
    if (length := _length_of_chunks([text])) is not None:
        return length
    value = _decoded(text)
    return sum(_length_of(part, 0) for part in _deltas_of(value)) if isinstance(value, dict) else None


def _length_of_chunks(objects: Sequence[bytes]) -> int | None:
    """Return the characters of the texts in events, in a fifth of the time; None if not all of them are chunks."""
    texts = b",".join(objects)
    if len(texts) > MAX_KEPT:
        return None
    try:
        chunks = _decode_chunks(b"[%b]" % texts)
    except (ValueError, RecursionError):
        return None
    length = 0
    for chunk in chunks:
        for choice in chunk.choices:
            if delta := choice.delta:
                if delta.content:
                    length += len(delta.content)
                if delta.reasoning_content:
                    length += len(delta.reasoning_content)
                if delta.refusal:
                    length += len(delta.refusal)
            if choice.text:
                length += len(choice.text)
    return length


def _decoded(event: bytes) -> Any:
    """Return the decoded event, None if that takes long or is not possible."""
    if has_many_values(event):
        return None
    value = decode_or_none(event)
    return decode_or_none(without_surrogates(event)) if value is None else value


def _deltas_of(event: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the parts of an event that are new output."""
    if "delta" in event and not str(event.get("type")).endswith(_AUDIO):
        yield event["delta"]
    for choice in _list(event.get("choices")):
        if isinstance(choice, dict):
            yield choice.get("delta")
            yield choice.get("text")
    for candidate in _list(event.get("candidates")):  # Gemini
        if isinstance(candidate, dict):
            yield candidate.get("content")
    if "done" in event:  # Ollama
        yield event.get("message")
        yield event.get("response")
        yield event.get("thinking")


def _length_of(value: Any, depth: int, not_text: Set[str] = _NOT_TEXT) -> int:
    """Return the characters of the texts in a value, without those of the members `not_text`."""
    if isinstance(value, str):
        return len(value)
    if depth == _MAX_DEPTH:
        return 0
    if isinstance(value, dict):
        return _length_of_members(value, depth + 1, not_text)
    return sum(_length_of(item, depth + 1, not_text) for item in _list(value))


def _length_of_members(value: Mapping[str, Any], depth: int, not_text: Set[str]) -> int:
    length = reasoning = 0
    for name, member in value.items():
        if name in _REASONING:
            reasoning = max(reasoning, _length_of(member, depth, not_text))
        elif name not in not_text:
            length += _length_of(member, depth, frozenset() if name in _ARGUMENTS else not_text)
    return length + reasoning


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
