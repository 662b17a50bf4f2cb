"""Facts are found under the names that providers use, and nothing is claimed that is not said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import DIALECTS, EXTRA_NAMES, entry_of
from proxy.dialects.facts import facts_of

FACTS = frozenset(
    [
        "context_length",
        "max_output_tokens",
        "input_modalities",
        "output_modalities",
        "supports_tools",
        "supports_reasoning",
        "type",
    ]
)


def facts(payload: Mapping[str, object], kind: str = "openai") -> dict[str, Any]:
    """The facts of an entry of a kind, without its other fields."""
    extra = json.loads(entry_of(DIALECTS[kind], {"id": "m", "name": "m", **payload}, b"", {}).extra)
    return {name: value for name, value in extra.items() if name in FACTS}


# -- whole entries -----------------------------------------------------------------------------------------------------


GATEWAYS = [
    pytest.param(
        {
            "context_length": 200000,
            "architecture": {"modality": "text+image->text", "input_modalities": ["text", "image", "file"]},
            "top_provider": {"context_length": 200000, "max_completion_tokens": 64000},
            "supported_parameters": ["max_tokens", "temperature", "tool_choice", "tools", "include_reasoning"],
        },
        {
            "context_length": 200000,
            "max_output_tokens": 64000,
            "input_modalities": ["text", "image", "file"],
            "output_modalities": ["text"],
            "supports_tools": True,
            "supports_reasoning": True,
        },
        id="OpenRouter",
    ),
    pytest.param(
        {
            "model_info": {
                "mode": "image_generation",
                "max_tokens": 4096,
                "max_input_tokens": 128000,
                "max_output_tokens": 4096,
                "supports_function_calling": False,
                "supports_vision": True,
                "supports_tool_choice": None,
                "supports_reasoning": None,
            }
        },
        {
            "type": "image",
            "context_length": 128000,
            "max_output_tokens": 4096,
            "supports_tools": False,
            "input_modalities": ["text", "image"],
        },
        id="LiteLLM's model info",
    ),
    pytest.param(
        {
            "attachment": True,
            "reasoning": True,
            "tool_call": True,
            "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]},
            "limit": {"context": 1000000, "output": 65536},
        },
        {
            "context_length": 1000000,
            "max_output_tokens": 65536,
            "input_modalities": ["text", "image", "pdf"],
            "output_modalities": ["text"],
            "supports_tools": True,
            "supports_reasoning": True,
        },
        id="models.dev",
    ),
    pytest.param(
        {
            "capabilities": {
                "family": "x",
                "type": "chat",
                "limits": {
                    "max_context_window_tokens": 200000,
                    "max_output_tokens": 32000,
                    "max_prompt_tokens": 168000,
                    "vision": {"max_prompt_images": 5},
                },
                "supports": {"tool_calls": True, "vision": True, "reasoning_effort": ["low", "high"]},
            }
        },
        {
            "type": "chat",
            "context_length": 200000,
            "max_output_tokens": 32000,
            "supports_tools": True,
            "supports_reasoning": True,
            "input_modalities": ["text", "image"],
        },
        id="GitHub Copilot",
    ),
    pytest.param(
        {"type": "vlm", "max_context_length": 131072, "loaded_context_length": 4096, "capabilities": ["tool_use"]},
        {"type": "chat", "context_length": 4096, "supports_tools": True, "input_modalities": ["text", "image"]},
        id="LM Studio, older",
    ),
    pytest.param(
        {"meta": {"n_ctx": 32768, "n_ctx_train": 262144, "n_params": 1}}, {"context_length": 32768}, id="llama.cpp"
    ),
    pytest.param({"max_model_len": 8192}, {"context_length": 8192}, id="vLLM"),
    pytest.param(
        {"max_input_tokens": 4000, "max_total_tokens": 4096}, {"context_length": 4096}, id="TGI, the total"
    ),
    pytest.param(
        {
            "capabilities": {"completion_chat": True, "function_calling": True, "vision": False},
            "max_context_length": 131072,
        },
        {"type": "chat", "context_length": 131072, "supports_tools": True},
        id="Mistral",
    ),
    pytest.param(
        {
            "supports_chat": True,
            "supports_image_input": True,
            "supports_tools": True,
            "context_length": 131072,
        },
        {"type": "chat", "context_length": 131072, "supports_tools": True, "input_modalities": ["text", "image"]},
        id="Fireworks",
    ),
    pytest.param(
        {
            "context_window": 200000,
            "max_tokens": 64000,
            "type": "language",
            "tags": ["file-input", "reasoning", "tool-use", "vision"],
        },
        {
            "type": "chat",
            "context_length": 200000,
            "max_output_tokens": 64000,
            "supports_tools": True,
            "supports_reasoning": True,
            "input_modalities": ["text", "image", "file"],
        },
        id="Vercel",
    ),
    pytest.param(
        {"context_window": 131072, "max_completion_tokens": 32768},
        {"context_length": 131072, "max_output_tokens": 32768},
        id="Groq",
    ),
    pytest.param(
        {
            "context_size": 64000,
            "max_output_tokens": 8000,
            "features": ["function-calling", "structured-outputs", "reasoning"],
            "model_type": "chat",
        },
        {
            "type": "chat",
            "context_length": 64000,
            "max_output_tokens": 8000,
            "supports_tools": True,
            "supports_reasoning": True,
        },
        id="Novita",
    ),
    pytest.param(
        {"context_length": 8, "supports_image_in": True, "supports_video_in": True, "supports_reasoning": False},
        {"context_length": 8, "supports_reasoning": False, "input_modalities": ["text", "image", "video"]},
        id="Moonshot",
    ),
    pytest.param(
        {
            "max_input_tokens": 200000,
            "max_tokens": 64000,
            "capabilities": {
                "image_input": {"supported": True},
                "pdf_input": {"supported": True},
                "thinking": {"supported": True, "types": {"enabled": {"supported": True}}},
            },
        },
        {
            "context_length": 200000,
            "supports_reasoning": True,
            "input_modalities": ["text", "image", "file"],
        },
        id="Anthropic's fields",
    ),
    pytest.param(
        {
            "model_spec": {
                "availableContextTokens": 32768,
                "capabilities": {
                    "supportsFunctionCalling": True,
                    "supportsReasoning": False,
                    "supportsVision": False,
                },
            },
            "type": "text",
        },
        {"type": "chat", "context_length": 32768, "supports_tools": True, "supports_reasoning": False},
        id="Venice",
    ),
    pytest.param(
        {"model_ability": ["chat", "tools", "vision"], "model_type": "LLM", "context_length": 32768},
        {"type": "chat", "context_length": 32768, "supports_tools": True, "input_modalities": ["text", "image"]},
        id="Xinference",
    ),
    pytest.param(
        {"metadata": {"context_length": 131072, "max_tokens": 131072, "tags": ["vision", "json"]}},
        {"context_length": 131072, "input_modalities": ["text", "image"]},
        id="DeepInfra, whose max_tokens is the context",
    ),
    pytest.param(
        {"domain": "VLM", "token_limits": {"context_window": 262144, "max_output_token_length": 32768},
         "features": {"tools": {"function_calling": True}}},
        {
            "type": "chat",
            "context_length": 262144,
            "max_output_tokens": 32768,
            "input_modalities": ["text", "image"],
            "supports_tools": True,
        },
        id="Volcengine",
    ),
    pytest.param(
        {"inputModalities": ["TEXT", "IMAGE"], "outputModalities": ["TEXT"]},
        {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        id="Bedrock",
    ),
    pytest.param(
        {"context_window": {"context_length": 200000, "max_output_tokens": 64000}},
        {"context_length": 200000, "max_output_tokens": 64000},
        id="Poe",
    ),
    pytest.param(
        {"model_limits": {"max_sequence_length": 131072, "max_output_tokens": 8192}},
        {"context_length": 131072, "max_output_tokens": 8192},
        id="watsonx",
    ),
    pytest.param({"categories": ["llm"],
                  "meta": {"n_ctx": 8192, "support_vision": True, "support_tool_calls": False}},
                 {"type": "chat", "context_length": 8192, "supports_tools": False,
                  "input_modalities": ["text", "image"]}, id="GPUStack"),
    pytest.param({"task": "llm/v1/embeddings"}, {"type": "embedding"}, id="Databricks"),
    pytest.param({"inference_metadata": {"request_modality": ["Text", "Image"], "response_modality": ["Text"]}},
                 {"input_modalities": ["text", "image"], "output_modalities": ["text"]}, id="Model Studio"),
    pytest.param({"pipeline_tag": "feature-extraction"}, {"type": "embedding"}, id="Hugging Face"),
    pytest.param(
        {"supported_endpoints": ["/chat/completions", "/responses"]}, {"type": "chat"}, id="paths of endpoints"
    ),
    pytest.param({"supported_endpoint_types": ["jina-rerank"]}, {"type": "rerank"}, id="New-API, rerank"),
    pytest.param({"supported_endpoint_types": ["openai"]}, {}, id="New-API, which says openai of all models"),
    pytest.param({"recipe_options": {"ctx_size": 4096}, "max_context_window": 131072}, {"context_length": 4096},
                 id="Lemonade"),
]  # fmt: skip
"""What gateways and servers send of a model, and its facts."""


@pytest.mark.parametrize(("payload", "expected"), GATEWAYS)
def test_facts_of_a_gateway_are_shown_under_standard_names(
    payload: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    assert facts(payload) == expected


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        pytest.param(
            "lmstudio",
            {
                "key": "m",
                "type": "llm",
                "max_context_length": 131072,
                "loaded_instances": [{"config": {"context_length": 8192}}, {"config": {"context_length": 4096}}],
                "capabilities": {"vision": True, "trained_for_tool_use": True},
            },
            {
                "type": "chat",
                "context_length": 4096,
                "supports_tools": True,
                "input_modalities": ["text", "image"],
            },
            id="LM Studio, the smallest of the loaded instances",
        ),
        pytest.param(
            "lmstudio",
            {"key": "m", "type": "embedding", "max_context_length": 2048, "loaded_instances": []},
            {"type": "embedding", "context_length": 2048},
            id="LM Studio, not loaded",
        ),
        pytest.param(
            "ollama",
            {"details": {"context_length": 131072}, "capabilities": ["completion", "tools", "thinking", "vision"]},
            {
                "type": "chat",
                "context_length": 131072,
                "supports_tools": True,
                "supports_reasoning": True,
                "input_modalities": ["text", "image"],
            },
            id="Ollama",
        ),
        pytest.param("ollama", {"capabilities": ["embedding"]}, {"type": "embedding"}, id="Ollama, an embedding model"),
        pytest.param(
            "gemini",
            {"inputTokenLimit": 1048576, "outputTokenLimit": 65536, "thinking": True,
             "supportedGenerationMethods": ["generateContent", "countTokens"]},
            {"context_length": 1048576, "max_output_tokens": 65536, "supports_reasoning": True},
            id="Gemini, whose method is that of all models but embedding",
        ),
        pytest.param("gemini", {"supportedGenerationMethods": ["embedContent"]}, {"type": "embedding"}, id="Gemini, 2"),
        pytest.param(
            "anthropic",
            {"type": "model", "max_input_tokens": 200000, "max_tokens": 64000,
             "capabilities": {"image_input": {"supported": True}, "thinking": {"supported": False}}},
            {"context_length": 200000, "max_output_tokens": 64000, "supports_reasoning": False,
             "input_modalities": ["text", "image"]},
            id="Anthropic",
        ),
        pytest.param(
            "cohere",
            {"endpoints": ["embed", "classify"], "context_length": 512.0, "features": None},
            {"type": "embedding", "context_length": 512},
            id="Cohere, embedding",
        ),
        pytest.param(
            "cohere", {"endpoints": ["embed", "rerank"]}, {}, id="Cohere, endpoints that do not agree",
        ),
        pytest.param(
            "cohere",
            {"endpoints": ["generate", "chat"], "features": ["tools", "strict_tools", "reasoning"]},
            {"type": "chat", "supports_tools": True, "supports_reasoning": True},
            id="Cohere, chat",
        ),
        pytest.param(
            "fireworks",
            {"contextLength": 131072, "supportsImageInput": True, "supportsTools": False},
            {"context_length": 131072, "supports_tools": False, "input_modalities": ["text", "image"]},
            id="Fireworks' control plane",
        ),
        pytest.param(
            "github",
            {"limits": {"max_input_tokens": 1048576, "max_output_tokens": 32768},
             "capabilities": ["streaming", "tool-calling"], "tags": ["reasoning"]},
            {"context_length": 1048576, "max_output_tokens": 32768, "supports_tools": True,
             "supports_reasoning": True},
            id="GitHub Models",
        ),
        pytest.param(
            "cloudflare",
            {"task": {"name": "Text Generation"},
             "properties": [{"property_id": "context_window", "value": "8192"},
                            {"property_id": "function_calling", "value": "true"}, {"property_id": "beta"}, 7]},
            {"type": "chat", "context_length": 8192, "supports_tools": True},
            id="Cloudflare",
        ),
        pytest.param(
            "azure",
            {"capabilities": {"chat_completion": False, "completion": False, "embeddings": True}},
            {"type": "embedding"},
            id="Azure",
        ),
    ],
)  # fmt: skip
def test_facts_are_found_in_every_kind(
    kind: str, payload: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    assert facts(payload, kind) == expected


# -- which of several --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param({"context_length": 262144, "n_ctx": 4096}, 4096, id="in use before possible"),
        pytest.param({"context_window": 131072, "meta": {"n_ctx": 4096}}, 4096, id="in use, also where it is nested"),
        pytest.param({"meta": {"n_ctx_train": 131072}}, 131072, id="possible, if nothing else is said"),
        pytest.param({"max_input_tokens": 100, "context_window": 200}, 200, id="the window before its part for input"),
        pytest.param({"context_length": 8, "metadata": {"context_length": 16}}, 8, id="outermost first"),
        pytest.param({"context_length": 0, "context_window": 8}, 8, id="zero is ignored"),
        pytest.param({"context_length": -1, "context_window": 8}, 8, id="a negative number"),
        pytest.param({"context_length": "4k", "context_window": "8"}, 8, id="a wrong type"),
        pytest.param({"context_length": None, "limits": {"context": 8}}, 8, id="null"),
        pytest.param({"context_length": {"max": 8}}, 8, id="an object with the limit"),
        pytest.param({"maxContextTokens": 8}, 8, id="camel case"),
        pytest.param({"Max-Context-Window": 8}, 8, id="other separators"),
        pytest.param(
            {"providers": [{"context_length": 262144}, {"context_length": 131072}, {"context_length": None}, {}]},
            131072,
            id="the smallest of routes",
        ),
        pytest.param(
            {"endpoints": [{"limits": {"context_window": 16}}, {"max_context_tokens": 8}]}, 8, id="nested in routes"
        ),
        pytest.param({"deployments": {"east": {"context_length": 16}}}, 16, id="routes by name"),
        pytest.param(
            {"context_length": 32, "providers": [{"context_length": 8}]}, 32, id="the model's own limit before routes"
        ),
    ],
)
def test_best_context_length_is_used(payload: Mapping[str, object], expected: int) -> None:
    assert facts(payload)["context_length"] == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param({"supports_tools": False}, False, id="said"),
        pytest.param({"supports_tools": False, "supported_parameters": ["tools"]}, True, id="any sign is enough"),
        pytest.param({"supports_tools": False, "function_calling": True}, True, id="any flag is enough"),
        pytest.param({"function_calling": "true"}, True, id="as text"),
        pytest.param({"providers": [{"supports_tools": False}, {"supports_tools": True}]}, True, id="on one route"),
        pytest.param({"providers": [{"supports_tools": False}, {}]}, False, id="on no route"),
        pytest.param({"supported_parameters": ["temperature"]}, None, id="a list without it says nothing"),
        pytest.param({"supports_tools": None, "tools": []}, None, id="not a flag"),
        pytest.param({"features": ["functions", {"name": "x"}, 7]}, True, id="a list of words and others"),
        pytest.param({"features": [{"name": "tools"}]}, None, id="a list of objects"),
        pytest.param({"tags": "chat, tools"}, True, id="words in a text"),
        pytest.param({"id": "function-calling-tools"}, None, id="never from the id"),
    ],
)
def test_capability_is_true_by_any_sign_and_false_only_if_said(
    payload: Mapping[str, object], expected: bool | None
) -> None:
    assert facts(payload).get("supports_tools") == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("chat", "chat"), ("llm", "chat"), ("Text Generation", "chat"), ("image-text-to-text", "chat"),
        ("text_completion", "completion"), ("embeddings", "embedding"), ("text-embedding", "embedding"),
        ("feature-extraction", "embedding"), ("image_generation", "image"), ("text-to-image", "image"),
        ("tts", "audio"), ("audio_transcription", "audio"), ("Automatic Speech Recognition", "audio"),
        ("reranker", "rerank"), ("moderations", "moderation"), ("text-to-video", "video"), ("base", "base"),
        ("model", "model"),
    ],
)  # fmt: skip
def test_known_type_becomes_the_standard_word(word: str, expected: str) -> None:
    assert facts({"type": word})["type"] == expected


@pytest.mark.parametrize("field", ["mode", "task", "pipeline_tag", "domain", "category"])
def test_unknown_word_in_another_field_is_no_type(field: str) -> None:
    assert facts({field: "something-else"}) == {}


def test_original_fields_stay() -> None:
    payload = {"id": "m", "limits": {"context": 8}, "capabilities": ["tools"]}
    extra = json.loads(entry_of(DIALECTS["gemini"], {**payload, "name": "m"}, b"", {}).extra)
    assert extra == {"limits": {"context": 8}, "capabilities": ["tools"], "context_length": 8,
                     "supports_tools": True, "name": "m"}  # fmt: skip


def test_declared_models_are_shown_as_they_are_declared() -> None:
    assert facts({"max_model_len": 8, "tools": True}, "static") == {}


def test_capabilities_can_be_named_in_a_custom_list() -> None:
    assert {"supports_tools", "supports_reasoning"} <= EXTRA_NAMES.keys()
    assert [EXTRA_NAMES["supports_tools"](value, 1) for value in (True, ["tools"], {"supported": False}, [])] == [
        True,
        True,
        False,
        None,
    ]


TOKENS = frozenset({"context_length", "max_output_tokens"})
FLAGS = frozenset({"supports_tools", "supports_reasoning"})
FIELDS = st.sampled_from(
    ["capabilities", "limits", "supports", "metadata", "providers", "endpoints", "features", "tags", "properties",
     "loaded_instances", "architecture", "top_provider", "modalities", "modality", "context_window", "context_length",
     "n_ctx", "max_tokens", "tools", "reasoning", "vision", "type", "mode", "pricing", "prompt", "input", "unit",
     "currency", "input_cost_per_token", "cost", "limit", "value", "property_id"]
)  # fmt: skip
TEXTS = st.sampled_from(
    ["", "text->text", "tools", "0.000001", "$1", "per_1m_tokens", "CNY", "chat", "1e99", "-1", "8"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(FIELDS, VALUES, max_size=6), st.sampled_from(["openai", "lmstudio", "cloudflare"]))
def test_facts_of_any_entry_are_absent_or_valid(payload: dict[str, object], kind: str) -> None:
    entry = entry_of(DIALECTS[kind], {"id": "m", "name": "m", "key": "m", **payload}, b"", {})
    assert not {name for name in json.loads(entry.extra) if name.startswith("+")}, "flags of inputs are not shown"
    found = facts_of(payload)
    assert all(type(found[name]) is int and found[name] > 0 for name in TOKENS & found.keys())
    assert all(type(found[name]) is bool for name in FLAGS & found.keys())


def test_hostile_groups_are_read_without_errors() -> None:
    deep: Any = {"context_length": 8}
    for _ in range(20):
        deep = {"providers": [deep], "capabilities": {"limits": {"capabilities": deep}}}
    assert facts_of(deep)["context_length"] == 8
    assert facts_of({"providers": [[], 7, None], "capabilities": [[], {}, None], "limits": 7, "tags": [[{}]]}) == {}
