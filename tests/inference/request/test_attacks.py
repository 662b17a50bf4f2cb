"""Attacks by request bodies on models, upstreams and stored objects that a caller may not reach.

The rows name the provider or gateway that acts on the field. In each attack `secret` is a model that the caller may not
use, `evil` an address of the caller, and an id that of another caller's object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from proxy.errors import BadRequest
from proxy.inference.request.json_body import JsonBody

Fields = dict[str, Any]

MODELS: dict[str, Fields] = {
    "OpenRouter, Perplexity: models": {"models": ["m", "secret"]},
    "OpenRouter: models as objects": {"models": [{"model": "m"}, {"model": "secret"}]},
    "OpenRouter: models as objects with ids": {"models": [{"id": "secret"}]},
    "OpenRouter, Anthropic: fallbacks": {"fallbacks": [{"model": "secret"}]},
    "Anthropic: fallbacks of a fallback": {"fallbacks": [{"model": "m", "fallbacks": [{"model": "secret"}]}]},
    "LiteLLM: fallbacks": {"fallbacks": ["secret"]},
    "LiteLLM: fallbacks, mixed": {"fallbacks": ["m", {"model": "secret", "messages": []}]},
    "gateways: fallback_models": {"fallback_models": "secret"},
    "gateways: route": {"route": "secret"},
    "Together: safety_model": {"safety_model": "secret"},
    "LM Studio: draft_model": {"draft_model": "secret"},
    "OpenAI: tool image_generation": {"tools": [{"type": "image_generation", "model": "secret"}]},
    "Anthropic: tool advisor": {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "secret"}]},
    "OpenRouter: server tools": {"tools": [{"type": "openrouter:subagent", "parameters": {"model": "secret"}}]},
    "OpenRouter: server tools with several": {
        "tools": [{"type": "openrouter:fusion", "parameters": {"analysis_models": ["m", "secret"]}}]
    },
    "Codex: a provider's tool in a namespace": {
        "tools": [{"type": "namespace", "name": "x", "tools": [{"type": "image_generation", "model": "secret"}]}]
    },
    "a namespace in a namespace": {
        "tools": [{"type": "namespace", "tools": [{"type": "namespace", "tools": [{"type": "x", "model": "secret"}]}]}]
    },
    "OpenAI: additional_tools": {
        "input": [{"type": "additional_tools", "tools": [{"type": "image_generation", "model": "secret"}]}]
    },
    "OpenAI: tool_search_output": {
        "input": [{"type": "tool_search_output", "tools": [{"type": "image_generation", "model": "secret"}]}]
    },
    "a provider's tool beside a function": {
        "tools": [
            {"type": "function", "name": "f", "parameters": {"properties": {"model": {"type": "string"}}}},
            {"type": "image_generation", "model": "secret"},
        ]
    },
    "OpenRouter: plugin": {"plugins": [{"id": "auto-router", "allowed_models": ["secret"]}]},
    "OpenRouter: plugin fusion": {"plugins": [{"id": "fusion", "model": "secret"}]},
    "Groq: compound_custom": {"compound_custom": {"models": {"answering_model": "secret"}}},
    "OpenAI: moderation": {"moderation": {"model": "secret"}},
    "Vercel: providerOptions": {"providerOptions": {"gateway": {"models": ["secret"]}}},
    "Inworld: extra_body": {"extra_body": {"models": ["secret"]}},
    "gateways: extra_body": {"extra_body": {"model": "secret"}},
    "gateways: extra_body of one provider": {"extra_body": {"google": {"model": "secret"}}},
    "gateways: tools in extra_body": {"extra_body": {"tools": [{"type": "image_generation", "model": "secret"}]}},
    "Gemini: generateContentRequest": {"generateContentRequest": {"model": "models/secret"}},
    "Gemini: requests": {"requests": [{"model": "models/m"}, {"model": "models/secret"}]},
    "Anthropic: params of requests": {"requests": [{"custom_id": "1", "params": {"model": "secret"}}]},
}
STATE: dict[str, Fields] = {
    "OpenAI: previous_response_id": {"previous_response_id": "resp_1"},
    "OpenAI: conversation": {"conversation": "conv_1"},
    "OpenAI: prompt": {"prompt": {"id": "pmpt_1"}},
    "OpenAI: item_reference": {"input": [{"type": "item_reference", "id": "rs_1"}]},
    "OpenAI: item_reference without type": {"input": [{"role": "user", "content": "x"}, {"id": "rs_1"}]},
    "OpenAI: item_reference with a null type": {"input": [{"id": "rs_1", "type": None}]},
    "OpenAI: item_reference with another field": {"input": [{"id": "rs_1", "status": "completed"}]},
    "OpenAI: file_search": {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
    "OpenAI: file_search in a namespace": {
        "tools": [{"type": "namespace", "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}]
    },
    "OpenAI: file_search in additional_tools": {
        "input": [{"type": "additional_tools", "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}]
    },
    "OpenAI: code_interpreter": {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
    "OpenAI: files of code_interpreter": {
        "tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}]
    },
    "OpenAI: shell": {
        "tools": [{"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}}]
    },
    "OpenAI: skills of the account": {
        "tools": [{"type": "shell", "environment": {"skills": [{"type": "skill_reference", "skill_id": "skill_1"}]}}]
    },
    "OpenAI: input_file": {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    "OpenAI: file of a message": {
        "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
    },
    "OpenAI: audio of an earlier message": {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
    "OpenAI: image edits": {"images": [{"file_id": "file-1"}], "prompt": "x"},
    "Azure: a stored agent": {"agent": {"type": "agent_reference", "name": "x"}},
    "Azure: data_sources": {"data_sources": [{"type": "azure_search", "parameters": {"index_name": "x"}}]},
    "Anthropic: container": {"container": "container_1"},
    "Anthropic: container as an object": {"container": {"id": "container_1", "skills": []}},
    "Anthropic: skills of the account": {"container": {"skills": [{"type": "custom", "skill_id": "skill_1"}]}},
    "Anthropic: document": {
        "messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]
    },
    "Anthropic: document in the result of a tool": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}],
                    }
                ],
            }
        ]
    },
    "Mistral: ocr": {"document": {"type": "file", "file_id": "f"}},
    "Mistral: agent": {"agent_id": "ag_1"},
    "Mistral: library": {"tools": [{"type": "document_library", "library_ids": ["l"]}]},
    "xAI: collections": {"tools": [{"type": "collections_search", "collection_ids": ["c"]}]},
    "Gemini: cached_content": {"extra_body": {"google": {"cached_content": "cachedContents/1"}}},
    "Gemini: cachedContent": {"generateContentRequest": {"model": "models/m", "cachedContent": "cachedContents/1"}},
    "Gemini: file": {"extra_body": {"contents": [{"parts": [{"fileData": {"fileUri": "files/1"}}]}]}},
    "Gemini: bucket": {"generateContentRequest": {"contents": [{"parts": [{"file_data": {"file_uri": "gs://b/o"}}]}]}},
    "Gemini: search in stored files": {"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/1"]}}]},
    "Vertex: a data store": {"tools": [{"retrieval": {"vertexAiSearch": {"datastore": "projects/p/dataStores/d"}}}]},
    "Vertex: a corpus": {"tools": [{"retrieval": {"vertexRagStore": {"ragCorpora": ["projects/p/ragCorpora/c"]}}}]},
    "Vertex: a stored secret": {
        "tools": [
            {
                "retrieval": {
                    "externalApi": {
                        "endpoint": "https://evil.example",
                        "apiAuth": {"apiKeyConfig": {"apiKeySecretVersion": "projects/p/secrets/s/versions/1"}},
                    }
                }
            }
        ]
    },
    "Vertex: an image in a bucket": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "gs://b/o.png"}}]}]
    },
    "Alibaba: a message that is a file": {"messages": [{"role": "system", "content": "fileid://file-fe-1"}]},
    "OpenRouter, Perplexity: preset": {"preset": "pro-search"},
    "LiteLLM: prompt_id": {"prompt_id": "x"},
    "SGLang: session": {"session_params": {"id": "x"}},
    "SGLang: adapter": {"lora_path": "x"},
}
UPSTREAM: dict[str, Fields] = {
    "LiteLLM: api_base": {"api_base": "http://evil.example"},
    "LiteLLM: base_url": {"base_url": "http://evil.example"},
    "LiteLLM: api_key": {"api_key": "sk-fake"},
    "LiteLLM: api_base of a fallback": {"fallbacks": [{"model": "m", "api_base": "http://evil.example"}]},
    "LiteLLM: user_config": {"user_config": {"model_list": []}},
    "LiteLLM: router_settings_override": {"router_settings_override": {"fallbacks": [{"m": ["secret"]}]}},
    "LiteLLM: context_window_fallback_dict": {"context_window_fallback_dict": {"m": "secret"}},
    "LiteLLM: credentials": {"vertex_credentials": "{}"},
    "LiteLLM: endpoint": {"aws_bedrock_runtime_endpoint": "http://evil.example"},
    "gateways: extra_body": {"extra_body": {"api_base": "http://evil.example"}},
    "gateways: a key in extra_body": {"extra_body": {"key": "sk-fake"}},
    "gateways: extra_body of one provider": {"extra_body": {"azure": {"azure_endpoint": "http://evil.example"}}},
    "gateways: extra_body in extra_body": {"extra_body": {"extra_body": {"base_url": "http://evil.example"}}},
    "Anthropic: params of requests": {"requests": [{"params": {"model": "m", "api_base": "http://evil.example"}}]},
    "Vertex: another model": {"generationConfig": {"routingConfig": {"manualMode": {"modelName": "secret"}}}},
    "Vertex: another model, in snake case": {"generation_config": {"routing_config": {"manual_mode": {}}}},
    "vLLM: state of another call": {"kv_transfer_params": {"remote_host": "evil.example"}},
    "SGLang: bootstrap_host": {"bootstrap_host": "evil.example"},
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "capitalized": str.title,
    "terminated by NUL": lambda name: name + "\0",
    "characters that are folded": lambda name: name.replace("s", "\u017f").replace("k", "\u212a"),
}


def is_stopped(body: bytes) -> bool:
    """Whether a body is rejected, or its caller needs access to `secret` or a provider with `stateful: true`."""
    try:
        read = JsonBody(body)
    except BadRequest:
        return True
    return "secret" in read.models or bool(read.references)


def rows(attacks: dict[str, Fields]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fields", attacks.values(), ids=attacks)


def encoded(fields: Fields) -> bytes:
    return json.dumps({"model": "m", **fields}, separators=(",", ":")).encode()


@rows(MODELS)
def test_a_forbidden_model_is_found_and_renamed(fields: Fields) -> None:
    body = JsonBody(encoded(fields))

    assert set(body.models) == {"m", "secret"}
    assert body.with_ids({"m": "m", "secret": "x"}) == encoded(fields).replace(b"secret", b"x")


@rows(STATE)
def test_a_reference_to_stored_state_is_found(fields: Fields) -> None:
    assert JsonBody(encoded(fields)).references


@rows(UPSTREAM)
def test_a_field_that_selects_an_upstream_is_rejected(fields: Fields) -> None:
    with pytest.raises(BadRequest, match="is not allowed: the proxy selects the upstream"):
        JsonBody(encoded(fields))


EVERY = [*MODELS.values(), *STATE.values(), *UPSTREAM.values()]
EVERY_ID = [*MODELS, *STATE, *UPSTREAM]
every_attack = pytest.mark.parametrize("fields", EVERY, ids=EVERY_ID)


@every_attack
@pytest.mark.parametrize("wrap", ["extra_body", "params"])
def test_an_attack_within_another_request_is_stopped(fields: Fields, wrap: str) -> None:
    inner = {"model": "m", **fields}
    assert is_stopped(encoded({"extra_body": inner} if wrap == "extra_body" else {"requests": [{"params": inner}]}))


@every_attack
@pytest.mark.parametrize("indent", [None, 1], ids=["spaced", "indented"])
def test_an_attack_in_another_layout_is_stopped(fields: Fields, indent: int | None) -> None:
    assert is_stopped(json.dumps({**fields, "x": 1, "model": "m"}, indent=indent, separators=(" , ", " : ")).encode())


@every_attack
@pytest.mark.parametrize("position", [0, -1], ids=["the first letter", "the last letter"])
def test_an_attack_with_escaped_names_is_stopped(fields: Fields, position: int) -> None:
    def escape(name: re.Match[bytes]) -> bytes:
        text = name[1].decode()
        at = position % len(text)
        return f'"{text[:at]}\\u{ord(text[at]):04x}{text[at + 1 :]}":'.encode()

    assert is_stopped(re.sub(rb'"(\w+)":', escape, encoded(fields)))


@every_attack
def test_an_attack_with_escaped_values_is_stopped(fields: Fields) -> None:
    def escape(value: re.Match[bytes]) -> bytes:
        return b':"\\u%04x%b"' % (value[1][0], value[1][1:])

    assert is_stopped(re.sub(rb':"(\w[^"]*)"', escape, encoded(fields)))


@every_attack
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_an_attack_in_another_spelling_is_stopped(fields: Fields, spell: Callable[[str], str]) -> None:
    def respelled(value: Any) -> Any:
        if isinstance(value, dict):
            return {spell(name): respelled(inner) for name, inner in value.items()}
        return [respelled(item) for item in value] if isinstance(value, list) else value

    assert is_stopped(json.dumps({"model": "m", **respelled(fields)}, ensure_ascii=False).encode())
    assert is_stopped(json.dumps({"model": "m", **respelled(fields)}).encode())


@every_attack
def test_an_attack_among_many_other_fields_is_stopped(fields: Fields) -> None:
    texts = ["a model", '{"model": "text", "file_id": "text"}', 'ends with model":', "é \ud83d\ude00 ſ \0 \u212a"]
    others: Fields = {
        "messages": [{"role": "user", "content": text} for text in texts],
        "instructions": "x" * 2000,
        "tools": [{"type": "function", "name": "f", "parameters": {"properties": {"model": {"type": "string"}}}}],
    }
    assert is_stopped(encoded(others | fields))


@pytest.mark.parametrize(
    ("body", "path_model"),
    [
        ({"model": "secret", "input": "x"}, "m"),
        ({"requests": [{"model": "models/secret"}]}, "m"),
        ({"generateContentRequest": {"model": "models/secret"}}, "m"),
        ({"generateContentRequest": {"model": "secret"}}, "m"),
    ],
)
def test_a_body_with_another_model_than_the_path_is_rejected(body: Fields, path_model: str) -> None:
    with pytest.raises(BadRequest, match="The path and the request body must name the same model"):
        JsonBody(json.dumps(body).encode(), path_model=path_model)


def test_a_model_of_the_path_may_be_repeated_as_a_resource_name() -> None:
    body = JsonBody(b'{"requests":[{"model":"models/m"},{"model":"m"}]}', path_model="m")

    assert body.with_ids({"m": "n"}) == b'{"model":"n","requests":[{"model":"models/n"},{"model":"n"}]}'
