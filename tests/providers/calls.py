"""Responses of fake providers to calls."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.providers.scripted import Exchange, Script


def streams(*events: bytes, content_type: str = "text/event-stream") -> Script:
    """A stream of events, each in a separate chunk."""

    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type=content_type)
        for event in events:
            await exchange.chunk(event)
        await exchange.end()

    return script


def completion(model: str, text: str = "hello") -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


def chunk_event(model: str, text: str) -> bytes:
    """An event of a streamed chat completion."""
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    payload = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [delta]}
    return b"data: %b\n\n" % msgspec.json.encode(payload)


DONE = b"data: [DONE]\n\n"
