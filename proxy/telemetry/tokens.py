"""Token counts of one call."""

from __future__ import annotations

from msgspec import Struct


class Tokens(Struct, frozen=True):
    """Tokens that a provider reports for a call; 0 if it reports none."""

    input: int = 0
    output: int = 0

    def merge(self, later: Tokens) -> Tokens:
        """Combine two reports of one call. Streams report running totals, so the larger count is the total."""
        return Tokens(max(self.input, later.input), max(self.output, later.output))
