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
        item = turn(body["input"])
        whole = _response(body["model"], [item], "completed")
        started = {"sequence_number": 0, "response": _response(body["model"], [], "in_progress")}
        await streams(
            _event("response.created", **started),
            _event("response.output_item.done", sequence_number=1, output_index=0, item=item),
            _event("response.completed", sequence_number=2, response=whole),
        )(exchange)

    return script


def _response(model: str, output: Sequence[Item], status: str) -> Item:
    usage = {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": status,
        "output": output,
        "usage": usage,
    }


def _event(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode({"type": name, **fields}) + b"\n\n"
