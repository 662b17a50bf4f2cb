"""What every body of a call has in common."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.errors import BadRequest

MODEL = "model"
CHOOSE_MODELS = frozenset({"models", "fallbacks", "fallback_models", "route"})
"""Fields that name further models: a model, or a list of models."""
CHOOSE_ELSEWHERE = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "model_list", "user_config",
        "context_window_fallbacks", "content_policy_fallbacks", "extra_body",
    }
)  # fmt: skip
"""Fields that choose a place, or models in words that are not ours (LiteLLM, and what is made of it)."""
REFER_TO_STATE = frozenset({"previous_response_id", "conversation", "container", "preset"})
"""Fields that name something which a provider keeps for its account."""
_GUARDED = CHOOSE_MODELS | CHOOSE_ELSEWHERE | REFER_TO_STATE | {MODEL}

_MAX_ID = 1000
"""Characters of a model's id: it is repeated in refusals."""


class Body:
    """A call's body."""

    content_type: bytes
    model: str
    """The first model it names."""
    models: tuple[str, ...]
    """All models it names."""
    models_of_tools: tuple[str, ...] = ()
    """Further ones that cannot be renamed: the provider must know them by the ids that the caller uses."""
    refers_to_state = False
    """Whether it names something that a provider keeps for its account."""

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        """The same bytes, with other ids for its models."""
        raise NotImplementedError


def _folded(name: str) -> str:
    """What a name may be to a parser that takes all letters alike, or ends a text at a zero."""
    return name.partition("\0")[0].casefold()


def _no_model() -> BadRequest:
    return BadRequest("The body names no `model`. Name one that GET /v1/models lists.", param=MODEL)
