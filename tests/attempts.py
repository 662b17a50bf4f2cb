"""Counts the attempts of calls, as an observer of the events of a proxy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.telemetry import Tokens
from proxy.telemetry.events import CallRecord, Observer, Outcome


class Labels(NamedTuple):
    """`key` is the name of an API key, "" for requests without one; `model` is the public id."""

    key: str
    provider: str
    model: str


@dataclass
class Counts:
    """The attempts with the same labels."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    responses: int = 0
    """Those with a response whose body was relayed."""
    input_tokens: int = 0
    output_tokens: int = 0


class Attempts(Observer):
    """All attempts, in the order of the first with its labels."""

    def __init__(self) -> None:
        self._rows: dict[Labels, Counts] = {}

    def __iter__(self) -> Iterator[tuple[Labels, Counts]]:
        return iter(self._rows.items())

    def attempt_ended(
        self, call: CallRecord, provider: str, outcome: Outcome, first_byte: float | None, tokens: Tokens
    ) -> None:
        counts = self._rows.setdefault(Labels(call.key, provider, call.model), Counts())
        counts.outcomes[outcome] += 1
        counts.responses += first_byte is not None
        counts.input_tokens += tokens.input
        counts.output_tokens += tokens.output
