"""Model lists in the formats of all clients: what is listed, retrieved, paged and cached, and for which caller."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.api.request import RequestHead
from proxy.asgi import RawResponse
from proxy.server.app import Proxy
from proxy.server.gate import decide
from proxy.wire import FORMATS
from tests.fakes import VARY, FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

ALICE, BOB = "sk-canary-alice", "sk-canary-bob"
CONFIG = f"""
cache: {{initial_wait: 4s}}
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1", speaks: [openai, anthropic, gemini, ollama]}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1", speaks: [openai]}}
  - {{name: c, base_url: "http://127.0.0.1/c/v1", call: false}}
keys:
  - {{name: alice, hash: "{digest(ALICE)}", models: ["*"]}}
  - {{name: bob, hash: "{digest(BOB)}", models: ["claude-*", "gpt-*"]}}
"""
VERSION = {"anthropic-version": "2023-06-01"}


def anthropic(key: str = ALICE, **headers: str) -> dict[str, str]:
    return {"x-api-key": key, **VERSION, **headers}


def offered(fetch: FakeFetch) -> None:
    """Let `a` offer models with and without facts, `b` one that only OpenAI's API reaches, `c` one that none does."""
    fetch.lists(
        "a",
        {
            "id": "claude-opus-5",
            "created": 1750000000,
            "display_name": "Claude Opus 5",
            "description": "For long tasks",
            "context_length": 200000,
            "max_output_tokens": 64000,
        },
        {"id": "vendor/model:free", "deprecated": True, "shutdown_at": 1900000000},
    )
    fetch.lists("b", "gpt-5")
    fetch.lists("c", "listed-only")


OPUS = {
    "type": "model",
    "id": "claude-opus-5",
    "display_name": "Claude Opus 5",
    "created_at": "2025-06-15T15:06:40Z",
    "lifecycle": "active",
    "description": "For long tasks",
    "max_input_tokens": 200000,
    "max_tokens": 64000,
}
FREE = {
    "type": "model",
    "id": "vendor/model:free",
    "display_name": "vendor/model:free",
    "created_at": "1970-01-01T00:00:00Z",
    "lifecycle": "deprecated",
    "retires_at": "2030-03-17T17:46:40Z",
}


# -- Anthropic ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/", "//v1/models"])
async def test_the_header_anthropic_version_selects_the_list_of_models_with_that_api(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        await clock.advance(7)
        reply = await reply_to(app, path, anthropic())

    assert (reply.status, reply.json) == (
        200,
        {"data": [OPUS, FREE], "has_more": False, "first_id": "claude-opus-5", "last_id": "vendor/model:free"},
    )
    assert dict(reply.headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(reply.body)).encode(),
        b"etag": dict(reply.headers)[b"etag"],
        b"cache-control": b"private, no-cache",
        b"vary": VARY,
        b"age": b"7",
        b"x-request-id": dict(reply.headers)[b"x-request-id"],
    }
    assert b"Anthropic-Version" in VARY
    assert b"X-Goog-Api-Key" in VARY


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ("", range(20), True),
        ("limit=3", range(3), True),
        ("limit=1000", range(50), False),
        ("limit=3&after_id=m02", range(3, 6), True),
        ("after_id=m45", range(46, 50), False),
        ("after_id=m49", (), False),
        ("limit=2&after_id=m025", (3, 4), True),
        ("limit=3&before_id=m10", (7, 8, 9), True),
        ("limit=3&before_id=m02", (0, 1), False),
        ("before_id=m00", (), False),
        ("limit=3&other=1&beta=true", range(3), True),
    ],
)
async def test_anthropics_pages_are_parts_of_the_list(
    query: str, ids: tuple[int, ...], has_more: bool, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *(f"m{n:02}" for n in range(50)))
    expected = [f"m{n:02}" for n in ids]
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = (await reply_to(app, f"/v1/models?{query}", anthropic())).json

    assert [model["id"] for model in reply.pop("data")] == expected
    assert reply == {
        "has_more": has_more,
        "first_id": expected[0] if expected else None,
        "last_id": expected[-1] if expected else None,
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit must be between 1 and 1000."),
        ("limit=1001", "limit must be between 1 and 1000."),
        ("limit=-1", "limit must be between 1 and 1000."),
        ("limit=many", "limit must be a whole number."),
        ("limit=" + "9" * 5000, "limit has more than 1,024 characters."),
        ("after_id=a&before_id=b", "after_id and before_id are mutually exclusive."),
    ],
)
async def test_an_invalid_page_is_an_error_in_anthropics_format(
    query: str, message: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, f"/v1/models?{query}", anthropic())

    error = {"type": "invalid_request_error", "message": message}
    assert (reply.status, reply.json) == (400, {"type": "error", "error": error})


