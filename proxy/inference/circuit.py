"""Whether calls are sent to a provider: a circuit breaker, cool-downs, and a concurrency limit.

Independent of the provider's list: a provider whose list fails is still called.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

from cachetools import TLRUCache

from proxy.backoff import FAILURE_THRESHOLD, OPEN_SECONDS, open_for
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, Limited, Unavailable

FULL_FOR = 1.0
"""Seconds after which a caller may retry at the concurrency limit."""
_MAX_COOLING = 10_000

State = Literal["ok", "degraded", "open", "half_open", "limited"]


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
        self._cools = False  # most providers never send a 429 with a time: saves the look-up
        self._cooling: TLRUCache[str, float] = TLRUCache(
            _MAX_COOLING, ttu=lambda model, until, now: until, timer=clock.monotonic
        )

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def state(self) -> State:
        """`degraded`: failures below the threshold; `open`: no calls; `half_open`: the next call, or the one in
        progress, is the probe; `limited`: at least one model is cooling down."""
        if self.is_tripped:
            return "open" if self._clock.monotonic() < self._open_until else "half_open"
        if self._cools and len(self._cooling):
            return "limited"
        return "degraded" if self._failures else "ok"

    @property
    def is_tripped(self) -> bool:
        """Whether it is `open` or `half_open`."""
        return self._failures >= FAILURE_THRESHOLD

    def acquire(self, model: str) -> ApiError | None:
        """Begin a call of a model (the provider's id). None if it may be sent: `release` must follow; or the reason."""
        now = self._clock.monotonic()
        if self._cools and (until := self._cooling.get(model)) is not None:
            return Limited("The provider of this model asks for fewer calls at the moment.", retry_after=until - now)
        is_tripped = self.is_tripped
        if is_tripped and now < max(self._open_until, self._probe_until):
            return _unavailable("has failed several times in a row", max(FULL_FOR, self._open_until - now))
        if self._in_flight >= self._provider.max_in_flight:
            return _unavailable("has as many calls under way as it may have", FULL_FOR)
        if is_tripped:
            # For a time, not until a call ends: older calls end too, and a probe may end without a result.
            self._probe_until = now + OPEN_SECONDS
        self._in_flight += 1
        return None

    def release(self) -> None:
        """The call has ended, however it ended."""
        self._in_flight -= 1

    def succeeded(self) -> None:
        """The provider works: it responded, or rejected only the request."""
        self._failures = 0

    def failed(self) -> None:
        """The provider could not be reached, or failed by itself."""
        now = self._clock.monotonic()
        if self.is_tripped and now < self._open_until:
            return  # an older call: a hundred calls in progress open the circuit once
        self._failures += 1
        self._open_until = now + open_for(self._failures, self._uniform)

    def cool_down(self, model: str, seconds: float) -> None:
        """Send no calls of this model for a while."""
        if seconds > 0:
            self._cooling[model] = self._clock.monotonic() + seconds
            self._cools = True


def _unavailable(why: str, retry_after: float) -> Unavailable:
    return Unavailable(f"The provider of this model {why}; try again.", retry_after=retry_after)
