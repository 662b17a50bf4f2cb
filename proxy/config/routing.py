"""`models` and `routing`: virtual models, and the order in which providers are called."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from proxy.config.fields import NotEmpty, Prefixes, Settings
from proxy.dialects.identity import problem_of_id
from proxy.patterns import WILDCARDS

Strategy = Literal["order", "weighted", "least_busy"]


def _exact_id(model_id: str) -> str:
    if WILDCARDS & set(model_id):
        raise ValueError("must be the exact id of a model; patterns are not supported")
    if problem := problem_of_id(model_id):
        raise ValueError(f"must be a valid model id: {problem}")
    return model_id


def _filled(values: tuple[str, ...]) -> tuple[str, ...]:
    # Not `min_length`, which would also report a list whose only value is invalid as empty.
    if not values:
        raise ValueError("must not be empty")
    return values


ModelId = Annotated[NotEmpty, AfterValidator(_exact_id)]


class VirtualModel(Settings):
    """A model whose calls are sent to the models that it names."""

    id: ModelId
    targets: Annotated[tuple[ModelId, ...], AfterValidator(_filled)]
    """Listed ids."""
    strategy: Strategy = "order"


class RoutingRule(Settings):
    """How the providers of some models are ordered."""

    match: Annotated[Prefixes, AfterValidator(_filled)]
    """Patterns over public ids."""
    strategy: Strategy
