"""Decide whether a provider is called: circuit breaker, cool-downs after 429, concurrency limit and its queue.

Independent of the circuit breaker of the provider's list: a provider whose list fails is still called.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from cachetools import TLRUCache

from proxy.backoff import FAILURE_THRESHOLD, OPEN_SECONDS, open_for
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, ProviderUnavailable, RateLimited, whole_seconds
from proxy.inference.deadline import CallScope, DeadlineExceeded
from proxy.inference.queue import FairQueue
from proxy.states import CircuitState

FULL_FOR = 1.0
"""Seconds for `Retry-After` at the concurrency limit."""
_MAX_COOLING = 10_000

_log = logging.getLogger("models_proxy")


class Circuit:
    """The circuit breaker of one provider's calls, and their concurrency limit."""

    def __init__(
        self,
        provider: Provider,
        clock: Clock,
        uniform: Callable[[float, float], float] = random.uniform,
        wait_for_key: Callable[[str | None], float] | None = None,
    ) -> None:
        """`wait_for_key` returns the seconds until an API key can be used for a model (None: for any), 0 for now."""
        self._wait_for_key = wait_for_key if len(provider.all_api_keys) > 1 else None
        self._provider = provider
        self._clock = clock
        self._uniform = uniform
        self._in_flight = 0
        self._queue = FairQueue(provider.queue.size, lambda: asyncio.get_running_loop().create_future())
        self._failures = 0
        self._open_until = 0.0
        self._probe_until = 0.0
        self._is_half_open = False  # as it was logged: the open time ends without an event
        self._is_unreachable = False
        self._cools = False  # saves the look-up for providers without a cool-down
        self._cooling: TLRUCache[str, float] = TLRUCache(
            _MAX_COOLING, ttu=lambda model, until, now: until, timer=clock.monotonic
        )

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def load(self) -> int:
        """The calls in progress and those in the queue."""
        return self._in_flight + self.queued

    @property
    def is_full(self) -> bool:
        """Whether the provider is at its concurrency limit."""
        return self._in_flight >= self._provider.max_in_flight

    @property
    def queued(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def state(self) -> CircuitState:
        if self.is_tripped:
            return "open" if self._clock.monotonic() < self._open_until else "half_open"
        if (self._cools and len(self._cooling)) or (self._wait_for_key and self._wait_for_key(None)):
            return "limited"
        return "degraded" if self._failures else "ok"

    @property
    def is_tripped(self) -> bool:
        """Whether the state is `open` or `half_open`."""
        return self._failures >= FAILURE_THRESHOLD

    def acquire(self, model: str) -> ApiError | None:
        """Start a call of a model (the provider's id). Returns None, and `release` must follow; or the error."""
        if error := self._rejection(model):
            return error
        if self.is_full:
            return _at_limit()
        self._in_flight += 1
        self._start()
        return None

    async def acquire_or_wait(self, key: str, model: str, scope: CallScope, seconds: float) -> ApiError | None:
        """Start a call as `acquire` does; at the concurrency limit wait for a slot, round-robin by key.

        It waits for at most `seconds` and the provider's `queue.timeout`. Raises ClientDisconnected.
        """
        if self.is_full and not self._rejection(model):
            return await self._wait(key, model, scope, seconds)
        return self.acquire(model)

    async def _wait(self, key: str, model: str, scope: CallScope, seconds: float) -> ApiError | None:
        waiter = self._queue.join(key)
        if waiter is None:
            return _at_limit()
        try:
            has_slot = await scope.wait(waiter, min(seconds, self._provider.queue.timeout))
        except BaseException as error:
            if self._queue.leave(key, waiter):
                self.release()
            if isinstance(error, DeadlineExceeded):
                return _at_limit()
            raise
        if not has_slot:
            return _at_limit()
        if rejection := self._rejection(model):
            self.release()
            return rejection
        self._start()
        return None

    def release(self) -> None:
        """End a call, whatever its result. The next call in the queue gets its slot."""
        if not self._queue or not self._queue.admit():
            self._in_flight -= 1

    def _rejection(self, model: str) -> ApiError | None:
        """Return why the provider is not called at the moment, whatever its concurrency."""
        now = self._clock.monotonic()
        if self._cools and (until := self._cooling.get(model)) is not None:
            seconds = until - now
            message = f"The provider is rate-limiting this model; retry after {whole_seconds(seconds)} s."
            return RateLimited(message, retry_after=seconds)
        if self._wait_for_key and (seconds := self._wait_for_key(model)) > 0:
            return _unavailable("has no API key that can be used (all were rejected or rate-limited)", seconds)
        if self.is_tripped and now < max(self._open_until, self._probe_until):
            return _unavailable("is unavailable (circuit breaker open)", max(FULL_FOR, self._open_until - now))
        return None

    def _start(self) -> None:
        if self.is_tripped:
            # A time limit, because a probe can end without a result and older calls can end meanwhile.
            self._probe_until = self._clock.monotonic() + OPEN_SECONDS
            self._half_open("this call is a probe")

    def succeeded(self) -> None:
        """Record a success: the provider responded, or rejected only the request."""
        if self.is_tripped:
            self._is_half_open = False
            _log.info("provider %s: circuit breaker of calls closed", self._provider.name)
        self._failures = 0

    def failed(self, *, is_unreachable: bool = False) -> None:
        """Record a failure: the provider could not be reached (`is_unreachable`: no connection), or failed."""
        now = self._clock.monotonic()
        if self.is_tripped and now < self._open_until:
            return  # a call from before: many calls that fail together open the circuit once
        self._failures += 1
        self._open_until = now + open_for(self._failures, self._uniform)
        if self.is_tripped:
            self._is_half_open, self._is_unreachable = False, is_unreachable
            text = "provider %s: circuit breaker of calls open after %d failures in a row; next attempt in %d s"
            _log.warning(text, self._provider.name, self._failures, whole_seconds(self._open_until - now))

    def list_fetched(self) -> None:
        """Allow a probe now if the breaker opened because of missing connections: the provider's list was fetched."""
        now = self._clock.monotonic()
        if self.is_tripped and self._is_unreachable and now < self._open_until:
            self._open_until = self._probe_until = now
            self._half_open("its list was fetched; the next call is a probe")

    def _half_open(self, reason: str) -> None:
        if not self._is_half_open:
            self._is_half_open = True
            _log.info("provider %s: circuit breaker of calls half-open: %s", self._provider.name, reason)

    def cool_down(self, model: str, seconds: float) -> None:
        """Reject calls of this model for this many seconds."""
        if seconds > 0:
            self._cooling[model] = self._clock.monotonic() + seconds
            self._cools = True


def _at_limit() -> ProviderUnavailable:
    return _unavailable("is at its concurrency limit (max_in_flight)", FULL_FOR)


def _unavailable(reason: str, seconds: float) -> ProviderUnavailable:
    message = f"The provider of this model {reason}; retry after {whole_seconds(seconds)} s."
    return ProviderUnavailable(message, retry_after=seconds)
