"""An event loop for tests whose clock depends on neither the load nor the speed of the machine."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Any

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
        self.in_threads = 0
        """The number of functions that run in threads."""
        super().__init__(_Selector(self._waited))

    def time(self) -> float:
        cpu = time.thread_time()
        self._steady += min(max(cpu - self._cpu, 0.0), MAX_STEP)
        self._cpu = cpu
        return self._steady

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self.in_threads += 1
        future.add_done_callback(self._has_ended)
        return future

    def _has_ended(self, future: asyncio.Future[Any]) -> None:
        self.in_threads -= 1

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


def is_idle(loop: Any) -> bool:
    """Whether all tasks but the current one wait: for a time, a socket or another process.

    `loop`: one of asyncio, in one of its tasks.
    """
    in_threads = loop.in_threads if isinstance(loop, SteadyLoop) else loop._default_executor is not None
    return not (in_threads or loop._ready or loop._selector.select(0))


def has_sockets(loop: Any) -> bool:
    return len(loop._selector.get_map()) > 1  # one wakes the loop up
