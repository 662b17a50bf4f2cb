"""When whoever keeps failing is left alone, and for how long: the same for lists and for calls, counted apart."""

from __future__ import annotations

from collections.abc import Callable

AFTER = 5
"""Failures in a row that open a breaker."""
STEP, LONGEST = 30.0, 300.0
"""Seconds for which it is open, times the failures beyond that number, and at most; each +-20 %."""


def pause(failures: int, uniform: Callable[[float, float], float]) -> float:
    """Seconds to leave somebody alone after so many failures in a row; 0 while the breaker is closed."""
    opened = failures - AFTER + 1
    return min(STEP * opened, LONGEST) * uniform(0.8, 1.2) if opened > 0 else 0.0
