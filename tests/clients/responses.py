"""A provider of the Responses API whose output depends on the input of the request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tests.providers.calls import streams
from tests.providers.scripted import Exchange, Script

Item = Mapping[str, Any]
Turn = Callable[[Sequence[Item]], Item]
"""From the input of a request to the next item of the output."""


def message(text: str) -> Item:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def call(number: int, name: str, arguments: object, **fields: str) -> Item:
    """A call of a tool of the client."""
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": json.dumps(arguments),
        "status": "completed",
        **fields,
    }


def outputs(items: Sequence[Item]) -> Sequence[str]:
    """The results of the tools called so far."""
    return [json.dumps(item["output"]) for item in items if item["type"] == "function_call_output"]


def responds(turn: Turn) -> Script:
    """Stream the next item of the session."""

    async def script(exchange: Exchange) -> None:
        body = exchange.request.json
        await streams(*stream_of(body["model"], [turn(body["input"])]))(exchange)

    return script


def stream_of(model: str, output: Sequence[Item], response_id: str = "resp_1") -> Sequence[bytes]:
    """The events of a response."""
    started = response_with(model, [], "in_progress", response_id)
    whole = response_with(model, output, "completed", response_id)
    events: list[tuple[str, Mapping[str, Any]]] = [("response.created", {"response": started})]
    for index, item in enumerate(output):
        events.append(("response.output_item.added", {"output_index": index, "item": item}))
        for part in item.get("content", ()):
            where = {"item_id": item["id"], "output_index": index, "content_index": 0}
            events.append(("response.output_text.delta", {**where, "delta": part["text"]}))
        events.append(("response.output_item.done", {"output_index": index, "item": item}))
    events.append(("response.completed", {"response": whole}))
    return [_event(name, sequence_number=number, **fields) for number, (name, fields) in enumerate(events)]


def response_with(model: str, output: Sequence[Item], status: str, response_id: str = "resp_1") -> Item:
    """A response with this output."""
    usage = {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    return {
        "id": response_id,
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": status,
        "output": output,
        "usage": usage,
    }


def _event(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode({"type": name, **fields}) + b"\n\n"
