"""Usage counters for monitoring and billing. They contain no prompts and no responses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.telemetry.events import CallRecord, Observer, Outcome
from proxy.telemetry.tokens import Tokens

FIRST_BYTE_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of histogram buckets, in seconds. The last bucket has no upper bound."""
MAX_ROWS = 100_000
"""Maximum number of rows. Further models are counted as `other`."""
OTHER = "other"


class Labels(NamedTuple):
    """A row of counters. `key` is the name of an API key, "" for requests without one; `model` is the public id."""

    key: str
    provider: str
    model: str


@dataclass
class Counts:
    """Counters of one row; they only increase."""

    outcomes: dict[Outcome, int] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    first_byte: list[int] = field(default_factory=lambda: [0] * (len(FIRST_BYTE_BOUNDS) + 1))
    """Number of responses per bucket of `FIRST_BYTE_BOUNDS`, by time to first byte."""

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values())


class Usage(Observer):
    """The counters of one process."""

    def __init__(self) -> None:
        self._rows: dict[Labels, Counts] = {}

    def __iter__(self) -> Iterator[tuple[Labels, Counts]]:
        return iter(self._rows.items())

    def attempt_ended(
        self, call: CallRecord, provider: str, outcome: Outcome, first_byte: float | None, tokens: Tokens
    ) -> None:
        self.count(Labels(call.key, provider, call.model), outcome, first_byte, tokens)

    def count(
        self, labels: Labels, outcome: Outcome, first_byte: float | None = None, tokens: Tokens | None = None
    ) -> None:
        """Count one attempt. `first_byte`: seconds, None without a response; `tokens`: as the provider reports them."""
        counts = self._counts(labels)
        counts.outcomes[outcome] = counts.outcomes.get(outcome, 0) + 1
        if first_byte is not None:
            counts.first_byte[bisect_left(FIRST_BYTE_BOUNDS, first_byte)] += 1
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
