"""LiteLLM's model information, `{"data": [{"model_name", "litellm_params": {"model"}, "model_info": {...}}]}`.

Its errors are OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.catalog import Model
from proxy.dialects.known_facts import Capability
from proxy.wire.encoder import encode
from proxy.wire.facts import all_fields, facts_of
from proxy.wire.format import Format
from proxy.wire.lists import ListFormat, whole
from proxy.wire.openai import openai_error

PATHS = ("/v1/model/info", "/model/info")
_MODES = {
    "chat": "chat",
    "completion": "completion",
    "embedding": "embedding",
    "image": "image_generation",
    "rerank": "rerank",
    "moderation": "moderation",
    "video": "video_generation",
}
"""LiteLLM's names of types. It has two for audio, so `audio` has none."""
_FLAGS: Mapping[Capability, str] = {
    "tools": "supports_function_calling",
    "reasoning": "supports_reasoning",
    "vision": "supports_vision",
    "audio": "supports_audio_input",
    "video": "supports_video_input",
    "file": "supports_pdf_input",
}
_PRICES = {"prompt": "input_cost_per_token", "completion": "output_cost_per_token"}


def model_info(model: Model) -> bytes:
    """Return a model as LiteLLM's clients read it. What is unknown is left out."""
    facts = facts_of(model)
    info: dict[str, Any] = {"id": model.id, "key": model.id, "db_model": False, "litellm_provider": model.owned_by}
    if mode := _MODES.get(facts.type):
        info["mode"] = mode
    if facts.context:
        info["max_input_tokens"] = facts.context
    if facts.max_output:
        info["max_tokens"] = info["max_output_tokens"] = facts.max_output
    for capability, name in _FLAGS.items():
        if capability in facts.capabilities or capability in facts.lacking:
            info[name] = capability in facts.capabilities
    info.update(_prices(all_fields(model).get("pricing")))
    return encode({"model_name": model.id, "litellm_params": {"model": model.id}, "model_info": info})


def _prices(pricing: object) -> Mapping[str, float]:
    """Return the prices of a token in US dollars: `pricing` has them as decimal strings."""
    if not isinstance(pricing, dict):
        return {}
    return {
        name: float(price)
        for field, name in _PRICES.items()
        if isinstance(price := pricing.get(field), str) and price.replace(".", "", 1).isdecimal() and price.isascii()
    }


FORMAT = Format(
    "litellm",
    recognizes=PATHS.__contains__,
    error=openai_error,
    lists=ListFormat(model_info, whole(b'{"data":[', b"]}"), paths=PATHS, has_items=False),
)
