"""Count and log lost counters of limits."""

from __future__ import annotations

import logging
from collections.abc import Callable

WARNING_SECONDS = 3600.0
"""Minimum seconds between two warnings."""

_log = logging.getLogger("models_proxy")


class Dropped:
    """How much was lost for one reason. A warning is logged at most once an hour."""

    def __init__(self, monotonic: Callable[[], float], text: str, limit: int) -> None:
        """`text`: the warning, with a placeholder for `limit`."""
        self._monotonic = monotonic
        self._text = text
        self._limit = limit
        self._next_warning = float("-inf")
        self.total = 0

    def add(self, number: int = 1) -> None:
        self.total += number
        if (now := self._monotonic()) >= self._next_warning:
            self._next_warning = now + WARNING_SECONDS
            _log.warning(self._text, self._limit)
