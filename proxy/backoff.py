"""When a circuit breaker opens and for how long: the same rule for lists and for calls, which are counted apart."""

from __future__ import annotations

from collections.abc import Callable

FAILURE_THRESHOLD = 5
"""Consecutive failures that open a circuit breaker."""
OPEN_SECONDS, MAX_OPEN_SECONDS = 30.0, 300.0
"""Seconds for which it is open, times the failures from the threshold on, and at most; each +-20 %."""


def open_for(failures: int, uniform: Callable[[float, float], float]) -> float:
    """Seconds for which the breaker is open after this many consecutive failures; 0 while it is closed."""
    opened = failures - FAILURE_THRESHOLD + 1
    return min(OPEN_SECONDS * opened, MAX_OPEN_SECONDS) * uniform(0.8, 1.2) if opened > 0 else 0.0
