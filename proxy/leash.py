"""What ends a call from outside: its client leaves, or a time limit passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class TooLate(Exception):
    """What was waited for took longer than it may."""


class Leash:
    """Pulls a call back from whatever it waits for.

    One listening task and, as a rule, one timer for a whole call: asyncio's own timeouts would make a timer for each
    piece of a stream.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]], whole: float) -> None:
        """`receive` is ASGI's, after the whole body was read; `whole` is seconds for everything together."""
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._ends = self._loop.time() + whole
        self._due = self._ends
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._waits = False
        self._late = False
        self._left = False
        self._pulled = False

    def __enter__(self) -> Leash:
        self._task = asyncio.current_task()
        self._cancelled_before = self._task.cancelling() if self._task else 0
        self._listening = self._loop.create_task(self._listen(), name="client")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._listening.cancel()
        if self._timer:
            self._timer.cancel()

    @property
    def now(self) -> float:
        return self._loop.time()

    def shorten(self, whole: float) -> None:
        """Everything together may take at most so many seconds from now."""
        self._ends = min(self._ends, self.now + whole)

    async def wait(self, awaitable: Awaitable[T], seconds: float) -> T:
        """What comes of it, within so many seconds. Raises ClientLeft and TooLate, and whatever is raised by it."""
        self._begin(seconds)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if not self._pulled or self._is_cancelled_by_others():
                raise
            # In front of the one who waits there may be no trace of how that ended.
            raise (ClientLeft if self._left else TooLate) from None
        finally:
            self._waits = False

    def _is_cancelled_by_others(self) -> bool:
        """Takes back our own cancellation; a server that ends the call at the same moment must not be overheard."""
        return self._task is not None and self._task.uncancel() > self._cancelled_before

    def _begin(self, seconds: float) -> None:
        now = self._loop.time()
        self._due = min(now + seconds, self._ends)
        self._waits, self._late, self._pulled = True, False, False
        if self._timer is None or self._timer.when() > self._due:
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._look)
        if self._left:
            self._loop.call_soon(self._pull)

    def _look(self) -> None:
        """The timer of an earlier wait may be over before the present one is."""
        self._timer = None
        if not self._waits:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._look)
        else:
            self._late = True
            self._pull()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self._pull()

    def _pull(self) -> None:
        if self._waits and self._task:
            # Once: a second one would reach whoever cleans up after the first.
            self._waits, self._pulled = False, True
            self._task.cancel()
