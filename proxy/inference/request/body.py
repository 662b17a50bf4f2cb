"""The interface of request bodies of all formats."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.errors import BadRequest

MODEL = "model"
MAX_MODEL_ID = 1000
"""Characters; error messages repeat the id."""


class Body:
    """A request body, and the models it selects."""

    content_type: bytes
    model: str
    """The requested model."""
    models: tuple[str, ...]
    """All models in fields that `with_ids` renames, the requested one first."""
    models_of_tools: tuple[str, ...] = ()
    """Models in nested objects; `with_ids` does not rename them, so the provider must use the same ids."""
    refers_to_state = False
    """Whether the body references objects that a provider stores for its account."""

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        """Return the body with each model replaced by its value in `ids`; no other byte changes."""
        raise NotImplementedError


def missing_model() -> BadRequest:
    return BadRequest("The request body must have a `model` field with an id listed by GET /v1/models.", param=MODEL)
