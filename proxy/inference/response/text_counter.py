"""Count the characters of the texts in a stream whose provider reports no tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.decoding import decode_or_none, has_many_values
from proxy.inference.response.events import event_objects

_MAX_DEPTH = 8
_NOT_TEXT = frozenset(
    {"finish_reason", "format", "id", "index", "item_id", "name", "object", "role", "signature", "stop_reason", "type"}
)
"""Members of deltas that are no output."""


class TextCounter:
    """Counts the characters of text deltas: of chat completions, completions, responses and messages."""

    def __init__(self) -> None:
        self.characters = 0

    def read_lines(self, lines: bytes) -> None:
        """Read whole lines of a stream, in which every object is whole."""
        for event in event_objects(lines):
            if not has_many_values(event.text) and isinstance(value := decode_or_none(event.text), dict):
                self.characters += sum(_lengths_in(part, 0) for part in _deltas_of(value))


def _deltas_of(event: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the parts of an event that are new output."""
    yield event.get("delta")
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


def _lengths_in(value: Any, depth: int) -> int:
    if isinstance(value, str):
        return len(value)
    if depth == _MAX_DEPTH:
        return 0
    if isinstance(value, dict):
        return sum(_lengths_in(value[name], depth + 1) for name in value if name not in _NOT_TEXT)
    return sum(_lengths_in(item, depth + 1) for item in _list(value))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
