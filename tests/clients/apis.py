"""A proxy in front of one provider of each API, and what these providers respond."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests import processes
from tests.clients.running import KEY, UPSTREAM_KEY, Setup
from tests.fakes import digest
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProviders, Script, replies

GPT, EMBEDDING, CLAUDE, GEMINI, QWEN = "gpt-5", "text-embedding-3", "claude-opus-5", "gemini-3.8-flash", "qwen3:8b"
LISTED = sorted((GPT, EMBEDDING, CLAUDE, GEMINI, QWEN))

_encode = msgspec.json.encode
_CONFIG = """
providers:
  - {{name: openai, base_url: "{url}/openai/v1", api_key: {key}}}
  - {{name: anthropic, kind: anthropic, base_url: "{url}/anthropic/v1", api_key: {key}}}
  - {{name: google, kind: gemini, base_url: "{url}/gemini/v1beta", api_key: {key}}}
  - {{name: local, kind: ollama, base_url: "{url}/ollama"}}
keys:
  - {{name: alice, hash: "{hash}", models: ["*"]}}
"""


@contextmanager
def every_api(home: Path) -> Iterator[Setup]:
    """A proxy whose providers speak the APIs of OpenAI, Anthropic, Gemini and Ollama."""
    with FakeProviders() as upstreams:
        provider, egress = upstreams.open(_respond), upstreams.open(replies({}, 403))
        config = _CONFIG.format(url=provider.url, key=UPSTREAM_KEY, hash=digest(KEY))
        with processes.serving(home / "config.yaml", config) as process:
            yield Setup(process.url, provider, egress, home, process.err)
        assert not any(KEY.encode() in request.head + request.body for request in provider.requests)


async def _respond(exchange: Exchange) -> None:
    request = exchange.request
    _, api, *_ = request.path.split("/")
    if request.method == "GET":
        await replies(_LISTS[api])(exchange)
        return
    body: Mapping[str, Any] = request.json
    end = request.path.rpartition("/")[2].rpartition(":")[2]
    scripts = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini, "ollama": _ollama}
    await scripts[api](end, body)(exchange)


_LISTS: Mapping[str, object] = {
    "openai": {"object": "list", "data": [{"id": GPT, "object": "model"}, {"id": EMBEDDING, "object": "model"}]},
    "anthropic": {"data": [{"type": "model", "id": CLAUDE, "display_name": "Opus"}], "has_more": False},
    "gemini": {
        "models": [
            {
                "name": f"models/{GEMINI}",
                "displayName": "Flash",
                "inputTokenLimit": 1000,
                "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
            }
        ]
    },
    "ollama": {"models": [{"name": QWEN, "model": QWEN, "modified_at": "2026-01-01T00:00:00Z", "size": 1}]},
}


def _openai(call: str, body: Mapping[str, Any]) -> Script:
    model = body["model"]
    if call == "embeddings":
        item = {"object": "embedding", "index": 0, "embedding": [0.5]}
        return replies(
            {"object": "list", "data": [item], "model": model, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        )
    if "messages" not in body:
        missing = "Missing required parameter: 'messages'."
        return replies({"error": {"message": missing, "type": "invalid_request_error", "param": "messages"}}, 400)
    if body.get("stream"):
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [last]}
        end = b"data: %b\n\n" % _encode(chunk)
        return streams(chunk_event(model, "hel"), chunk_event(model, "lo"), end, DONE)
    return replies(completion(model))


def _anthropic(call: str, body: Mapping[str, Any]) -> Script:
    if call == "count_tokens":
        return replies({"input_tokens": 3})
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }
    if not body.get("stream"):
        return replies(message)
    delta = {"type": "content_block_delta", "index": 0}
    begun: Mapping[str, Any] = {**message, "content": [], "stop_reason": None}
    events: list[Mapping[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {**delta, "delta": {"type": "text_delta", "text": "hel"}},
        {**delta, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    return streams(*(f"event: {each['type']}\ndata: ".encode() + _encode(each) + b"\n\n" for each in events))


def _gemini(call: str, body: Mapping[str, Any]) -> Script:
    if call == "countTokens":
        return replies({"totalTokens": 3})
    if call in ("embedContent", "batchEmbedContents"):
        values = {"values": [0.5]}
        return replies({"embeddings": [values]} if call.startswith("batch") else {"embedding": values})

    def part(text: str, **last: object) -> Mapping[str, Any]:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **last}
        usage = {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}
        return {"candidates": [candidate], "modelVersion": GEMINI, "usageMetadata": usage}

    if call == "generateContent":
        return replies(part("hello", finishReason="STOP"))
    parts = part("hel"), part("lo", finishReason="STOP")
    return streams(*(b"data: %b\r\n\r\n" % _encode(each) for each in parts))


def _ollama(call: str, body: Mapping[str, Any]) -> Script:
    model = body["model"]
    if call == "embed":
        return replies({"model": model, "embeddings": [[0.5]], "prompt_eval_count": 1})

    def line(text: str, *, done: bool) -> Mapping[str, Any]:
        answer = {"message": {"role": "assistant", "content": text}} if call == "chat" else {"response": text}
        counts = {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 5} if done else {}
        return {"model": model, "created_at": "2026-01-01T00:00:00Z", **answer, "done": done, **counts}

    if body.get("stream", True) is False:
        return replies(line("hello", done=True))
    lines = [_encode(line(text, done=text == "lo")) + b"\n" for text in ("hel", "lo")]

    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type="application/x-ndjson")
        for each in lines:
            await exchange.chunk(each)
        await exchange.end()

    return script
