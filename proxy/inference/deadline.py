"""What ends a call from outside: its client leaves, or a time limit passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")
Watch = Callable[[Callable[[], None]], Callable[[], Any]]
"""Calls what it is handed when the client leaves; what it returns makes it stop watching."""

TICK = 0.05
"""Seconds; a call may last so much longer than its limit says."""


class ClientDisconnected(Exception):
    """Nobody waits for the answer any more."""


class DeadlineExceeded(Exception):
    """What was waited for took longer than it may."""


class DeadlineTimer:
    """Minds the time limits of all calls with one timer: one for each call, or each piece, costs more than the call."""

    def __init__(self) -> None:
        self._scopes: set[CallScope] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch_over(self, scope: CallScope) -> None:
        self._scopes.add(scope)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._look)

    def forget(self, scope: CallScope) -> None:
        self._scopes.discard(scope)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for scope in self._scopes:
            if scope.due <= now:
                scope.cancel()
        self._timer = loop.call_later(TICK, self._look) if self._scopes else None


class CallScope:
    """Pulls a call back from whatever it waits for."""

    def __init__(self, deadlines: DeadlineTimer, watch: Watch, whole: float) -> None:
        """`whole` is seconds for everything together."""
        self._deadlines = deadlines
        self._watch = watch
        self._time = asyncio.get_running_loop().time
        self._ends = self._time() + whole
        self.due = self._ends
        """When what is waited for at the moment is too late."""
        self._task: asyncio.Task[Any] | None = None
        self._waits = False
        self._left = False
        self._cancelled = False

    def __enter__(self) -> CallScope:
        self._task = asyncio.current_task()
        self._cancelled_before = self._task.cancelling() if self._task else 0
        self._stop_watching = self._watch(self._client_disconnected)
        self._deadlines.watch_over(self)
        return self

    def __exit__(self, *ending: object) -> None:
        self._deadlines.forget(self)
        self._stop_watching()

    @property
    def now(self) -> float:
        return self._time()

    def limit_to(self, whole: float) -> None:
        """Everything together may take at most so many seconds from now."""
        self._ends = min(self._ends, self._time() + whole)

    async def wait(self, awaitable: Awaitable[T], seconds: float) -> T:
        """What comes of it, within so many seconds. Raises ClientLeft and TooLate, and whatever is raised by it."""
        self.due = min(self._time() + seconds, self._ends)
        self._waits, self._cancelled = True, False
        if self._left:
            asyncio.get_running_loop().call_soon(self.cancel)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if not self._cancelled or self._is_cancelled_by_others():
                raise
            # In front of the one who waits there may be no trace of how that ended.
            raise (ClientDisconnected if self._left else DeadlineExceeded) from None
        finally:
            self._waits = False

    def _client_disconnected(self) -> None:
        self._left = True
        self.cancel()

    def _is_cancelled_by_others(self) -> bool:
        """Takes back our own cancellation; a server that ends the call at the same moment must not be overheard."""
        return self._task is not None and self._task.uncancel() > self._cancelled_before

    def cancel(self) -> None:
        """End what is waited for, if anything is."""
        if self._waits and self._task:
            # Once: a second one would reach whoever cleans up after the first.
            self._waits, self._cancelled = False, True
            self._task.cancel()


def watch_receive(receive: Callable[[], Awaitable[Any]]) -> Watch:
    """A watch for any ASGI server: `receive` says when the client leaves, once the whole body was read."""

    def watch(left: Callable[[], None]) -> Callable[[], Any]:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left()

        return asyncio.get_running_loop().create_task(listen(), name="client").cancel

    return watch