async def test_one_model_in_anthropics_format_equals_the_listed_one(fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        cold = await reply_to(app, "/v1/models/claude-opus-5", anthropic())
        replies = {
            model: await reply_to(app, f"/v1/models/{model}", anthropic())
            for model in ("claude-opus-5", "vendor/model:free", "vendor%2Fmodel%3Afree", "gpt-5", "listed-only", "none")
        }

    assert (cold.status, cold.json) == (200, OPUS)
    assert {model: reply.status for model, reply in replies.items()} == {
        "claude-opus-5": 200,
        "vendor/model:free": 200,
        "vendor%2Fmodel%3Afree": 200,
        "gpt-5": 404,  # cannot be called through that API
        "listed-only": 404,
        "none": 404,
    }
    assert replies["vendor%2Fmodel%3Afree"].json == FREE
    assert replies["gpt-5"].json == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "The model 'gpt-5' does not exist or you do not have access to it.",
        },
    }


async def test_capabilities_in_anthropics_form_are_shown_as_they_are(fetch: FakeFetch, clock: FakeClock) -> None:
    capabilities = {"batch": {"supported": True}, "thinking": {"supported": False, "types": {}}}
    fetch.lists(
        "a",
        {"id": "m1", "capabilities": capabilities},
        {"id": "m2", "capabilities": {"vision": True}},
        {"id": "m3", "capabilities": {"vision": {"levels": 3}}},
    )
    async with started(config_of(CONFIG), fetch, clock) as app:
        listed = (await reply_to(app, "/v1/models", anthropic())).json["data"]

    assert [model.get("capabilities") for model in listed] == [capabilities, None, None]


# -- Gemini ------------------------------------------------------------------------------------------------------------

GOOGLE = {"x-goog-api-key": ALICE}
GEMINI = """
providers:
  - {name: a, base_url: "http://127.0.0.1/a/v1", speaks: [openai, gemini, ollama]}
"""


@pytest.mark.parametrize("path", ["/v1beta/models", "/v1/models", "/models"])
async def test_geminis_list_is_at_its_path_and_for_its_header(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists(
        "a",
        {
            "id": "gemini-3-pro",
            "display_name": "Gemini 3 Pro",
            "description": "Large",
            "context_length": 1048576,
            "max_output_tokens": 65536,
            "supportedGenerationMethods": ["generateContent", "createCachedContent"],
        },
        {"id": "gemini-embedding-001", "type": "embedding"},
        "plain",
    )
    async with started(config_of(GEMINI), fetch, clock) as app:
        listed = await reply_to(app, path, GOOGLE)
        retrieved = await reply_to(app, f"{path}/gemini-3-pro", GOOGLE)
        as_resource = await reply_to(app, f"{path}/models/plain", GOOGLE)

    pro = {
        "name": "models/gemini-3-pro",
        "displayName": "Gemini 3 Pro",
        "description": "Large",
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": ["generateContent", "createCachedContent"],
    }
    embedding = {
        "name": "models/gemini-embedding-001",
        "displayName": "gemini-embedding-001",
        "supportedGenerationMethods": ["embedContent", "batchEmbedContents"],
    }
    plain = {
        "name": "models/plain",
        "displayName": "plain",
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }
    assert (listed.status, listed.json) == (200, {"models": [pro, embedding, plain]})
    assert (retrieved.status, retrieved.json) == (200, pro)
    assert (as_resource.status, as_resource.json) == (200, plain)


async def test_geminis_pages_lead_through_the_whole_list(fetch: FakeFetch, clock: FakeClock) -> None:
    expected = [f"m{n:03}/ü" for n in range(120)]
    fetch.lists("a", *expected)
    sizes, ids, token = [], [], ""
    async with started(config_of(GEMINI), fetch, clock) as app:
        default = await reply_to(app, "/v1beta/models")
        largest = await reply_to(app, "/v1beta/models?pageSize=100000")
        while True:
            page = (await reply_to(app, f"/v1beta/models?pageSize=50&pageToken={quote(token)}")).json
            sizes.append(len(page["models"]))
            ids += [model["name"].removeprefix("models/") for model in page["models"]]
            token = page.get("nextPageToken", "")
            if not token:
                break

    assert (sizes, ids) == ([50, 50, 20], expected)
    assert (len(default.json["models"]), len(largest.json["models"])) == (50, 120)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("pageSize=-1", "pageSize must not be negative."),
        ("pageSize=1.5", "pageSize must be a whole number."),
        ("pageToken=m", "pageToken must be the nextPageToken of a response."),
        ("pageToken=_w==", "pageToken must be the nextPageToken of a response."),
        ("pageToken=!!!", "pageToken must be the nextPageToken of a response."),
        ("pageToken=%22bQ==%22", "pageToken must be the nextPageToken of a response."),
    ],
)
async def test_an_invalid_page_is_an_error_in_googles_format(
    query: str, message: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(GEMINI), fetch, clock) as app:
        reply = await reply_to(app, f"/v1beta/models?{query}")

    reason = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "invalid_request",
        "domain": "models-proxy",
    }
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": [reason]}
    assert (reply.status, reply.json) == (400, {"error": error})


