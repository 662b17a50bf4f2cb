"""Mistral's model cards: OpenAI's list, in which each model has a `type` and an object `capabilities`.

Mistral's SDKs request it at the path of OpenAI's list with the same headers, and reject the whole list if one model has
no `type`. The types in OpenAI's list have other names: so these SDKs are recognized by their `User-Agent`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.catalog import Model
from proxy.dialects.known_facts import Capability, Facts
from proxy.wire.encoder import encode
from proxy.wire.facts import facts_of
from proxy.wire.format import Format
from proxy.wire.lists import ListFormat, whole
from proxy.wire.openai import model_object, openai_error

_TYPES = ("base", "fine-tuned")
_FLAGS: dict[Capability, str] = {"tools": "function_calling", "vision": "vision", "reasoning": "reasoning"}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def model_card(model: Model) -> bytes:
    """Return a listed model with what Mistral's SDKs require. Mistral's own cards stay as they are."""
    card, facts = _decode(model_object(model)), facts_of(model)
    if card.get("type") not in _TYPES:
        card["type"] = "base"
    if not isinstance(card.get("capabilities"), dict):
        card["capabilities"] = _capabilities(facts)
    if facts.context:
        card.setdefault("max_context_length", facts.context)
    return encode(card)


def _capabilities(facts: Facts) -> dict[str, bool]:
    """Return the known capabilities. Models of an unknown type can chat: Mistral's SDKs read missing ones as false."""
    known = facts.capabilities | facts.lacking
    capabilities = {
        name: capability in facts.capabilities for capability, name in _FLAGS.items() if capability in known
    }
    return {**capabilities, "completion_chat": facts.type in ("", "chat")}


FORMAT = Format(
    "mistral",
    recognizes=lambda path: False,
    error=openai_error,
    list_header=b"user-agent",
    list_header_value=b"mistral-client-",
    lists=ListFormat(model_card, whole(b'{"object":"list","data":[', b"]}"), api="openai"),
)
