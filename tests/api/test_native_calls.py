"""Calls of the Gemini and the Ollama API: paths, models, streams, errors, and what is forwarded."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from proxy.telemetry import CallRecord, Tokens
from proxy.telemetry.events import Observer
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, in_sequence, replies

pytestmark = pytest.mark.anyio

UP = "sk-canary-of-the-provider-1"
ALICE, BOB = "sk-canary-alice", "sk-canary-bob"
GEMINI, OLLAMA = {"x-goog-api-key": ALICE}, {"Authorization": f"Bearer {ALICE}"}

CONFIG = """
providers:
  - {{name: google, kind: gemini, base_url: "{url}", api_key: {up}, prefix: "g/",
     aliases: {{flash: gemini-9-flash}} {more}}}
  - {{name: local, kind: ollama, base_url: "{url}", aliases: {{small: "qwen9:1b"}} {more}}}
  - {{name: other, base_url: "{url}/v1", api_key: {up}-b}}
models:
  - {{id: smart, targets: [flash]}}
keys:
  - {{name: alice, hash: "{alice}", models: ["*"]}}
  - {{name: bob, hash: "{bob}", models: ["chat-only"]}}
"""
WITHOUT_NAMES = re.sub(r'prefix: "g/",|aliases: {{small: "qwen9:1b"}}', "", CONFIG)
CONTENTS = {"contents": [{"parts": [{"text": "Hi"}]}]}
MESSAGES = [{"role": "user", "content": "Hi"}]


def generated(
    text: str = "Hello", model: str = "gemini-9-flash", usage: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """A response of the Gemini API, or a part of a streamed one."""
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    return {"candidates": [candidate], "modelVersion": model, **({"usageMetadata": usage} if usage else {})}


USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 5, "thoughtsTokenCount": 4, "toolUsePromptTokenCount": 2}
PARTS = [generated("Hel"), generated("lo", usage=USAGE)]


def chatted(text: str, *, done: bool, model: str = "qwen9:1b") -> dict[str, Any]:
    """A response of Ollama, or a line of a streamed one."""
    counts = {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 5} if done else {}
    return {"model": model, "message": {"role": "assistant", "content": text}, "done": done, **counts}


LINES = [chatted("Hel", done=False), chatted("lo", done=True)]


@asynccontextmanager
async def calling(
    fetch: FakeFetch, clock: FakeClock, script: Script, *, more: str = "", config: str = CONFIG
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """A proxy whose providers are all the same fake server."""
    fetch.lists("google", "gemini-9-flash", "google/gemini-9", "qwen9:1b")
    fetch.lists("local", "qwen9:1b")
    fetch.lists("other", "chat-only")
    async with fake_provider(script) as up:
        text = config.format(url=up.url, up=UP, more=more, alice=digest(ALICE), bob=digest(BOB))
        async with serving(config_of(text), fetch, clock) as served:
            yield served, up


def renamed(items: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    return [
        {name: model if name in ("model", "modelVersion") else value for name, value in each.items()} for each in items
    ]


def in_array(*items: object, separator: bytes = b"\n,\r\n") -> list[bytes]:
    """The chunks of a streamed array."""
    first, *others = map(msgspec.json.encode, items)
    return [b"[" + first, *(separator + each for each in others), b"\n]"]


def in_lines(*items: object) -> list[bytes]:
    return [msgspec.json.encode(each) + b"\n" for each in items]


def events(*items: object) -> list[bytes]:
    return [b"data: %b\r\n\r\n" % msgspec.json.encode(each) for each in items]


def json_stream(*chunks: bytes, content_type: str = "application/json") -> Script:
    """A stream without events."""

    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type=content_type)
        for each in chunks:
            await exchange.chunk(each)
        await exchange.end()

    return script


# -- Gemini ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1beta/models/flash:generateContent", "/v1beta/models/gemini-9-flash:generateContent"),
        ("/v1/models/flash:generateContent", "/v1beta/models/gemini-9-flash:generateContent"),
        ("/v1/v1beta/models/flash:generateContent", "/v1beta/models/gemini-9-flash:generateContent"),
        (
            "/v1beta/models/g%2Fqwen9:1b:generateContent?$alt=json",
            "/v1beta/models/qwen9:1b:generateContent?$alt=json",
        ),
        ("/v1beta/models/g/google/gemini-9:countTokens", "/v1beta/models/google/gemini-9:countTokens"),
        ("/v1beta/models/g/qwen9:1b:embedContent", "/v1beta/models/qwen9:1b:embedContent"),
        ("/v1beta/models/flash:batchEmbedContents", "/v1beta/models/gemini-9-flash:batchEmbedContents"),
    ],
)
async def test_a_gemini_call_is_sent_with_the_providers_id_in_the_path_and_its_key_in_the_header_of_the_api(
    path: str, target: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(generated(usage=USAGE))) as (served, up):
        response = await served.client.post(path, json=CONTENTS, headers=GEMINI)

        assert response.status_code == 200
        (request,) = up.requests
        assert (request.method, request.target, json.loads(request.body)) == ("POST", target, CONTENTS)
        assert request.headers["x-goog-api-key"] == UP
        assert "authorization" not in request.headers
        assert ALICE not in str(request.headers)


async def test_the_model_in_a_gemini_response_is_the_requested_one_and_its_tokens_are_counted(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(generated(usage=USAGE))) as (served, _):
        response = await served.client.post("/v1beta/models/flash:generateContent", json=CONTENTS, headers=GEMINI)

        assert response.json() == generated(model="flash", usage=USAGE)
        assert tokens_of(served) == Tokens(5, 9)


@pytest.mark.parametrize(
    ("query", "script", "expected"),
    [
        ("?alt=sse", streams(*events(*PARTS)), events(*renamed(PARTS, "flash"))),
        ("", json_stream(*in_array(*PARTS)), in_array(*renamed(PARTS, "flash"))),
        ("", json_stream(*(b"%c" % byte for byte in b"".join(in_array(*PARTS)))), in_array(*renamed(PARTS, "flash"))),
    ],
    ids=["events", "an array", "an array byte by byte"],
)
async def test_every_part_of_a_gemini_stream_has_the_requested_model(
    query: str, script: Script, expected: list[bytes], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, script) as (served, up):
        path = f"/v1beta/models/flash:streamGenerateContent{query}"
        response = await served.client.post(path, json=CONTENTS, headers=GEMINI)

        assert (response.status_code, response.content) == (200, b"".join(expected))
        assert up.requests[0].target == f"/v1beta/models/gemini-9-flash:streamGenerateContent{query}"
        assert tokens_of(served) == Tokens(5, 9)


async def test_parts_of_a_stream_are_sent_as_they_arrive(fetch: FakeFetch, clock: FakeClock) -> None:
    released = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        first, *others = in_array(*PARTS) if "streamGenerate" in exchange.request.target else in_lines(*LINES)
        await exchange.stream(content_type="application/json")
        await exchange.chunk(first)
        await released.wait()
        for each in others:
            await exchange.chunk(each)
        await exchange.end()

    async with calling(fetch, clock, script) as (served, _):
        for path, body in (
            ("/v1beta/models/flash:streamGenerateContent", CONTENTS),
            ("/api/chat", {"model": "small", "messages": MESSAGES}),
        ):
            released.clear()
            async with served.client.stream("POST", path, json=body, headers=GEMINI) as response:
                parts = response.aiter_bytes()
                assert b"Hel" in await anext(parts)
                released.set()
                assert b"lo" in b"".join([part async for part in parts])
                assert response.headers["x-accel-buffering"] == "no"


async def test_the_path_of_a_gemini_call_decides_whether_it_is_a_stream(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies(generated())) as (served, _):
        ended = Ended()
        served.app.telemetry.add(ended)
        for method in ("generateContent", "streamGenerateContent"):
            await served.client.post(f"/v1beta/models/flash:{method}", json=CONTENTS, headers=GEMINI)
        assert [(call.route, call.is_stream) for call in ended.calls] == [
            ("/v1beta/models/{id}:generateContent", False),
            ("/v1beta/models/{id}:streamGenerateContent", True),
        ]


async def test_models_in_the_body_of_a_gemini_call_are_replaced_and_must_be_that_of_the_path(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    def batch(model: str) -> dict[str, Any]:
        return {"requests": [{"model": model, "content": {"parts": [{"text": "Hi"}]}}]}

    counted = {"generateContentRequest": {"model": "models/flash", **CONTENTS}}
    async with calling(fetch, clock, replies({"embeddings": []})) as (served, up):
        path = "/v1beta/models/flash:batchEmbedContents"
        same = await served.client.post(path, json=batch("models/flash"), headers=GEMINI)
        other = await served.client.post(path, json=batch("models/g/qwen9:1b"), headers=GEMINI)
        await served.client.post("/v1beta/models/flash:countTokens", json=counted, headers=GEMINI)
        await served.client.post("/v1beta/models/flash:embedContent", json={"model": "models/flash"}, headers=GEMINI)

        assert (same.status_code, other.status_code) == (200, 400)
        assert [json.loads(request.body) for request in up.requests] == [
            batch("models/gemini-9-flash"),
            {"generateContentRequest": {"model": "models/gemini-9-flash", **CONTENTS}},
            {"model": "models/gemini-9-flash"},
        ]


@pytest.mark.parametrize(
    "fields",
    [
        {"cachedContent": "cachedContents/c1"},
        {"cached_content": "cachedContents/c1"},
        {"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/s1"]}}]},
        {"tools": [{"file_search": {"file_search_store_names": ["fileSearchStores/s1"]}}]},
        {
            "contents": [
                {"parts": [{"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/f"}}]}
            ]
        },
        {"contents": [{"parts": [{"file_data": {"file_uri": "files/f1"}}]}]},
        {"contents": [{"parts": [{"functionResponse": {"parts": [{"fileData": {"fileUri": "files/f1"}}]}}]}]},
    ],
)
async def test_a_gemini_call_cannot_reference_what_the_provider_stores_for_its_account(
    fields: Mapping[str, Any], fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(generated())) as (served, up):
        path = "/v1beta/models/flash:generateContent"
        refused = await served.client.post(path, json={**CONTENTS, **fields}, headers=GEMINI)

        assert refused.status_code == 400
        assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"
        assert "references state stored at the provider" in refused.json()["error"]["message"]
        assert up.requests == []

    async with calling(fetch, clock, replies(generated()), more=", stateful: true") as (served, up):
        allowed = await served.client.post(path, json={**CONTENTS, **fields}, headers=GEMINI)
        assert (allowed.status_code, len(up.requests)) == (200, 1)


async def test_a_public_video_and_the_callers_own_data_are_no_references(fetch: FakeFetch, clock: FakeClock) -> None:
    parts = [
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=9hE5-98ZeCg"}},
        {"functionCall": {"name": "f", "args": {"file_id": "mine", "model": "other"}}},
        {"functionResponse": {"name": "f", "response": {"file_id": "mine", "fileUri": "files/f1", "parts": []}}},
    ]
    tools = [{"functionDeclarations": [{"name": "f", "parameters": {"properties": {"model": {"type": "STRING"}}}}]}]
    async with calling(fetch, clock, replies(generated())) as (served, up):
        body = {"contents": [{"parts": parts}], "tools": tools}
        response = await served.client.post("/v1beta/models/flash:generateContent", json=body, headers=GEMINI)
        assert (response.status_code, len(up.requests)) == (200, 1)


# -- Ollama ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings"])
async def test_an_ollama_call_is_sent_to_the_same_path_with_the_providers_id(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    body = {"model": "small", "messages": MESSAGES, "stream": False, "options": {"temperature": 0}, "keep_alive": "5m"}
    async with calling(fetch, clock, replies(chatted("Hello", done=True))) as (served, up):
        response = await served.client.post(path, json=body, headers=OLLAMA)

        assert response.json() == chatted("Hello", done=True, model="small")
        (request,) = up.requests
        assert (request.target, json.loads(request.body)) == (path, {**body, "model": "qwen9:1b"})
        assert tokens_of(served) == Tokens(3, 5)


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_every_line_of_an_ollama_stream_has_the_requested_model(
    one_by_one: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    chunks = in_lines(*LINES)
    parts = [b"%c" % byte for byte in b"".join(chunks)] if one_by_one else chunks
    async with calling(fetch, clock, json_stream(*parts, content_type="application/x-ndjson")) as (served, _):
        response = await served.client.post("/api/chat", json={"model": "small", "messages": []}, headers=OLLAMA)

        assert response.content == b"".join(in_lines(*renamed(LINES, "small")))
        assert response.headers["content-type"] == "application/x-ndjson"
        assert tokens_of(served) == Tokens(3, 5)


async def test_lines_of_a_buffered_stream_with_a_length_have_the_requested_model(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(b"".join(in_lines(*LINES)))) as (served, _):
        response = await served.client.post("/api/chat", json={"model": "small", "messages": []}, headers=OLLAMA)
        assert response.content == b"".join(in_lines(*renamed(LINES, "small")))
        assert tokens_of(served) == Tokens(3, 5)


@pytest.mark.parametrize(("stream", "is_stream"), [({}, True), ({"stream": True}, True), ({"stream": False}, False)])
async def test_an_ollama_call_is_recorded_as_a_stream_unless_it_has_stream_false(
    stream: Mapping[str, bool], is_stream: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies(chatted("Hello", done=True))) as (served, _):
        ended = Ended()
        served.app.telemetry.add(ended)
        await served.client.post("/api/chat", json={"model": "small", "messages": [], **stream}, headers=OLLAMA)
        assert [(call.api, call.is_stream, call.route) for call in ended.calls] == [("ollama", is_stream, "/api/chat")]


@pytest.mark.parametrize("name", ["pull", "push", "create", "copy", "delete", "blobs/sha256:1"])
async def test_paths_of_ollama_that_change_the_server_do_not_exist(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies({})) as (served, up):
        response = await served.client.post(f"/api/{name}", json={"model": "small"}, headers=OLLAMA)
        assert (response.status_code, [*response.json()]) == (404, ["error"])
        assert up.requests == []


# -- access, failover, errors ------------------------------------------------------------------------------------------


async def test_a_model_whose_providers_do_not_speak_the_api_is_a_400_that_names_the_apis_to_use(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies({})) as (served, up):
        gemini = await served.client.post("/v1beta/models/small:generateContent", json=CONTENTS, headers=GEMINI)
        ollama = await served.client.post("/api/chat", json={"model": "flash"}, headers=OLLAMA)

        assert (gemini.status_code, ollama.status_code) == (400, 400)
        assert gemini.json()["error"] == {
            "code": 400,
            "message": "The model 'small' cannot be called through the Gemini API (/v1beta/models); use the OpenAI API "
            "(/v1/chat/completions) or the Anthropic API (/v1/messages) or the Ollama API (/api/chat).",
            "status": "INVALID_ARGUMENT",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "api_not_supported",
                    "domain": "models-proxy",
                }
            ],
        }
        assert ollama.json() == {
            "error": "The model 'flash' cannot be called through the Ollama API (/api/chat); use the OpenAI API "
            "(/v1/chat/completions) or the Anthropic API (/v1/messages) or the Gemini API (/v1beta/models)."
        }
        assert up.requests == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1beta/models/flash:generateContent", CONTENTS),
        ("/v1beta/models/unknown:generateContent", CONTENTS),
        ("/api/chat", {"model": "small"}),
        ("/api/chat", {"model": "unknown"}),
    ],
)
async def test_a_model_that_the_key_does_not_allow_is_not_found_as_an_unknown_one_is(
    path: str, body: object, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with calling(fetch, clock, replies({})) as (served, up):
        refused = await served.client.post(path, json=body, headers={"x-goog-api-key": BOB})
        without = await served.client.post(path, json=body)

        assert (refused.status_code, without.status_code) == (404, 401)
        assert "does not exist or you do not have access to it" in refused.text
        assert up.requests == []


async def test_a_native_call_is_sent_to_the_next_provider_that_speaks_the_api(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    script = in_sequence(
        replies({"error": {"message": "busy"}}, 503), replies(generated(model="qwen9:1b", usage=USAGE))
    )
    config = WITHOUT_NAMES.replace("kind: ollama,", "kind: gemini,")
    async with calling(fetch, clock, script, config=config) as (served, up):
        response = await served.client.post("/v1beta/models/qwen9:1b:generateContent", json=CONTENTS, headers=GEMINI)

        assert (response.status_code, len(up.requests)) == (200, 2)
        assert [labels.provider for labels, _ in served.attempts] == ["google", "local"]


@pytest.mark.parametrize(
    ("path", "body", "chunks", "end"),
    [
        ("/v1beta/models/flash:streamGenerateContent?alt=sse", CONTENTS, events(PARTS[0]), b'data: {"error":{'),
        ("/v1beta/models/flash:streamGenerateContent", CONTENTS, in_array(*PARTS)[:1], b',{"error":{'),
        ("/v1beta/models/flash:streamGenerateContent", CONTENTS, [in_array(*PARTS)[0] + b","], b'{"error":{'),
        ("/api/chat", {"model": "small"}, [*in_lines(LINES[0]), b'{"model":"qw'], b'{"error":"'),
    ],
    ids=["events", "array", "array after a comma", "lines"],
)
async def test_a_stream_that_breaks_ends_with_an_error_of_the_api(
    path: str, body: object, chunks: list[bytes], end: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        sse = "sse" in exchange.request.target
        await exchange.stream(content_type="text/event-stream" if sse else "application/json")
        for each in chunks:
            await exchange.chunk(each)
        await asyncio.sleep(0.05)
        exchange.reset()

    async with calling(fetch, clock, script) as (served, _):
        response = await served.client.post(path, json=body, headers=GEMINI)

        first, found, error = response.content.rpartition(end)
        assert (response.status_code, found) == (200, end)
        assert b"closed the connection mid-response" in error
        if "sse" not in path and path.startswith("/v1beta"):
            *parts, last = json.loads(response.content)
            assert (parts, last["error"]["status"]) == (renamed(PARTS[:1], "flash"), "UNAVAILABLE")
        if path == "/api/chat":
            assert first + found + error == in_lines(*renamed(LINES[:1], "small"))[0] + found + error
            assert [*json.loads(response.content.splitlines()[-1])] == ["error"]


FINISHED = [PARTS[0], {**PARTS[1], "candidates": [{"index": 0, "finishReason": "STOP"}]}]


@pytest.mark.parametrize(
    ("path", "body", "chunks"),
    [
        ("/v1beta/models/flash:streamGenerateContent?alt=sse", CONTENTS, events(*FINISHED)),
        ("/v1beta/models/flash:streamGenerateContent", CONTENTS, in_array(*FINISHED)),
        ("/api/chat", {"model": "small"}, in_lines(*LINES)),
    ],
    ids=["events", "array", "lines"],
)
async def test_a_complete_stream_has_no_error_if_the_connection_then_fails(
    path: str, body: object, chunks: list[bytes], fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        sse = "sse" in exchange.request.target
        await exchange.stream(content_type="text/event-stream" if sse else "application/json")
        for each in chunks:
            await exchange.chunk(each)
        await asyncio.sleep(0.05)
        exchange.reset()

    async with calling(fetch, clock, script) as (served, _):
        response = await served.client.post(path, json=body, headers=GEMINI)
        assert b'"error"' not in response.content
        assert response.content.count(b'"flash"') + response.content.count(b'"small"') == 2, "both parts have arrived"


async def test_an_error_as_the_first_line_of_a_stream_is_sent_to_the_next_provider(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    failing = json_stream(*in_lines({"error": "model runner has stopped", "status": 500}))
    config = WITHOUT_NAMES.replace("kind: gemini,", "kind: ollama,")
    script = in_sequence(failing, json_stream(*in_lines(*LINES)))
    async with calling(fetch, clock, script, config=config) as (served, up):
        response = await served.client.post("/api/chat", json={"model": "qwen9:1b"}, headers=OLLAMA)
        assert (response.content, len(up.requests)) == (b"".join(in_lines(*LINES)), 2)


@pytest.mark.parametrize("separator", [b"\n", b"", b",\n"])
async def test_an_error_as_the_first_item_of_an_array_gets_its_status(
    separator: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}
    script = json_stream(b"[" + msgspec.json.encode({"error": error}) + separator, b"]")
    async with calling(fetch, clock, script) as (served, _):
        path = "/v1beta/models/flash:streamGenerateContent"
        response = await served.client.post(path, json=CONTENTS, headers=GEMINI)
        assert (response.status_code, response.json()) == (429, {"error": error})


async def test_no_response_shows_the_target_of_a_virtual_model(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies(generated())) as (served, up):
        response = await served.client.post("/v1beta/models/smart:generateContent", json=CONTENTS, headers=GEMINI)
        assert (response.json(), up.requests[0].path) == (
            generated(model="smart"),
            "/v1beta/models/gemini-9-flash:generateContent",
        )


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_no_response_of_ollama_shows_the_model_of_another_server_behind_a_virtual_model(
    stream: bool, long: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    text = "x" * (2_000_000 if long else 1)
    parts = [{"remote_model": "qwen9", **each} for each in (chatted(text, done=False), chatted(text, done=True))]
    script = json_stream(*in_lines(*parts)) if stream else replies(parts[1])
    config = CONFIG.replace("targets: [flash]", "targets: [small]")
    async with calling(fetch, clock, script, config=config) as (served, _):
        body = {"model": "smart", "messages": MESSAGES, "stream": stream}
        response = await served.client.post("/api/chat", json=body, headers=OLLAMA)
        shown = [json.loads(line) for line in response.content.splitlines()]

    expected = renamed(parts if stream else parts[1:], "smart")
    assert shown == [{**each, "remote_model": "smart"} for each in expected]


@pytest.mark.parametrize("model", ["../files/f", "a/../../cachedContents/c", "a//b", "./a"])
async def test_an_accepted_name_cannot_leave_the_path_of_models(model: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies(generated()), more=', accept: ["*"]') as (served, up):
        raw = model.replace("/", "%2F").replace(".", "%2E")
        response = await served.client.post(f"/v1beta/models/g%2F{raw}:generateContent", json=CONTENTS, headers=GEMINI)
        assert response.status_code in (400, 404)
        assert up.requests == []


async def test_an_error_in_a_stream_of_a_virtual_model_does_not_show_its_target(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    lines = in_lines(LINES[0], {"error": "model 'qwen9:1b' has crashed"})
    config = CONFIG.replace("targets: [flash]", "targets: [small]")
    async with calling(fetch, clock, json_stream(*lines), config=config) as (served, _):
        response = await served.client.post("/api/chat", json={"model": "smart"}, headers=OLLAMA)
        assert b"qwen9" not in response.content
        assert response.content.splitlines()[-1].startswith(b'{"error":"')


async def test_a_part_that_breaks_off_within_an_item_of_an_array_ends_the_connection(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.stream(content_type="application/json")
        await exchange.chunk(in_array(*PARTS)[0][:-5])
        await asyncio.sleep(0.05)
        exchange.reset()

    async with calling(fetch, clock, script) as (served, _):
        path = "/v1beta/models/flash:streamGenerateContent"
        with pytest.raises(httpx.RemoteProtocolError):
            await served.client.post(path, json=CONTENTS, headers=GEMINI)


async def test_an_error_of_the_provider_in_an_array_is_relayed_in_the_format_of_the_api(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    error = {"code": 400, "message": "contents is not specified", "status": "INVALID_ARGUMENT"}
    async with calling(fetch, clock, replies([{"error": error}], 400)) as (served, _):
        path = "/v1beta/models/flash:streamGenerateContent"
        response = await served.client.post(path, json={}, headers=GEMINI)
        assert response.status_code == 400
        shown = response.json()["error"]
        assert {name: shown[name] for name in error} == error


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/v1beta/models/flash:generateContent", CONTENTS, generated(usage=USAGE)),
        ("/api/chat", {"model": "small", "messages": MESSAGES}, chatted("Hello", done=True)),
    ],
)
async def test_native_calls_count_for_the_limits_of_the_caller(
    path: str, body: object, answer: object, fetch: FakeFetch, clock: FakeClock
) -> None:
    config = CONFIG.replace('models: ["*"]}}', 'models: ["*"], limits: {{tokens: 8/m}}}}', 1)
    async with calling(fetch, clock, replies(answer), config=config) as (served, up):
        first, second = [await served.client.post(path, json=body, headers=GEMINI) for _ in range(2)]

        assert (first.status_code, second.status_code, len(up.requests)) == (200, 429, 1)
        error = second.json()["error"]
        if path.startswith("/v1beta"):
            assert (error["status"], error["details"][1]["@type"]) == (
                "RESOURCE_EXHAUSTED",
                "type.googleapis.com/google.rpc.RetryInfo",
            )
            assert error["details"][1]["retryDelay"] == f"{second.headers['retry-after']}s"
        else:
            assert "limit" in error


async def test_counting_tokens_costs_none(fetch: FakeFetch, clock: FakeClock) -> None:
    config = CONFIG.replace('models: ["*"]}}', 'models: ["*"], limits: {{tokens: 8/m}}}}', 1)
    async with calling(fetch, clock, replies({"totalTokens": 3}), config=config) as (served, _):
        path = "/v1beta/models/flash:countTokens"
        long = {"contents": [{"parts": [{"text": "four" * 6}]}]}
        assert [(await served.client.post(path, json=long, headers=GEMINI)).status_code for _ in range(3)] == [200] * 3


async def test_the_usage_of_native_calls_is_counted_with_that_of_all_others(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, replies(generated(usage=USAGE))) as (served, _):
        await served.client.post("/v1beta/models/flash:generateContent", json=CONTENTS, headers=GEMINI)
        usage = (await served.client.get("/v1/usage", headers=GEMINI)).json()
        assert usage["total"] == {"requests": 1, "failed": 0, "input_tokens": 5, "output_tokens": 9}


class Ended(Observer):
    """The calls that have ended."""

    def __init__(self) -> None:
        self.calls: list[CallRecord] = []

    def call_ended(self, call: CallRecord) -> None:
        self.calls.append(call)


def tokens_of(served: Served) -> Tokens:
    """The tokens of all calls so far."""
    counts = [counts for _, counts in served.attempts]
    return Tokens(sum(each.input_tokens for each in counts), sum(each.output_tokens for each in counts))
