"""The lag of the event loop: how late a timer is called, which is how long requests wait for their turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from proxy.telemetry.histogram import Histogram

INTERVAL = 0.5
"""Seconds between two measurements."""
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Timer(Protocol):
    def cancel(self) -> None: ...


class Loop(Protocol):
    """What an event loop offers."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer: ...


class LoopLag:
    """Measures the lag while it is started."""

    def __init__(self) -> None:
        self.seconds = Histogram(BOUNDS)
        self._timer: Timer | None = None

    def start(self, loop: Loop) -> None:
        due = loop.time() + INTERVAL
        self._timer = loop.call_at(due, self._measure, loop, due)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _measure(self, loop: Loop, due: float) -> None:
        self.seconds.observe(max(0.0, loop.time() - due))
        self.start(loop)
