"""Ollama's API: paths, errors, model lists and the facts about one model.

A list is `{"models": [{"name", "model", "modified_at", "size", "digest", "details": {...}}]}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.catalog import Model
from proxy.decoding import decode_or_none
from proxy.dialects.known_facts import Capability, Facts
from proxy.errors import ApiError, RelayedError
from proxy.wire.encoder import encode
from proxy.wire.facts import all_fields, facts_of, fields_of, rfc3339
from proxy.wire.format import Format
from proxy.wire.lists import ListFormat, whole

API_VERSION = "0.13.0"
"""The version of Ollama whose fields the responses have: clients compare it with those that they support."""
_UNKNOWN_ARCHITECTURE = "unknown"
_ABILITIES: Mapping[Capability, str] = {"tools": "tools", "vision": "vision", "reasoning": "thinking", "audio": "audio"}
"""Ollama's names of capabilities."""
_DETAILS = {"parent_model": "", "format": "", "family": "", "parameter_size": "", "quantization_level": ""}
_NAMES = frozenset(
    {
        "blobs", "chat", "copy", "create", "delete", "embed", "embeddings", "generate", "ps", "pull", "push", "show",
        "tags", "version",
    }
)  # fmt: skip
"""All paths of Ollama's API, below `/api`; most are not served."""


def ollama_error(error: ApiError) -> bytes:
    """Return the body of an error as Ollama's clients read it."""
    return encode({"error": error.message})


def relayed_error(error: RelayedError) -> bytes:
    """Return a provider's error. Ollama's clients cannot read one whose `error` is an object."""
    payload = decode_or_none(error.body)
    is_own = isinstance(payload, dict) and isinstance(payload.get("error"), str)
    return error.body if is_own else ollama_error(error)


def listed_model(model: Model) -> bytes:
    """Return a model in a list. Clients require all fields: "" and 0 are unknown values, as in Ollama."""
    given = all_fields(model)
    size, digest = given.get("size"), given.get("digest")
    return encode(
        {
            "name": model.id,
            "model": model.id,
            "modified_at": rfc3339(model.created),
            "size": size if type(size) is int and size > 0 else 0,
            "digest": digest if isinstance(digest, str) else "",
            "details": _details(given),
        }
    )


def shown_model(model: Model) -> bytes:
    """Return the response to `POST /api/show`: facts, without templates and parameters."""
    given, facts = all_fields(model), facts_of(model)
    details = _details(given)
    architecture = details["family"] or _UNKNOWN_ARCHITECTURE
    info: dict[str, Any] = {
        "general.architecture": architecture,
        "general.basename": fields_of(model).display_name or model.id,
    }
    if facts.context:
        info[f"{architecture}.context_length"] = facts.context
    return encode(
        {
            "details": details,
            "model_info": info,
            "capabilities": [*_abilities(facts)],
            "modified_at": rfc3339(model.created),
        }
    )


def _details(given: Mapping[str, Any]) -> dict[str, Any]:
    details = given.get("details")
    details = details if isinstance(details, dict) else {}
    texts = {name: value if isinstance(value := details.get(name), str) else "" for name in _DETAILS}
    return {**texts, "families": [texts["family"]] if texts["family"] else None}


def _abilities(facts: Facts) -> Iterator[str]:
    if facts.type in ("", "chat", "completion"):
        yield "completion"
    elif facts.type == "embedding":
        yield "embedding"
    yield from (word for capability, word in _ABILITIES.items() if capability in facts.capabilities)


def _recognizes(path: str) -> bool:
    return path.startswith("/api/") and path.split("/")[2] in _NAMES


FORMAT = Format(
    "ollama",
    recognizes=_recognizes,
    error=ollama_error,
    relayed_error=relayed_error,
    lists=ListFormat(
        listed_model,
        whole(b'{"models":[', b"]}"),
        single=shown_model,
        paths=("/api/tags",),
        has_items=False,
        look_up="/api/show",
        fixed={"/api/version": encode({"version": API_VERSION}), "/api/ps": b'{"models":[]}'},  # loaded models
        api="ollama",
    ),
)
