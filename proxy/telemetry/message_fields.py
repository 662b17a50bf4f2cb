"""Fields of log lines that are neither calls nor requests. In JSON they follow the message; text does not have them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from proxy.states import BreakerState, ListState


class CircuitFields(Struct):
    """A circuit breaker of calls has changed its state."""

    provider: str
    model: str | None
    """The provider's id; None: the breaker of the whole provider."""
    key: str | None
    """The name of the caller's key whose calls it rejects, "" for calls without a key; None: those of all."""
    before: BreakerState
    state: BreakerState


class ListFields(Struct):
    """The state of a provider's list, or the kind of its error, has changed."""

    provider: str
    state: ListState
    models: int = 0
    failures: int = 0
    """Consecutive failed refreshes."""
    error: str = ""
    """The kind of the last error, "" without one."""


class ModelsFields(Struct):
    """The models of a provider have changed."""

    provider: str
    added: int
    removed: int


Fields = CircuitFields | ListFields | ModelsFields
EVENTS: Mapping[type[Struct], str] = {CircuitFields: "circuit", ListFields: "list", ModelsFields: "models"}
"""The value of `event` in the lines with these fields."""


def attributes(fields: Fields) -> Mapping[str, object]:
    """The argument `extra` of a call of `logging`: attributes of the record."""
    return {"event": EVENTS[type(fields)], "fields": fields}
