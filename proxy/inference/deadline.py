"""Cancel a call when its client disconnects, a deadline passes, or the server shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from proxy.clock import SystemClock
from proxy.cooperative import NEXT_TURN
from proxy.errors import ShuttingDown
from proxy.telemetry import CallRecord

T = TypeVar("T")
Watch = Callable[[Callable[[], None]], Callable[[], Any]]
"""Accepts a callback for the client's disconnect and returns a function that stops watching."""

TICK = 0.05
"""Seconds by which a call can exceed its deadline."""
LAST_SECONDS = 2.0
"""Seconds in which a call that the shutdown of the server ends can send its last bytes."""


class ClientDisconnected(Exception):
    """The client has closed the connection."""


class DeadlineExceeded(Exception):
    """An operation or the whole call has timed out."""


class DeadlineTimer:
    """Checks the deadlines of all calls with one timer, because a timer per call or per chunk is expensive."""

    def __init__(self, monotonic: Callable[[], float] = SystemClock.monotonic) -> None:
        """`monotonic`: seconds, for work that takes less than the milliseconds that the event loop counts."""
        self.monotonic = monotonic
        self.turns = asyncio.Lock()
        """Of calls with more work than one iteration of the event loop may take: one of them continues in each."""
        self._scopes: set[CallScope] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_shut_down = False

    def shut_down(self) -> int:
        """End all calls, also later ones. Returns the number of those in progress."""
        self._is_shut_down = True
        for scope in self._scopes:
            scope.shut_down()
        return len(self._scopes)

    def add(self, scope: CallScope) -> None:
        self._scopes.add(scope)
        if self._is_shut_down:
            scope.shut_down()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._check)

    def discard(self, scope: CallScope) -> None:
        self._scopes.discard(scope)

    @property
    def running(self) -> Sequence[CallRecord]:
        """The calls in progress."""
        return [scope.record for scope in self._scopes if scope.record]

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for scope in self._scopes:
            if scope.expires_at <= now:
                scope.cancel()
        self._timer = loop.call_later(TICK, self._check) if self._scopes else None


class CallScope:
    """Cancels the current operation of a call."""

    def __init__(self, timer: DeadlineTimer, watch: Watch, seconds: float, record: CallRecord | None = None) -> None:
        """`seconds`: the time limit of the whole call; `record`: of the call, for the list of running calls."""
        self.record = record
        self._timer = timer
        self._watch = watch
        self._time = asyncio.get_running_loop().time
        self._deadline = self._time() + seconds
        self.expires_at = self._deadline
        """When the current operation is canceled; event loop time."""
        self._task: asyncio.Task[Any] | None = None
        self._waits = False
        self._sends = False
        self._disconnected = False
        self._shuts_down = False
        self._cancelled = False

    def __enter__(self) -> CallScope:
        self._task = asyncio.current_task()
        self._cancelled_before = self._task.cancelling() if self._task else 0
        self._stop_watching = self._watch(self._client_disconnected)
        self._timer.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.discard(self)
        self._stop_watching()

    @property
    def now(self) -> float:
        """In whole milliseconds."""
        return self._time()

    @property
    def precise_now(self) -> float:
        """With another zero, for work that takes less than a millisecond."""
        return self._timer.monotonic()

    @property
    def turns_are_taken(self) -> bool:
        """Whether another call waits for its turn."""
        return self._timer.turns.locked()

    async def next_turn(self) -> None:
        """Let everything else run once. Calls with much work take turns.

        Raises ClientDisconnected, DeadlineExceeded and ShuttingDown.
        """
        await self.wait(self._turn(), float("inf"))

    async def _turn(self) -> None:
        async with self._timer.turns:
            await NEXT_TURN

    def limit_to(self, seconds: float) -> None:
        """Limit the rest of the whole call to this many seconds."""
        self._deadline = min(self._deadline, self._time() + seconds)

    def shut_down(self) -> None:
        """Let the current operation, or the next one, raise ShuttingDown, unless it sends to the client."""
        self._shuts_down = True
        self.limit_to(LAST_SECONDS)
        self.expires_at = min(self.expires_at, self._deadline)
        self._cancel_for_shutdown()

    def _cancel_for_shutdown(self) -> None:
        if not self._sends:
            self.cancel()

    async def wait(self, awaitable: Awaitable[T], seconds: float, *, sends: bool = False) -> T:
        """Await it for at most `seconds`. `sends`: whether it sends to the client.

        Raises ClientDisconnected, DeadlineExceeded, ShuttingDown, and its own exceptions.
        """
        self.expires_at = min(self._time() + seconds, self._deadline)
        self._waits, self._cancelled, self._sends = True, False, sends
        if self._disconnected:
            asyncio.get_running_loop().call_soon(self.cancel)
        elif self._shuts_down:
            asyncio.get_running_loop().call_soon(self._cancel_for_shutdown)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if not self._cancelled or self._is_cancelled_by_others():
                if self._shuts_down:
                    raise ClientDisconnected from None  # the server closes the connection: nothing more can be sent
                raise
            # From None: callers log the exception chain.
            raise self._reason() from None
        finally:
            self._waits = False

    def _reason(self) -> Exception:
        """Why the current operation was canceled."""
        if self._disconnected:
            return ClientDisconnected()
        return ShuttingDown() if self._shuts_down and not self._sends else DeadlineExceeded()

    def _client_disconnected(self) -> None:
        self._disconnected = True
        self.cancel()

    def _is_cancelled_by_others(self) -> bool:
        """Undo the scope's own cancellation, and return whether the task was also canceled by someone else."""
        return self._task is not None and self._task.uncancel() > self._cancelled_before

    def cancel(self) -> None:
        """Cancel the current operation, if there is one."""
        if self._waits and self._task:
            # Only once: a second cancellation would interrupt the cleanup after the first.
            self._waits, self._cancelled = False, True
            self._task.cancel()


def watch_receive(receive: Callable[[], Awaitable[Any]]) -> Watch:
    """Return a watch for any ASGI server, whose `receive` reports the disconnect after the body."""

    def watch(on_disconnect: Callable[[], None]) -> Callable[[], Any]:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            on_disconnect()

        return asyncio.get_running_loop().create_task(listen(), name="client").cancel

    return watch
