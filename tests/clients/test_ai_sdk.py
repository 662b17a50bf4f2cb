"""The Vercel AI SDK with `@ai-sdk/openai-compatible` and with `@ai-sdk/openai`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests import npm
from tests.clients.responses import Item, call, message, response_with, stream_of
from tests.clients.running import KEY, PREFIX, setup
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, Script, replies

MODEL = "lab-chat"
OWN = f"{PREFIX}{MODEL}"


def printed(packages: Path, home: Path, script: Script, part: str, model: str = MODEL) -> Any:
    """What one part of the script prints."""
    with setup(home, script, model) as proxy:
        variables = {"BASE_URL": f"{proxy.url}/v1", "KEY": KEY, "MODEL": model}
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


class StoringProvider:
    """A provider of the Responses API that stores items, and rejects references to others.

    A response has a reasoning item, and a call of the tool; after the call, the tool's result.
    """

    def __init__(self) -> None:
        self.stored: dict[str, Item] = {}
        self.referenced: list[str] = []
        self._numbers = count(1)

    async def __call__(self, exchange: Exchange) -> None:
        body = exchange.request.json
        ids = [item["id"] for item in body["input"] if item.get("type") == "item_reference"]
        if unknown := [each for each in ids if each not in self.stored]:
            missing = f"Item with id '{unknown[0]}' not found."
            await replies({"error": {"message": missing, "type": "invalid_request_error"}}, 404)(exchange)
            return
        self.referenced += ids
        output = self._output(body["input"][-1])
        self.stored.update({item["id"]: item for item in output})
        response_id = f"resp_{next(self._numbers)}"
        if body.get("stream"):
            await streams(*stream_of(body["model"], output, response_id))(exchange)
        else:
            await replies(response_with(body["model"], output, "completed", response_id))(exchange)

    def _output(self, last: Item) -> Sequence[Item]:
        number = next(self._numbers)
        reasoning: Item = {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": None}
        if last.get("type") == "function_call_output":
            return [reasoning, {**message(last["output"]), "id": f"msg_{number}"}]
        return [reasoning, call(number, "weather", {"city": "Oslo"})]


@pytest.mark.parametrize("part", ["responses", "streamed_responses"])
def test_a_session_with_stored_items_and_a_tool_works_with_the_defaults_of_the_responses_api(
    part: str, packages: Path, tmp_path: Path
) -> None:
    provider = StoringProvider()

    assert printed(packages, tmp_path, provider, part, model="gpt-5.2") == ["sunny in Oslo", "sunny in Oslo"]
    assert {each.partition("_")[0] for each in provider.referenced} == {"rs", "msg"}
