"""The characters of texts in streams."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.inference.response.text_counter import TextCounter


def counted(*events: Any) -> int:
    counter = TextCounter()
    for event in events:
        data = event if isinstance(event, bytes) else msgspec.json.encode(event)
        counter.read_lines(b"data: %b\n\n" % data)
    return counter.characters


@pytest.mark.parametrize(
    ("event", "characters"),
    [
        ({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "häé"}}]}, 3),
        ({"choices": [{"delta": {"content": None, "reasoning_content": "1234"}}, {"delta": {"content": "5"}}]}, 5),
        ({"choices": [{"delta": {"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}]}}]}, 2),
        ({"choices": [{"text": "12", "finish_reason": "stop"}]}, 2),
        ({"type": "response.output_text.delta", "item_id": "i", "delta": "123"}, 3),
        ({"type": "response.completed", "response": {"output": [{"content": [{"text": "123"}]}]}}, 0),
        ({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "1234"}}, 4),
        ({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}}, 2),
        ({"type": "message_start", "message": {"content": []}}, 0),
        ({"candidates": [{"content": {"role": "model", "parts": [{"text": "12"}, {"text": "3"}]}}]}, 3),
        ({"choices": "none", "candidates": [None], "delta": {"a": 1, "b": True}}, 0),
        (b"[DONE]", 0),
        (b"{broken", 0),
    ],
)
def test_new_text_is_counted_in_characters(event: Any, characters: int) -> None:
    assert counted(event) == characters


def test_events_are_added() -> None:
    event = {"choices": [{"delta": {"content": "1234"}}]}
    assert counted(event, event, b"[DONE]") == 8


def test_deep_values_end() -> None:
    value: Any = "text"
    for _ in range(30):
        value = [value]
    assert counted({"delta": value}) == 0
