"""What was called: counters for whoever watches or bills. No prompt and no answer is ever kept."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from proxy.telemetry.tokens import Tokens

Outcome = Literal["ok", "refused", "limited", "failed", "timeout", "broken", "left"]
"""How one attempt at a provider ended: answered · refused for what was asked (4xx) · asked too often (429) · not
reached or failed · too slow · broken off within the answer · the client left."""

FIRST_BYTE_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; of the last bucket there is no bound."""
MAX_ROWS = 100_000
"""What would be one more row is counted under the model `other`."""
OTHER = "other"


class Labels(NamedTuple):
    """What is counted apart. `key` is the name of a key, "" for who brings none; `model` is the public id."""

    key: str
    provider: str
    model: str


@dataclass
class Counts:
    """Of one key, provider and model. They only rise."""

    outcomes: dict[Outcome, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    first_byte: list[int] = field(default_factory=lambda: [0] * (len(FIRST_BYTE_BOUNDS) + 1))
    """How many answers began within each of `FIRST_BYTE_BOUNDS`, and later than all."""
    first_byte_seconds: float = 0.0
    """The sum of all times to a first byte."""

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values())


class Usage:
    """The counters of one process."""

    def __init__(self) -> None:
        self._rows: dict[Labels, Counts] = {}

    def __iter__(self) -> Iterator[tuple[Labels, Counts]]:
        return iter(self._rows.items())

    def count(
        self, labels: Labels, outcome: Outcome, first_byte: float | None = None, tokens: Tokens | None = None
    ) -> None:
        """One attempt; `first_byte` is seconds, None where nothing came; `tokens` is what the answer says it used."""
        counts = self._counts(labels)
        counts.outcomes[outcome] = counts.outcomes.get(outcome, 0) + 1
        if first_byte is not None:
            counts.first_byte[bisect_left(FIRST_BYTE_BOUNDS, first_byte)] += 1
            counts.first_byte_seconds += first_byte
        if tokens:
            counts.input_tokens += tokens.input
            counts.output_tokens += tokens.output

    def _counts(self, labels: Labels) -> Counts:
        counts = self._rows.get(labels)
        if counts is None:
            if len(self._rows) >= MAX_ROWS:
                labels = labels._replace(model=OTHER)
            counts = self._rows.setdefault(labels, Counts())
        return counts
