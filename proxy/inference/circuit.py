"""Decide whether a provider is called: circuit breaker, cool-downs after 429, and concurrency limit.

Independent of the circuit breaker of the provider's list: a provider whose list fails is still called.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cachetools import TLRUCache

from proxy.backoff import FAILURE_THRESHOLD, OPEN_SECONDS, open_for
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, ProviderUnavailable, RateLimited, whole_seconds
from proxy.states import CircuitState

FULL_FOR = 1.0
"""Seconds for `Retry-After` at the concurrency limit."""
_MAX_COOLING = 10_000


class Circuit:
    """The circuit breaker of one provider's calls."""

    def __init__(self, provider: Provider, clock: Clock, uniform: Callable[[float, float], float] = random.uniform):
        self._provider = provider
        self._clock = clock
        self._uniform = uniform
        self._in_flight = 0
        self._failures = 0
        self._open_until = 0.0
        self._probe_until = 0.0
        self._cools = False  # saves the look-up for providers without a cool-down
        self._cooling: TLRUCache[str, float] = TLRUCache(
            _MAX_COOLING, ttu=lambda model, until, now: until, timer=clock.monotonic
        )

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def state(self) -> CircuitState:
        if self.is_tripped:
            return "open" if self._clock.monotonic() < self._open_until else "half_open"
        if self._cools and len(self._cooling):
            return "limited"
        return "degraded" if self._failures else "ok"

    @property
    def is_tripped(self) -> bool:
        """Whether the state is `open` or `half_open`."""
        return self._failures >= FAILURE_THRESHOLD

    def acquire(self, model: str) -> ApiError | None:
        """Start a call of a model (the provider's id). Returns None, and `release` must follow; or the error."""
        now = self._clock.monotonic()
        if self._cools and (until := self._cooling.get(model)) is not None:
            seconds = until - now
            message = f"The provider is rate-limiting this model; retry after {whole_seconds(seconds)} s."
            return RateLimited(message, retry_after=seconds)
        is_tripped = self.is_tripped
        if is_tripped and now < max(self._open_until, self._probe_until):
            return _unavailable("is unavailable (circuit breaker open)", max(FULL_FOR, self._open_until - now))
        if self._in_flight >= self._provider.max_in_flight:
            return _unavailable("is at its concurrency limit (max_in_flight)", FULL_FOR)
        if is_tripped:
            # A time limit, because a probe can end without a result and older calls can end meanwhile.
            self._probe_until = now + OPEN_SECONDS
        self._in_flight += 1
        return None

    def release(self) -> None:
        """End a call, whatever its result."""
        self._in_flight -= 1

    def succeeded(self) -> None:
        """Record a success: the provider responded, or rejected only the request."""
        self._failures = 0

    def failed(self) -> None:
        """Record a failure: the provider could not be reached, or failed."""
        now = self._clock.monotonic()
        if self.is_tripped and now < self._open_until:
            return  # a call from before: many calls that fail together open the circuit once
        self._failures += 1
        self._open_until = now + open_for(self._failures, self._uniform)

    def cool_down(self, model: str, seconds: float) -> None:
        """Reject calls of this model for this many seconds."""
        if seconds > 0:
            self._cooling[model] = self._clock.monotonic() + seconds
            self._cools = True


def _unavailable(reason: str, seconds: float) -> ProviderUnavailable:
    message = f"The provider of this model {reason}; retry after {whole_seconds(seconds)} s."
    return ProviderUnavailable(message, retry_after=seconds)
