"""Responses and event streams, and what a renamer returns for them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.telemetry import Tokens

OWN, PUBLIC = "gpt-4o", "openai/gpt-4o"


def event(data: str, end: str = "\n") -> bytes:
    return f"data: {data}{end}{end}".encode()


def chunk(content: str, model: str = OWN) -> str:
    """A chunk of a chat completion, as OpenAI sends it."""
    return json.dumps({"id": "chatcmpl-1", "created": 1, "model": model, "choices": [{"delta": {"content": content}}]})


def rename_stream(pieces: Sequence[bytes], own: str | None = OWN, public: str = PUBLIC) -> tuple[bytes, Tokens]:
    events = EventStreamRenamer(own, public)
    out = b"".join([*map(events.feed, pieces), events.rest()])
    return out, events.tokens


IDS = [
    ("a/b", "a\\/b", "x"),
    ("a/b", "a/b", 'q"u\\o\nte'),
    ("模型", "\\u6a21\\u578b", "x/模型😀"),
    ("模型", "模型", "模型"),
]
"""The provider's id, how it is encoded, and the requested id."""

UNCHANGED = [
    '{"model":"gpt-4o-2024-08-06"}',
    '{"model":"GPT-4o"}',
    '{"model":null}',
    '{"model":["gpt-4o"]}',
    '{"Model":"gpt-4o"}',
    '{"choices":[{"message":{"content":"{\\"model\\":\\"gpt-4o\\"}"}}]}',
    '{"choices":[{"model":"gpt-4o"}]}',
    '{"output":{"model":"gpt-4o"}}',
    '{"model":"gpt-4o","model":"gpt-4o"}',
    '[{"model":"gpt-4o"}]',
    '{"model":"gpt-4o"',
    "gpt-4o",
    "",
    "[" * 100_000,
]
"""Responses, or data of events, in which no model is renamed."""
