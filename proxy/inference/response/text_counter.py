"""Count the characters of the texts in a stream whose provider reports no tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

from proxy.decoding import decode_or_none, has_many_values
from proxy.inference.request.json_spans import without_surrogates
from proxy.inference.response.events import event_objects

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


class TextCounter:
    """Counts the characters of text deltas: of chat completions, completions, responses and messages."""

    def __init__(self) -> None:
        self.characters = 0

    def read_lines(self, lines: bytes) -> None:
        """Read whole lines of a stream, in which every object is whole."""
        for event in event_objects(lines):
            if isinstance(value := _decoded(event.text), dict):
                self.characters += sum(_length_of(part, 0) for part in _deltas_of(value))
            else:
                self.read_long(event.text, len(event.text))

    def read_long(self, beginning: bytes, size: int) -> None:
        """Count all bytes of an event that is not decoded, unless its beginning shows that it has no text."""
        if not _WITHOUT_TEXT.search(beginning, 0, _BEGINNING):
            self.characters += size


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
