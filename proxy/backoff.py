"""When whoever keeps failing is left alone, and for how long: the same for lists and for calls, counted apart."""

from __future__ import annotations

from collections.abc import Callable

FAILURE_THRESHOLD = 5
"""Failures in a row that open a breaker."""
OPEN_SECONDS, MAX_OPEN_SECONDS = 30.0, 300.0
"""Seconds for which it is open, times the failures beyond that number, and at most; each +-20 %."""


def open_for(failures: int, uniform: Callable[[float, float], float]) -> float:
    """Seconds to leave somebody alone after so many failures in a row; 0 while the breaker is closed."""
    opened = failures - FAILURE_THRESHOLD + 1
    return min(OPEN_SECONDS * opened, MAX_OPEN_SECONDS) * uniform(0.8, 1.2) if opened > 0 else 0.0