async def test_a_key_in_the_url_of_geminis_api_is_a_400_that_names_the_header(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        gemini = await reply_to(app, f"/v1beta/models?key={ALICE}")
        other = await reply_to(app, f"/v1/models?key={ALICE}")

    assert (gemini.status, gemini.json["error"]["status"], gemini.json["error"]["message"]) == (
        400,
        "INVALID_ARGUMENT",
        "Send the API key in the header x-goog-api-key, not in the URL, which is logged.",
    )
    assert other.status == 401


@pytest.mark.parametrize("version", ["/v1", "/v1beta"])
async def test_a_method_of_gemini_that_is_not_forwarded_is_a_404_that_names_those_that_are(
    version: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(GEMINI), fetch, clock) as app:
        path = f"{version}/models/imagen-4"
        reply = await reply_to(app, path + ":predict", {"x-goog-api-key": "any"}, method="POST", body=b"{}")
        without_method = await reply_to(app, path, method="POST", body=b"{}")

    methods = "generateContent, streamGenerateContent, countTokens, embedContent, batchEmbedContents"
    assert (reply.status, reply.json["error"]["status"], reply.json["error"]["message"]) == (
        404,
        "NOT_FOUND",
        f"{path}:predict is not served: the methods of models are {methods}.",
    )
    assert without_method.status == 405


@pytest.mark.parametrize("path", ["/v1/cachedContents", "/v1/files", "/v1alpha/models", "/v1/messages/batches", "/x"])
@pytest.mark.parametrize("key", [ALICE, "sk-canary-of-nobody"])
async def test_an_error_at_an_unknown_path_has_the_format_of_the_header(
    path: str, key: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        of_gemini = await reply_to(app, path, {"x-goog-api-key": key})
        of_anthropic = await reply_to(app, path, anthropic(key))
        of_others = await reply_to(app, path, {"authorization": f"Bearer {key}"})
        of_a_call = await reply_to(app, "/v1/embeddings", {"x-goog-api-key": key})

    status = 404 if key == ALICE else 401
    replies = [of_gemini, of_anthropic, of_others]
    assert [reply.status for reply in replies] == [status] * 3
    assert of_gemini.json["error"]["status"] == ("NOT_FOUND" if key == ALICE else "UNAUTHENTICATED")
    assert of_anthropic.json["type"] == "error"
    assert [*of_others.json["error"]] == [*of_a_call.json["error"]] == ["message", "type", "param", "code"]


# -- Ollama ------------------------------------------------------------------------------------------------------------

TAG = {
    "name": "qwen3:8b",
    "model": "qwen3:8b",
    "modified_at": "2025-06-15T15:06:40Z",
    "size": 5225388164,
    "digest": "500a1f067a9f",
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": "8.2B",
        "quantization_level": "Q4_K_M",
    },
}
UNKNOWN = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": None,
    "parameter_size": "",
    "quantization_level": "",
}


