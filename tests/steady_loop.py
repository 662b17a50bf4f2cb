"""An event loop for tests whose clock depends on neither the load nor the speed of the machine."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

MAX_STEP = 0.002
"""Seconds that pass at most, between two looks at the clock, while code runs."""


class SteadyLoop(asyncio.SelectorEventLoop):
    """Its clock advances while the loop waits with nothing to do, and hardly while code runs.

    With the clock of the machine, a timeout of 100 ms expires as soon as another process runs for 100 ms, although the
    response has arrived. Code that runs without a pause still reaches its deadline, by its CPU time.
    """

    def __init__(self) -> None:
        self._steady = time.monotonic()
        self._cpu = time.thread_time()
        super().__init__(_Selector(self._waited))

    def time(self) -> float:
        cpu = time.thread_time()
        self._steady += min(max(cpu - self._cpu, 0.0), MAX_STEP)
        self._cpu = cpu
        return self._steady

    def _waited(self, seconds: float) -> None:
        self._steady += seconds


class _Selector(selectors.EpollSelector):
    """Reports for how long it has waited."""

    def __init__(self, waited: Callable[[float], None]) -> None:
        super().__init__()
        self._report = waited

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        began = time.monotonic()
        ready = super().select(timeout)
        waited = time.monotonic() - began
        self._report(waited if timeout is None else min(waited, timeout))
        return ready
