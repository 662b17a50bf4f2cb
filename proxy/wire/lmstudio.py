"""LM Studio's model list, `{"object": "list", "data": [{"id", "type", "publisher", "state", ...}]}`.

Its errors are OpenAI's: clients call the models through that API.
"""

from __future__ import annotations

from typing import Any

from proxy.catalog import Model
from proxy.dialects.known_facts import Facts
from proxy.wire.encoder import encode
from proxy.wire.facts import all_fields, facts_of
from proxy.wire.format import Format
from proxy.wire.lists import ListFormat, whole
from proxy.wire.openai import openai_error

PATH = "/api/v0/models"
_REPORTED = ("arch", "compatibility_type", "quantization")
"""Shown as the provider reports them."""


def listed_model(model: Model) -> bytes:
    """Return a model as LM Studio's clients read it. What is unknown is left out."""
    given, facts = all_fields(model), facts_of(model)
    shown: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "type": _type(facts),
        "publisher": model.owned_by,
        **{name: given[name] for name in _REPORTED if isinstance(given.get(name), str)},
        "state": "loaded",  # it can be called
    }
    if facts.context:
        shown["max_context_length"] = facts.context
    if "tools" in facts.capabilities:
        shown["capabilities"] = ["tool_use"]
    return encode(shown)


def _type(facts: Facts) -> str:
    if facts.type in ("", "chat", "completion"):
        return "vlm" if "vision" in facts.capabilities else "llm"
    return "embeddings" if facts.type == "embedding" else facts.type


FORMAT = Format(
    "lmstudio",
    recognizes=lambda path: path == PATH or path.startswith(PATH + "/"),
    error=openai_error,
    lists=ListFormat(listed_model, whole(b'{"object":"list","data":[', b"]}"), paths=(PATH,), api="openai"),
)