def pulled(fetch: FakeFetch) -> None:
    """Let `a` list a model as Ollama describes it, and one of which only the name is known."""
    qwen = {
        **TAG,
        "id": "qwen3:8b",
        "created": 1750000000,
        "context_length": 40960,
        "supports_tools": True,
        "supports_reasoning": True,
        "input_modalities": ["text", "image"],
        "display_name": "Qwen3 8B",
    }
    fetch.lists("a", qwen, "plain", {"id": "text-embedder", "type": "embedding"})


async def test_ollamas_tags_have_all_fields_that_its_clients_require(fetch: FakeFetch, clock: FakeClock) -> None:
    pulled(fetch)
    async with started(config_of(GEMINI), fetch, clock) as app:
        reply = await reply_to(app, "/api/tags")

    bare = {"modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": UNKNOWN}
    assert (reply.status, reply.json) == (
        200,
        {
            "models": [
                {"name": "plain", "model": "plain", **bare},
                TAG,
                {"name": "text-embedder", "model": "text-embedder", **bare},
            ]
        },
    )


@pytest.mark.parametrize(
    ("field", "more"), [("model", {}), ("name", {}), ("name", {"model": None}), ("model", {"name": None})]
)
async def test_ollamas_show_has_the_facts_of_one_model(
    field: str, more: Mapping[str, None], fetch: FakeFetch, clock: FakeClock
) -> None:
    pulled(fetch)

    async def show(app: Proxy, model: str) -> Any:
        body = msgspec.json.encode({field: model, **more, "verbose": True})
        return (await reply_to(app, "/api/show", method="POST", body=body)).json

    async with started(config_of(GEMINI), fetch, clock) as app:
        qwen, plain, embedder = [await show(app, model) for model in ("qwen3:8b", "plain", "text-embedder")]

    assert qwen == {
        "details": TAG["details"],
        "model_info": {
            "general.architecture": "qwen3",
            "general.basename": "Qwen3 8B",
            "qwen3.context_length": 40960,
        },
        "capabilities": ["completion", "tools", "vision", "thinking"],
        "modified_at": "2025-06-15T15:06:40Z",
    }
    assert plain == {
        "details": UNKNOWN,
        "model_info": {"general.architecture": "unknown", "general.basename": "plain"},
        "capabilities": ["completion"],
        "modified_at": "1970-01-01T00:00:00Z",
    }
    assert embedder["capabilities"] == ["embedding"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "The request body must be a JSON object with a `model` field, the id of a model."),
        (b"[]", 400, "The request body must be a JSON object with a `model` field, the id of a model."),
        (b'{"model":5}', 400, "The request body must be a JSON object with a `model` field, the id of a model."),
        (b'{"model":"none"}', 404, "The model 'none' does not exist or you do not have access to it."),
        (b'{"model":"' + b"m" * 70_000 + b'"}', 413, "The request body exceeds the limit of 65,536 bytes."),
    ],
)
async def test_ollamas_errors_are_texts(
    body: bytes, status: int, error: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with started(config_of(GEMINI), fetch, clock) as app:
        reply = await reply_to(app, "/api/show", method="POST", body=body)
        wrong_method = await reply_to(app, "/api/show")
        pull = await reply_to(app, "/api/pull", method="POST", body=b"{}")

    assert (reply.status, reply.json) == (status, {"error": error})
    assert (wrong_method.status, wrong_method.json) == (405, {"error": "Method GET is not allowed; use POST."})
    refused = "/api/pull is not served: the proxy does not change the models of a provider."
    assert (pull.status, pull.json) == (404, {"error": refused})


async def test_ollamas_version_and_loaded_models_are_constant(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        headers = {"authorization": f"Bearer {ALICE}"}
        replies = [await reply_to(app, path, headers) for path in ("/api/version", "/api/ps")]
        without_key = await reply_to(app, "/api/version")

    assert [(reply.status, reply.json) for reply in replies] == [(200, {"version": "0.13.0"}), (200, {"models": []})]
    assert without_key.status == 401


# -- LM Studio, LiteLLM, Codex -----------------------------------------------------------------------------------------


async def test_lm_studios_models_have_types_states_and_limits(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists(
        "a",
        {"id": "qwen", "owned_by": "qwen", "arch": "qwen3", "quantization": "4bit", "context_length": 32768,
         "supports_tools": True, "input_modalities": ["text", "image"]},
        {"id": "text-embedder", "type": "embedding"},
        {"id": "painter", "type": "image"},
    )  # fmt: skip
    async with started(config_of(GEMINI), fetch, clock) as app:
        listed = await reply_to(app, "/api/v0/models")
        retrieved = await reply_to(app, "/api/v0/models/painter")
        unknown = await reply_to(app, "/api/v0/models/none")

    painter = {"id": "painter", "object": "model", "type": "image", "publisher": "a", "state": "loaded"}
    assert (listed.status, listed.json) == (
        200,
        {
            "object": "list",
            "data": [
                painter,
                {
                    "id": "qwen",
                    "object": "model",
                    "type": "vlm",
                    "publisher": "alibaba",
                    "arch": "qwen3",
                    "quantization": "4bit",
                    "state": "loaded",
                    "max_context_length": 32768,
                    "capabilities": ["tool_use"],
                },
                {
                    "id": "text-embedder",
                    "object": "model",
                    "type": "embeddings",
                    "publisher": "a",
                    "state": "loaded",
                },
            ],
        },
    )
    assert (retrieved.status, retrieved.json) == (200, painter)
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/model/info", "/v1/model/info"])
async def test_litellms_model_information_has_limits_flags_and_prices(
    path: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists(
        "a",
        {"id": "gpt-6", "owned_by": "openai", "type": "chat", "context_length": 400000, "max_output_tokens": 128000,
         "supports_tools": True, "supports_reasoning": False, "pricing": {"prompt": "0.0000025", "completion": None}},
        "plain",
        {"id": "speaker", "type": "audio", "pricing": "free"},
    )  # fmt: skip
    async with started(config_of(GEMINI), fetch, clock) as app:
        reply = await reply_to(app, path)

    assert (reply.status, reply.json) == (
        200,
        {
            "data": [
                {
                    "model_name": "gpt-6",
                    "litellm_params": {"model": "gpt-6"},
                    "model_info": {
                        "id": "gpt-6",
                        "key": "gpt-6",
                        "db_model": False,
                        "litellm_provider": "openai",
                        "mode": "chat",
                        "max_input_tokens": 400000,
                        "max_tokens": 128000,
                        "max_output_tokens": 128000,
                        "supports_function_calling": True,
                        "supports_reasoning": False,
                        "input_cost_per_token": 2.5e-06,
                    },
                },
                *(
                    {
                        "model_name": name,
                        "litellm_params": {"model": name},
                        "model_info": {"id": name, "key": name, "db_model": False, "litellm_provider": "a"},
                    }
                    for name in ("plain", "speaker")
                ),
            ]
        },
    )


async def test_codex_gets_its_catalog_for_its_parameter(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists(
        "a",
        {"id": "coder", "display_name": "Coder", "description": "Writes code", "context_length": 128000,
         "supports_reasoning": True, "input_modalities": ["text", "image", "audio"]},
        {"id": "text-embedder", "type": "embedding"},
        {"id": "gpt-5.5", "owned_by": "system"},
        {"id": "openai/gpt-6-codex"},
        {"id": "gpt-oss-120b"},
        {"id": "gpt-5.5-of-a-lab", "owned_by": "lab"},
    )  # fmt: skip
    async with started(config_of(GEMINI), fetch, clock) as app:
        reply = await reply_to(app, "/v1/models?client_version=0.171.0")
        other = await reply_to(app, "/v1/models?version=0.171.0")

    # Codex contains more about OpenAI's models than any provider reports.
    coder, oss, embedder = reply.json["models"]
    assert oss["slug"] == "gpt-oss-120b"
    assert [model["slug"] for model in reply.json["data"]] == [
        "coder", "gpt-5.5", "gpt-5.5-of-a-lab", "gpt-oss-120b", "openai/gpt-6-codex", "text-embedder",
    ]  # fmt: skip
    shown = ("slug", "display_name", "description", "visibility", "context_window", "input_modalities")
    assert [coder.get(name) for name in shown] == [
        "coder",
        "Coder",
        "Writes code",
        "list",
        128000,
        ["text", "image"],
    ]
    assert coder["supports_reasoning_summaries"] is True
    assert [embedder.get(name) for name in shown] == [
        "text-embedder",
        "text-embedder",
        None,
        "hide",
        None,
        ["text"],
    ]
    required = {  # fields without which some version of Codex ignores the whole catalog
        "slug", "display_name", "description", "supported_reasoning_levels", "shell_type", "visibility",
        "supported_in_api", "priority", "upgrade", "base_instructions", "supports_reasoning_summaries",
        "support_verbosity", "default_verbosity", "apply_patch_tool_type", "truncation_policy",
        "supports_parallel_tool_calls", "experimental_supported_tools", "availability_nux",
    }  # fmt: skip
    assert required <= coder.keys()
    assert coder["base_instructions"].startswith("You are a coding agent")
    assert [*other.json] == ["object", "data"]


async def test_mistrals_sdks_get_a_type_and_capabilities_with_every_model(fetch: FakeFetch, clock: FakeClock) -> None:
    own = {"id": "mistral-large", "type": "base", "capabilities": {"completion_chat": True}, "max_context_length": 9}
    fetch.lists(
        "a",
        own,
        "plain",
        {"id": "gpt-6", "type": "chat", "context_length": 400000, "supports_tools": True, "capabilities": ["tools"]},
        {"id": "text-embedder", "type": "embedding"},
    )
    sent = {"user-agent": "mistral-client-typescript/2.0.0"}
    async with started(config_of(GEMINI), fetch, clock) as app:
        listed = await reply_to(app, "/v1/models", sent)
        retrieved = await reply_to(app, "/v1/models/plain", sent)
        others = await reply_to(app, "/v1/models/plain", {"user-agent": "OpenAI/Python 3.54.0"})

    shown = ("id", "type", "capabilities", "max_context_length")
    assert [[model.get(name) for name in shown] for model in listed.json["data"]] == [
        ["gpt-6", "base", {"function_calling": True, "completion_chat": True}, 400000],
        ["mistral-large", "base", {"completion_chat": True}, 9],
        ["plain", "base", {"completion_chat": True}, None],
        ["text-embedder", "base", {"completion_chat": False}, None],
    ]
    assert retrieved.json == {**others.json, "type": "base", "capabilities": {"completion_chat": True}}


async def test_the_etag_of_a_catalog_changes_with_its_facts(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", {"id": "coder", "context_length": 1000})
    async with started(config_of(GEMINI), fetch, clock) as app:
        before = await reply_to(app, "/v1/models?client_version=1")
        fetch.lists("a", {"id": "coder", "context_length": 2000})
        await clock.advance(600)
        after = await reply_to(app, "/v1/models?client_version=1", {"if-none-match": before.header("etag") or ""})

    assert (after.status, after.json["models"][0]["context_window"]) == (200, 2000)


# -- all formats -------------------------------------------------------------------------------------------------------

REQUESTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "openai": ("/v1/models", {}),
    "anthropic": ("/v1/models", VERSION),
    "gemini": ("/v1beta/models", {}),
    "ollama": ("/api/tags", {}),
    "lmstudio": ("/api/v0/models", {}),
    "litellm": ("/model/info", {}),
    "codex": ("/v1/models?client_version=0.153.4", {}),
    "mistral": ("/v1/models", {"user-agent": "mistral-client-python/3.7.0"}),
}
"""Format -> the path of its list, and the headers that select it."""
IDS: Mapping[str, Callable[[Any], list[str]]] = {
    "openai": lambda body: [model["id"] for model in body["data"]],
    "anthropic": lambda body: [model["id"] for model in body["data"]],
    "gemini": lambda body: [model["name"].removeprefix("models/") for model in body["models"]],
    "ollama": lambda body: [model["name"] for model in body["models"]],
    "lmstudio": lambda body: [model["id"] for model in body["data"]],
    "litellm": lambda body: [model["model_name"] for model in body["data"]],
    "codex": lambda body: [model["slug"] for model in body["data"]],
    "mistral": lambda body: [model["id"] for model in body["data"]],
}
"""Format -> from a list to the ids in it."""
every_format = pytest.mark.parametrize("name", [row.name for row in FORMATS if row.lists])


def with_key(name: str, key: str = ALICE, **headers: str) -> tuple[str, dict[str, str]]:
    path, selecting = REQUESTS[name]
    return path, {"authorization": f"Bearer {key}", **selecting, **headers}


@every_format
async def test_every_list_is_cached_compressed_and_revalidated(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    path, headers = with_key(name)
    async with started(config_of(CONFIG), fetch, clock) as app:
        first, again = await reply_to(app, path, headers), await reply_to(app, path, headers)
        packed = await reply_to(app, path, {**headers, "accept-encoding": "gzip"})
        packed_again = await reply_to(app, path, {**headers, "accept-encoding": "gzip"})
        tags = {"if-none-match": first.header("etag") or ""}
        unchanged = await reply_to(app, path, {**headers, **tags})
        head = await reply_to(app, path, headers, method="HEAD")
        await clock.advance(1)
        later = await reply_to(app, path, headers)
        fetch.lists("a", "another")
        await clock.advance(600)
        changed = await reply_to(app, path, {**headers, **tags})

    assert first.status == 200
    assert first.body is again.body is later.body
    assert packed.body is packed_again.body
    assert gzip.decompress(packed.body) == first.body
    assert (packed.header("content-encoding"), packed.header("etag")) == (
        "gzip",
        (first.header("etag") or "")[:-1] + '-gzip"',
    )
    assert (unchanged.status, unchanged.body, unchanged.header("etag")) == (304, b"", first.header("etag"))
    assert (head.status, head.body) == (200, b"")
    assert head.header("content-length") == str(len(first.body))
    assert (changed.status, "another" in changed.body.decode()) == (200, True)


@every_format
@pytest.mark.parametrize("more", [{}, {"accept-encoding": "gzip"}, {"if-none-match": "*"}])
async def test_a_warm_list_needs_no_function_that_openais_does_not(
    more: Mapping[str, str], name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    async with started(config_of(CONFIG), fetch, clock) as app:
        needed = [await functions_of(app, *with_key(each, ALICE, **more)) for each in ("openai", name)]

    assert needed[0] == needed[1]


async def functions_of(app: Proxy, path: str, headers: Mapping[str, str]) -> list[str]:
    """The functions of the proxy that respond to a request for a list which was sent before."""
    for _ in range(3):
        await reply_to(app, path, headers)
    raw_path, _, query = path.partition("?")
    lines = [(header.encode(), value.encode()) for header, value in headers.items()]
    request = {"type": "http", "method": "GET", "path": raw_path, "raw_path": raw_path.encode(), "headers": lines}
    head = RequestHead({**request, "query_string": query.encode()})
    called: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_qualname) if event == "call" else None)
    try:
        response = decide(app.deployment, head)
    finally:
        sys.setprofile(before)
    assert isinstance(response, RawResponse)
    return called


@every_format
async def test_every_cached_list_has_the_current_state_of_its_providers(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    path, headers = with_key(name)
    async with started(config_of(CONFIG), fetch, clock) as app:
        before = [await reply_to(app, path, headers) for _ in range(3)]
        for provider in "abc":
            fetch.hangs(provider)
        await clock.advance(3600)
        after = [await reply_to(app, path, headers) for _ in range(3)]

    assert {reply.header("x-models-stale") for reply in before} == {None}
    assert {reply.header("x-models-stale") for reply in after} == {"a, b, c"}
    assert {reply.body for reply in after} == {before[0].body}


@every_format
@pytest.mark.parametrize("warm", [False, True])
async def test_a_query_that_selects_nothing_does_not_change_the_format(
    warm: bool, name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    path, headers = with_key(name)
    async with started(config_of(CONFIG), fetch, clock) as app:
        for _ in range(2 if warm else 0):
            await reply_to(app, path, headers)
        base, _, query = path.partition("?")
        query = query and query + "&"
        others = [f"{base}?{query}{more}" for more in ("", "&", "x=1&", "&&x=1", "=", "=x", "x")]
        others += [] if name in ("ollama", "litellm") else [f"{base}/?{query}"]
        replies = [await reply_to(app, other, headers) for other in others]
        whole = await reply_to(app, path, headers)

    assert [reply.status for reply in replies] == [200] * len(others)
    assert {reply.body for reply in replies} == {whole.body}


@every_format
async def test_every_list_waits_for_the_first_refresh_and_is_503_without_any(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    for provider in "abc":
        fetch.hangs(provider)
    path, headers = with_key(name)
    async with started(config_of(CONFIG), fetch, clock) as app:
        waiting = [asyncio.create_task(reply_to(app, path, headers)) for _ in range(3)]
        await clock.advance(3.9)
        assert not any(task.done() for task in waiting)
        await clock.advance(0.2)
        replies = [task.result() for task in waiting]

    assert {reply.status for reply in replies} == {503}
    assert {reply.header("retry-after") is None for reply in replies} == {False}


@every_format
async def test_every_format_needs_a_key(name: str, fetch: FakeFetch, clock: FakeClock) -> None:
    offered(fetch)
    path, headers = with_key(name, "sk-canary-of-nobody")
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await reply_to(app, path, headers)

    assert (reply.status, "claude" in reply.body.decode()) == (401, False)


@every_format
async def test_every_list_has_the_models_of_its_api_that_the_key_can_see_and_no_others(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    offered(fetch)
    alice, bob = with_key(name), with_key(name, BOB)
    async with started(config_of(CONFIG), fetch, clock) as app:
        listed = {key: IDS[name]((await reply_to(app, path, headers)).json) for key, (path, headers) in
                  {"alice": alice, "bob": bob}.items()}  # fmt: skip

    callable_ = {"openai": ["claude-opus-5", "gpt-5", "vendor/model:free"], "litellm": []}
    spoken = ["claude-opus-5", "vendor/model:free"]
    expected = {
        "openai": ["claude-opus-5", "gpt-5", "listed-only", "vendor/model:free"],
        "litellm": ["claude-opus-5", "gpt-5", "listed-only", "vendor/model:free"],
        "lmstudio": callable_["openai"],
        "codex": callable_["openai"],
        "mistral": callable_["openai"],
    }.get(name, spoken)
    assert listed == {"alice": expected, "bob": [model for model in expected if model.startswith(("claude", "gpt"))]}


def item(name: str, model: str) -> tuple[str, dict[str, str], str, bytes]:
    """Path, headers, method and body of a request for one model; an empty path if the format has none."""
    path, headers = with_key(name)
    if name == "ollama":
        return "/api/show", headers, "POST", msgspec.json.encode({"model": model})
    return ("" if name in ("litellm", "codex") else f"{path}/{quote(model)}"), headers, "GET", b""


@given(
    st.lists(
        st.tuples(st.sampled_from(["m", "v/m", "m:free", "ü b", "a%2Fb"]), st.sampled_from("abc")),
        unique=True,
        max_size=6,
    ),
    st.sampled_from(["alice", "bob"]),
    st.sampled_from([[], ["openai"], ["anthropic"], ["gemini", "ollama"], ["openai", "anthropic", "gemini", "ollama"]]),
    st.sampled_from([row.name for row in FORMATS if row.lists]),
)
@settings(max_examples=100, deadline=None)
async def test_what_is_listed_can_be_retrieved_and_nothing_else(
    offers: list[tuple[str, str]], key: str, speaks: list[str], name: str
) -> None:
    fetch = FakeFetch()
    for provider in "abc":
        fetch.lists(provider, *(model for model, by in offers if by == provider), "other")
    text = CONFIG.replace('c/v1", call: false', f'c/v1", speaks: {speaks}' if speaks else 'c/v1", call: false')
    text = text.replace('["claude-*", "gpt-*"]', '["m*", "!m:free", "provider:c"]')
    path, headers = with_key(name, ALICE if key == "alice" else BOB)
    async with started(config_of(text), fetch, FakeClock()) as app:
        listed = IDS[name]((await reply_to(app, path, headers)).json)
        seen = IDS["openai"]((await reply_to(app, "/v1/models", headers)).json) if name == "openai" else listed
        retrieved = []
        for model in {*(model for model, _ in offers), "other", "unknown"}:
            where, _, method, body = item(name, model)
            if where and (await reply_to(app, where, headers, method=method, body=body)).status == 200:
                retrieved.append(model)

    assert listed == seen
    assert sorted(retrieved) == (listed if item(name, "m")[0] else [])
