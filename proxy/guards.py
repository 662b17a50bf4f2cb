"""Names of the fields that select models or an upstream, or that reference stored state, and the attack each allows.

All providers share one account among the callers of the proxy, so a provider cannot distinguish which caller may use a
model or owns an object. Names are in lower case: compare them with `fold_name`.
"""

from __future__ import annotations

import re

MODEL = "model"
SELECT_MODELS = frozenset(
    {
        "models",  # OpenRouter, Perplexity: tried after `model`, so that a key could reach a model it does not allow
        "fallbacks",  # LiteLLM, Anthropic, OpenRouter: the same, also as objects with a `model`
        "fallback_models",  # gateways derived from OpenRouter: the same
        "route",  # gateways: the name of a model; "fallback" and "sort" of OpenRouter only concern `models`
        "safety_model",  # Together: a second model, which filters the answer
        "draft_model",  # LM Studio: a second model, which is loaded for speculative decoding
    }
)
"""Fields of a request with further models: an id, or a list of ids or of objects with an id."""
NOT_MODELS = {"fallbacks": {"default"}, "route": {"fallback", "sort"}}
"""Field in `SELECT_MODELS` -> values that name no model: the provider's own choice for this model, and its order."""
SELECT_UPSTREAM = frozenset(
    {
        # LiteLLM and its derivatives send the call, with the operator's credential, to the caller's address:
        "api_base", "base_url", "api_version", "custom_llm_provider", "azure_endpoint", "aws_bedrock_runtime_endpoint",
        "aws_sts_endpoint", "sagemaker_base_url", "langfuse_host",
        # ... use the caller's credential, or another one of the operator:
        "api_key", "azure_ad_token", "aws_web_identity_token", "vertex_credentials", "litellm_credential_name",
        # ... replace the operator's list of deployments, or select models by the gateway's own names:
        "model_list", "user_config", "router_settings_override", "specific_deployment", "context_window_fallbacks",
        "context_window_fallback_dict", "content_policy_fallbacks",
        # vLLM and SGLang with separate prefill: fetch the state of another call, from the caller's address.
        "kv_transfer_params", "bootstrap_host",
    }
)  # fmt: skip
"""Fields of a request that select an upstream or its credential."""
PLACE = re.compile(
    r"(?:.*_)?(?:api_?base|base_?url|api_?url|api_?key|endpoint(?:_url)?|credentials?|secret|access_key(?:_id)?)|key",
    re.DOTALL,
)
"""Names in `extra_body` that select an upstream or its credential: gateways merge it into any call they make."""
SELECT_ANYWHERE = frozenset(
    {
        "manualmode", "manual_mode",  # Vertex AI: the call is routed to another model than that of the path
    }
)  # fmt: skip
"""The same, at any depth."""
CONTINUE = frozenset(
    {
        "previous_response_id",  # OpenAI: continues, and so reveals, another caller's response
        "conversation",  # OpenAI: the same with a conversation
    }
)
"""Fields of a request with the id of what it continues."""
REFERENCE_STATE = CONTINUE | frozenset(
    {
        "preset",  # OpenRouter, Perplexity: a stored configuration, with models of its own
        "prompt_id",  # LiteLLM, Helicone: a stored prompt, with a model of its own
        "agent",  # Azure Foundry: a stored agent, with a model of its own
        "agent_id",  # Mistral: the same
        "data_sources",  # Azure: searches stores of the operator with the identity of the resource
        "session_params",  # SGLang: continues the session of another caller
        "lora_path",  # SGLang: an adapter stored at the provider
    }
)
"""Fields of a request that reference objects stored for the provider's account."""
CONTAINER = "container"
"""A field of a request or a tool: code runs among another caller's files, unless it is an object without an id."""
EXTRA_BODY = "extra_body"
"""A field of a request with a further one, which gateways merge into the outer one."""
COUNTED = frozenset({"generatecontentrequest", "generate_content_request"})
"""Fields of a request with a further one, whose tokens Gemini counts."""
BATCH = "requests"
"""A field with a list of requests: Gemini's embeddings; Anthropic's batches have each in `params`."""
GUARDED = SELECT_MODELS | SELECT_UPSTREAM | REFERENCE_STATE | {MODEL, CONTAINER, EXTRA_BODY}
"""Fields whose names must be spelled exactly in the outermost object: some providers ignore case."""
CONTAIN_MODELS = frozenset({"plugins", "compound_custom", "provider_options", "provideroptions", "moderation"})
"""Fields of a request that contain models at any depth (OpenRouter, Groq, Vercel, OpenAI)."""
CALLER_TOOLS = frozenset({"", "function", "custom", "tool_search"})
"""Types of tools that the caller runs: `model` below them is a parameter of the caller's own function."""
CALLER_NAMES = frozenset(
    {
        "input_schema", "inputschema", "output_schema", "outputschema", "json_schema", "jsonschema", "schema",
        "parametersjsonschema", "parameters_json_schema", "guided_json", "properties", "headers",
    }
)  # fmt: skip
"""Names of fields with a JSON schema, or with headers for an MCP server: all names in them are the caller's own."""
CALLER_DATA = CALLER_NAMES | {
    "annotations", "args", "arguments", "citations", "examples", "input_examples", "metadata", "parameters", "results",
}  # fmt: skip
"""Names of fields with the caller's data or with sources of earlier responses: providers load no files for them."""
TOOL_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
"""Types of objects whose `input` is the caller's data."""

FUNCTION_RESPONSES = frozenset({"functionresponse", "function_response"})
"""Fields with what a function of the caller has returned (Gemini)."""


def fold_name(name: str) -> str:
    """Return a field name as a case-insensitive parser, or one that ends strings at NUL, would read it."""
    return name.partition("\0")[0].casefold()


def names_models(folded: str) -> bool:
    """Return whether a field of a provider's tool or option selects models: `judge_model`, `allowed_models`."""
    return folded.endswith(("model", "models"))
