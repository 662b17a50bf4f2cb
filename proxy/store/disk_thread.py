"""A thread for file operations, which can block for as long as the file system does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

Submit = Callable[[Callable[[], Any]], None]
"""Runs a function in a thread, which must not raise."""


class DiskThread:
    """Runs functions one after the other in a thread. A daemon: a file system that hangs does not keep the process."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._is_started = False

    def submit(self, work: Callable[[], object]) -> None:
        """Run `work` after all functions before it. It must not raise."""
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._run, name="store", daemon=True).start()
        self._work.put(work)

    def _run(self) -> None:
        while True:
            self._work.get()()


async def run_in(submit: Submit, work: Callable[[], T], slow_seconds: float, on_slow: Callable[[], None]) -> T:
    """Run a function in the thread and return its result. Raises what it raises.

    `on_slow` is called if it takes longer than `slow_seconds`.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(_set_result, result, work())
        except Exception as error:
            settle = partial(_set_exception, result, error)
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(settle)

    submit(run)
    slow = loop.call_later(slow_seconds, on_slow)
    try:
        return await result
    finally:
        slow.cancel()


def _set_result(result: asyncio.Future[T], value: T) -> None:
    if not result.done():  # canceled
        result.set_result(value)


def _set_exception(result: asyncio.Future[T], error: Exception) -> None:
    if not result.done():
        result.set_exception(error)
