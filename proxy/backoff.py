"""When a circuit breaker opens and for how long. Failures of lists and of calls are counted separately."""

from __future__ import annotations

from collections.abc import Callable

FAILURE_THRESHOLD = 5
"""Consecutive failures that open a circuit breaker."""
OPEN_SECONDS, MAX_OPEN_SECONDS = 30.0, 300.0
"""Seconds it stays open: the first value times the number of failures since the threshold, capped, with 20 % jitter."""


def open_for(failures: int, uniform: Callable[[float, float], float]) -> float:
    """Return the seconds for which the breaker opens after this many consecutive failures; 0 below the threshold."""
    opened = failures - FAILURE_THRESHOLD + 1
    return min(OPEN_SECONDS * opened, MAX_OPEN_SECONDS) * uniform(0.8, 1.2) if opened > 0 else 0.0
