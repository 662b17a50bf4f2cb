"""Token counts of one call."""

from __future__ import annotations

from msgspec import Struct


class Tokens(Struct, frozen=True):
    """What an answer says that it used; 0 where it says nothing."""

    input: int = 0
    output: int = 0

    def and_then(self, later: Tokens) -> Tokens:
        """Counts of one stream grow: the last one is the sum."""
        return Tokens(max(self.input, later.input), max(self.output, later.output))
