"""The Vercel AI SDK with `@ai-sdk/openai-compatible`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from tests import npm
from tests.clients.running import KEY, PREFIX, setup
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, Script, replies

MODEL = "lab-chat"
OWN = f"{PREFIX}{MODEL}"


def printed(packages: Path, home: Path, script: Script, part: str) -> Any:
    """What one part of the script prints."""
    with setup(home, script, MODEL) as proxy:
        variables = {"BASE_URL": f"{proxy.url}/v1", "KEY": KEY, "MODEL": MODEL}
        return json.loads(proxy.output(str(npm.NODE), str(packages / "ai_sdk.mjs"), part, **variables))


def test_a_text_is_generated(packages: Path, tmp_path: Path) -> None:
    assert printed(packages, tmp_path, replies(completion(OWN)), "text") == {
        "text": "hello",
        "model": MODEL,
        "tokens": 8,
    }


def test_a_text_is_streamed(packages: Path, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    last = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": OWN, "choices": [], "usage": usage}
    script = streams(
        chunk_event(OWN, "one"), chunk_event(OWN, "two"), b"data: %b\n\n" % msgspec.json.encode(last), DONE
    )
    assert printed(packages, tmp_path, script, "stream") == {"parts": ["one", "two"], "model": MODEL, "tokens": 8}


def _tool_call() -> dict[str, Any]:
    """A chat completion that calls the tool of the script."""
    call = {"name": "weather", "arguments": '{"city": "Oslo", "model": "any"}'}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": call}]}
    return {**completion(OWN), "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}


async def _weather(exchange: Exchange) -> None:
    """Call the tool, then return its result."""
    results = [message["content"] for message in exchange.request.json["messages"] if message["role"] == "tool"]
    await replies(completion(OWN, results[0]) if results else _tool_call())(exchange)


def test_a_tool_is_called_and_its_result_is_used(packages: Path, tmp_path: Path) -> None:
    assert printed(packages, tmp_path, _weather, "tools") == {"text": "sunny in Oslo", "steps": 2}
