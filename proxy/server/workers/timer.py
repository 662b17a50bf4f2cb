"""One timer for a process without an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SingleTimer:
    """Calls one function at a time, when its owner looks (`run_due`). A `proxy.server.systemd.Loop`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.time = monotonic
        self.due_at = float("inf")
        """Monotonic seconds."""
        self._call: Callable[[], Any] = lambda: None

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> SingleTimer:
        self.due_at = self.time() + delay
        self._call = lambda: callback(*args)
        return self

    def cancel(self) -> None:
        self.due_at = float("inf")

    def run_due(self) -> None:
        if self.time() >= self.due_at:
            self.due_at = float("inf")
            self._call()
