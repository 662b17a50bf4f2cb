"""Fields that select models, select an upstream, or reference stored state, at the top level and in tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from proxy.errors import BadRequest
from proxy.inference.request.body import MAX_MODEL_ID, MODEL
from proxy.inference.request.json_spans import array_items, decode_name, duplicate_field, member_spans

Models = str | list[str]
"""A model id, or a list of them, as a field contains them."""
_decode_models: Callable[[bytes], Models] = msgspec.json.Decoder(Models).decode

SELECT_MODELS = frozenset({"models", "fallbacks", "fallback_models", "route"})
"""Top-level fields with further models: an id, or a list of ids."""
SELECT_UPSTREAM = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "model_list", "user_config",
        "context_window_fallbacks", "content_policy_fallbacks", "extra_body",
    }
)  # fmt: skip
"""Top-level fields that select an upstream, or models by another gateway's names (LiteLLM and its derivatives)."""
REFERENCE_STATE = frozenset({"previous_response_id", "conversation", "container", "preset"})
"""Top-level fields that reference objects stored for the provider's account."""
GUARDED = SELECT_MODELS | SELECT_UPSTREAM | REFERENCE_STATE | {MODEL}
CONTAIN_MODELS = frozenset({"plugins", "compound_custom", "provider_options", "provideroptions"})
"""Top-level fields that can contain models at any depth (OpenRouter, Groq, Vercel), in lower case."""

_MAY_REFERENCE = (b"model", b"tore_id", b'"container"', b'"item_reference"', rb"\u")
"""Bytes, in lower case, one of which is in every object that selects a model or references state.

`tore_id` is in `vector_store_ids`: without its `s`, because case folding also maps U+017F to `s`.
"""
_MODEL_NAME = re.compile(r"(?:.*_)?models?", re.DOTALL)
_FUNCTION_TYPES = frozenset({"", "function", "custom"})
"""Types of tools that the caller runs: nested models are parameters of the caller's own functions."""


def fold_name(name: str) -> str:
    """Return a field name as a case-insensitive parser, or one that ends strings at NUL, would read it."""
    return name.partition("\0")[0].casefold()


def decode_models(value: bytes) -> Models | None:
    """Decode one model id or a list of them; None if the value is anything else, or a string cannot be an id."""
    try:
        models = _decode_models(value)
    except ValueError:
        return None
    return models if all(0 < len(model) <= MAX_MODEL_ID for model in as_list(models)) else None


def as_list(models: Models) -> list[str]:
    return [models] if isinstance(models, str) else models


def suspicious_objects(array: bytes) -> Iterator[Mapping[str, bytes]]:
    """Yield the objects in an array that may select models or reference state: their values by folded name.

    Most arrays have none, and are not decoded. Raises ValueError.
    """
    if array.startswith(b"[") and _may_reference(array):
        for item in array_items(array):
            if item.startswith(b"{") and _may_reference(item):
                yield _fields(item)


def models_of_tool(fields: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the models that a tool selects: at any depth, unless it is a function. Raises ValueError, BadRequest."""
    return _models_of(fields, nested=_type(fields) not in _FUNCTION_TYPES)


def nested_models(value: bytes) -> Iterator[str]:
    """Yield the models that a value selects at any depth. Raises ValueError, BadRequest."""
    if value.startswith(b"{") and _may_reference(value):
        yield from _models_of(_fields(value), nested=True)
    for fields in suspicious_objects(value):
        yield from _models_of(fields, nested=True)


def references_state(fields: Mapping[str, bytes]) -> bool:
    """Return whether a tool or an input item references stored state."""
    return (
        _type(fields) == "item_reference"
        or fields.get("vector_store_ids", b"null") not in (b"null", b"[]")
        or fields.get("container", b"").startswith(b'"')
    )


def _may_reference(value: bytes) -> bool:
    value = value.lower()
    return any(mark in value for mark in _MAY_REFERENCE)


def _fields(item: bytes) -> Mapping[str, bytes]:
    fields: dict[str, bytes] = {}
    for name, (start, end) in member_spans(item).items():
        folded = fold_name(name)
        if folded in fields:
            raise duplicate_field(folded)
        fields[folded] = item[start:end]
    return fields


def _type(fields: Mapping[str, bytes]) -> str:
    value = fields.get("type", b"")
    return decode_name(value) if value.startswith(b'"') else ""


def _models_of(fields: Mapping[str, bytes], *, nested: bool) -> Iterator[str]:
    for name, value in fields.items():
        if value != b"null" and (name == MODEL or (nested and _selects_models(name, value))):
            yield from _models_in_tool(value)
        elif nested:
            yield from nested_models(value)


def _selects_models(name: str, value: bytes) -> bool:
    return _MODEL_NAME.fullmatch(name) is not None and value[:1] in b'"['


def _models_in_tool(value: bytes) -> list[str]:
    models = decode_models(value)
    if models is None:
        raise BadRequest("The `model` of a tool must be a model id.", param="tools")
    return as_list(models)
