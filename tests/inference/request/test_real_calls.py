"""Bodies as real clients send them: each is forwarded byte for byte, except for the id of its model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.inference.request.json_body import JsonBody

Fields = dict[str, Any]


def schema(**properties: Fields) -> Fields:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


STRING = {"type": "string"}
MODEL_PARAMETER = {"type": "string", "enum": ["sonnet", "haiku"], "default": "haiku", "examples": ["haiku"]}
AGENT = schema(
    prompt=STRING, model=MODEL_PARAMETER, file_id=STRING, container={"type": "object"}, audio=schema(id=STRING)
)
CARS = schema(
    model={"type": "string"}, models={"type": "array", "items": {"type": "object", "default": {"model": "x"}}}
)


def function(name: str, parameters: Fields) -> Fields:
    return {"type": "function", "name": name, "description": "x", "strict": False, "parameters": parameters}


def chat(**fields: Any) -> Fields:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}


def responses(*items: Fields, **fields: Any) -> Fields:
    user = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 'a "model": "x"'}]}
    return {"model": "m", "input": [user, *items], **fields}


CALLS: dict[str, Fields] = {
    "Codex": responses(
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "gAAAA"},
        {"type": "function_call", "name": "spawn_agent", "arguments": '{"model":"x","file_id":"y"}', "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": '{"model": "x"}'},
        {"type": "custom_tool_call", "call_id": "d", "name": "apply_patch", "input": "*** Begin Patch"},
        {"type": "local_shell_call", "call_id": "e", "action": {"type": "exec", "command": [], "env": {"model": "x"}}},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        instructions="You are a coding agent.",
        tools=[
            function("shell", schema(command={"type": "array", "items": STRING})),
            {"type": "namespace", "name": "agents", "description": "x", "tools": [function("spawn_agent", AGENT)]},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark"}},
            {"type": "tool_search", "execution": "client", "description": "x", "parameters": CARS},
            {"type": "web_search", "external_web_access": False},
            {"type": "local_shell"},
        ],
        tool_choice="auto", parallel_tool_calls=True, reasoning={"effort": "medium", "summary": "auto"}, store=False,
        stream=True, include=["reasoning.encrypted_content"], prompt_cache_key="k", text={"verbosity": "low"},
        client_metadata={"x-codex-installation-id": "i"},
    ),
    "Codex with deferred tools": responses(
        {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {"model": "x"}},
        {"type": "tool_search_output", "call_id": "c", "status": "completed", "execution": "client",
         "tools": [{"type": "namespace", "name": "x", "tools": [{**function("find", CARS), "defer_loading": True}]}]},
        {"type": "additional_tools", "role": "developer", "tools": [function("find", CARS)]},
        store=False,
    ),
    "OpenAI: MCP without storage": responses(
        {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "cars",
         "tools": [{"name": "find", "input_schema": CARS, "annotations": {"model": "x"}, "description": "x"}]},
        {"type": "mcp_call", "id": "mcp_1", "name": "find", "arguments": '{"model":"x"}', "output": "{}"},
        tools=[{"type": "mcp", "server_label": "cars", "server_url": "https://mcp.example", "require_approval": "never",
                "allowed_tools": ["find"], "headers": {"authorization": "Bearer fake", "x-model": "x"}}],
    ),
    "OpenAI: built-in tools": responses(
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
            {"type": "output_text", "text": "x", "annotations": [
                {"type": "container_file_citation", "container_id": "c", "file_id": "f", "filename": "x"}]}]},
        {"id": "msg_2", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        tools=[{"type": "code_interpreter", "container": {"type": "auto"}}, {"type": "image_generation"},
               {"type": "file_search", "vector_store_ids": []},
               {"type": "shell", "environment": {"type": "container_auto"}}],
        text={"format": {"type": "json_schema", "name": "car", "schema": CARS, "strict": True}},
    ),
    "Vercel AI SDK, second turn without storage": responses(
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAA", "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "x"}], "id": "msg_1"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"},
        store=False, include=["reasoning.encrypted_content"],
    ),
    "Claude Code": {
        "model": "m", "max_tokens": 32000, "stream": True, "metadata": {"user_id": "user_1", "model": "x"},
        "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "x", "signature": "y"},
                {"type": "tool_use", "id": "t", "name": "Task",
                 "input": {"model": "haiku", "file_id": "f", "container": "c", "audio": {"id": "a"}}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}]},
        ],
        "tools": [{"name": "Task", "description": "x", "input_schema": AGENT, "input_examples": [{"model": "haiku"}]},
                  {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    },
    "Anthropic: a new container with skills": {
        "model": "m", "max_tokens": 16, "messages": [],
        "container": {"id": None, "skills": [{"type": "anthropic", "skill_id": "xlsx", "version": "latest"}]},
        "tools": [{"type": "code_execution_20250825", "name": "code_execution"}],
    },
    "Anthropic: the default fallback": {"model": "m", "max_tokens": 16, "messages": [], "fallbacks": "default"},
    "Cursor": chat(
        stream=True, user="u", stream_options={"include_usage": True},
        tools=[{"type": "function", "function": {"name": "run_agent", "parameters": AGENT, "description": "x"}}],
    ),
    "Cline": chat(temperature=0, stream=True, stream_options={"include_usage": True}, reasoning_effort="low"),
    "Aider": chat(stream=True, temperature=0, extra_headers={"HTTP-Referer": "https://aider.chat"}),
    "OpenWebUI": chat(
        stream=True, features={"web_search": False}, session_id="s", chat_id="c", id="i", background_tasks={},
        files=[{"type": "file", "id": "f", "name": "x"}], params={}, tool_servers=[],
        model_item={"id": "m", "name": "M", "info": {"base_model_id": None}}, variables={"{{USER_NAME}}": "x"},
    ),
    "LangChain": chat(
        n=1, temperature=0.7, parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "Car", "strict": True, "schema": CARS}},
        tools=[{"type": "function", "function": {"name": "Car", "parameters": CARS, "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "Car"}},
    ),
    "LiteLLM's client": chat(
        metadata={"model_group": "x", "file_id": "f"}, user="u", num_retries=2, drop_params=True, tags=["a"],
        guardrails=["x"], litellm_session_id="s", caching=True, timeout=60,
    ),
    "older functions": chat(functions=[{"name": "f", "parameters": AGENT}], function_call="auto"),
    "Gemini's OpenAI API": chat(
        extra_body={"google": {"thinking_config": {"thinking_budget": 800, "include_thoughts": True},
                               "safety_settings": [{"category": "x", "threshold": "y"}]}}
    ),
    "Gemini's OpenAI API through its client": chat(extra_body={"extra_body": {"google": {"cached_content": None}}}),
    "vLLM": chat(
        extra_body={"guided_json": CARS, "top_k": 5, "prompt_cache_key": "x", "metadata": {"model": "x"}},
        guided_json=CARS, chat_template_kwargs={"enable_thinking": False}, cache_salt="x",
    ),
    "OpenRouter": chat(
        models=["m"], route="fallback", transforms=["middle-out"], reasoning={"effort": "high", "exclude": False},
        provider={"order": ["anthropic"], "only": ["a"], "allow_fallbacks": False, "data_collection": "deny",
                  "sort": "price", "max_price": {"prompt": 1}},
        plugins=[{"id": "web", "max_results": 3, "engine": "exa"}, {"id": "file-parser", "pdf": {"engine": "native"}}],
        usage={"include": True}, tools=[{"type": "openrouter:web_search", "parameters": {"engine": "exa"}}],
    ),
    "OpenRouter: models as objects": chat(models=[{"model": "m"}], fallbacks=["m", {"model": "m"}], preset=None),
    "Bedrock's form of a tool": chat(
        tools=[{"toolSpec": {"name": "f", "inputSchema": {"json": CARS | {"default": {"model": "x", "file_id": "f"}}}}}]
    ),
    "Gemini's form of a tool": chat(tools=[{"functionDeclarations": [{"name": "f", "parameters": AGENT}]}]),
    "quoted JSON": chat(messages=[{"role": "user", "content": '{"file_ids": ["a"], "model": "x", "container": "c"}'}]),
    "a mention of a file's URL": chat(messages=[{"role": "user", "content": 'what is fileid://x, or "fileid://y"?'}]),
    "embeddings": {"model": "m", "input": ["a", "item_reference", "model"], "encoding_format": "base64"},
    "embeddings of tokens": {"model": "m", "input": [[1, 2, 3], [4]]},
    "a list of objects as the input of a moderation": {
        "model": "m", "input": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    },
    "Mistral: ocr": {"model": "m", "document": {"type": "document_url", "document_url": "https://x.example/a.pdf"}},
    "Mistral: fill in the middle": {"model": "m", "prompt": "def f(", "suffix": "return x"},
    "speech": {"model": "m", "input": "x", "voice": "alloy", "instructions": "x", "response_format": "mp3"},
    "spoken chat": chat(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}),
    "a public video": chat(extra_body={"contents": [{"parts": [{"fileData": {"fileUri": "https://youtu.be/x"}}]}]}),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "UTF-8"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
def test_a_call_of_a_real_client_is_forwarded(call: Fields, ascii_only: bool, separators: tuple[str, str]) -> None:
    call = {**call, "user": "é 模型 😀 \0 a\\u0041b"}
    sent = json.dumps(call, ensure_ascii=ascii_only, separators=separators).encode()

    body = JsonBody(sent)

    assert (body.model, body.models, body.references) == ("m", ("m",), frozenset())
    assert body.with_ids({"m": "m"}) == sent
    assert json.loads(body.with_ids({"m": "n"})) == renamed(call)


def renamed(call: Fields) -> Fields:
    changes: Fields = {"model": "n"}
    if "models" in call:
        changes["models"] = ["n"] if call["models"] == ["m"] else [{"model": "n"}]
    if isinstance(call.get("fallbacks"), list):
        changes["fallbacks"] = ["n", {"model": "n"}]
    return call | changes


def test_a_long_table_in_a_message_is_one_value() -> None:
    table = "a,b,c\\n" * 600_000
    text = f'{{"model":"m","messages":[{{"role":"user","content":"{table} {{\\"file_ids\\": [\\"a\\"]}}"}}],"x":{{}}}}'
    with_tool = text.replace('"x":{}', '"tools":[{"type":"image_generation","model":"n"}]')

    assert JsonBody(text.encode()).models == ("m",)
    assert JsonBody(with_tool.encode()).models == ("m", "n")
