"""Facts under the names that clients of other servers read (`server.facts_style: all`). Pure.

A field that the provider sent is unchanged. The names follow the documentation of OpenRouter (`top_provider`,
`architecture`, `supported_parameters`), vLLM (`max_model_len`), llama.cpp (`meta.n_ctx`), LiteLLM (`max_input_tokens`),
Groq (`context_window`, `max_completion_tokens`) and Ollama (`capabilities`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from proxy.catalog.offer_facts import with_type_of_name
from proxy.catalog.values import Model
from proxy.dialects.known_facts import Capability, Facts, facts_in

_CONTEXT = ("context_length", "context_window", "max_model_len", "max_input_tokens", "top_provider.context_length",
            "meta.n_ctx")  # fmt: skip
_OUTPUT = ("max_output_tokens", "max_completion_tokens", "top_provider.max_completion_tokens")
_PARAMETERS: Mapping[Capability, tuple[str, ...]] = {
    "tools": ("tools", "tool_choice"),
    "reasoning": ("reasoning", "include_reasoning"),
}
"""OpenRouter's names of parameters of calls."""
_ABILITIES: Mapping[Capability, str] = {"tools": "tools", "reasoning": "thinking", "vision": "vision", "audio": "audio"}
"""Ollama's names of capabilities."""
_ABILITY_OF_TYPES = {"chat": "completion", "completion": "completion", "embedding": "embedding", "image": "image"}
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_ENCODE = msgspec.json.Encoder().encode


def with_all_spellings(model: Model) -> Model:
    """A listed model whose facts have all names."""
    first = model.offers[0]
    if first.entry.raw:
        return model  # also shown as it was sent
    extra = _spelled(first.entry.extra, (first.alias_of or first).entry.id)
    if extra is first.entry.extra:
        return model
    return replace(model, offers=(replace(first, entry=replace(first.entry, extra=extra)), *model.offers[1:]))


@lru_cache(16384)
def _spelled(extra: bytes, own_id: str) -> bytes:
    """Cached, because the lists of all policies contain the same entries."""
    fields = _DECODE(extra)
    facts = with_type_of_name(facts_in(extra), own_id)
    added = [_add(fields, path.split("."), value) for path, value in _names_of(facts)]
    return _ENCODE(fields) if any(added) else extra


def _names_of(facts: Facts) -> Iterator[tuple[str, Any]]:
    """Path -> value, of all names of the facts that are known."""
    if facts.type:
        yield "type", facts.type
    if facts.context:
        yield from ((path, facts.context) for path in _CONTEXT)
    if facts.max_output:
        yield from ((path, facts.max_output) for path in _OUTPUT)
    if facts.inputs and facts.outputs:
        yield "architecture.modality", f"{'+'.join(facts.inputs)}->{'+'.join(facts.outputs)}"
    if facts.inputs:
        yield "architecture.input_modalities", facts.inputs
    if facts.outputs:
        yield "architecture.output_modalities", facts.outputs
    if not facts.capabilities.union(facts.lacking).isdisjoint(_PARAMETERS):
        yield "supported_parameters", [*_words(_PARAMETERS, facts)]
    if abilities := [*_abilities(facts)]:
        yield "capabilities", abilities


def _words(names: Mapping[Capability, Iterable[str]], facts: Facts) -> Iterator[str]:
    return (word for capability, words in names.items() if capability in facts.capabilities for word in words)


def _abilities(facts: Facts) -> Iterator[str]:
    if ability := _ABILITY_OF_TYPES.get(facts.type):
        yield ability
    yield from (word for capability, word in _ABILITIES.items() if capability in facts.capabilities)


def _add(fields: dict[str, Any], path: list[str], value: Any) -> bool:
    """Set a field that is missing or null, unless its parent is not an object. Returns whether it was set."""
    name, *deeper = path
    present = fields.get(name)
    if not deeper:
        if present is None:
            fields[name] = value
        return present is None
    if present is None:
        present = fields[name] = {}
    return isinstance(present, dict) and _add(present, deeper, value)
