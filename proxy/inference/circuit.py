"""Whether a provider takes calls at the moment: a breaker, cool-downs, and a bound on what is under way.

Apart from what is known of its list: a provider whose list is broken is still called.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cachetools import TLRUCache

from proxy import backoff as breaker
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, Limited, Unavailable

FULL_FOR = 1.0
"""Seconds after which a caller may try again where too many calls were under way."""
_MAX_COOLING = 10_000


class Circuit:
    """The way to one provider."""

    def __init__(self, provider: Provider, clock: Clock, uniform: Callable[[float, float], float] = random.uniform):
        self._provider = provider
        self._clock = clock
        self._uniform = uniform
        self._in_flight = 0
        self._failures = 0
        self._open_until = 0.0
        self._probe_until = 0.0
        self._cools = False  # it has never asked for that, as most have not: then the look-up is saved
        self._cooling: TLRUCache[str, float] = TLRUCache(
            _MAX_COOLING, ttu=lambda model, until, now: until, timer=clock.monotonic
        )

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def breaker(self) -> str:
        """`closed`, `open`, or `half_open` while the next call, or the one under way, is to show how it is."""
        if self._failures < breaker.FAILURE_THRESHOLD:
            return "closed"
        return "open" if self._clock.monotonic() < self._open_until else "half_open"

    def acquire(self, model: str) -> ApiError | None:
        """Begin a call of one of its models (its own id): None, and `leave` must follow; or why that cannot be."""
        now = self._clock.monotonic()
        if self._cools and (until := self._cooling.get(model)) is not None:
            return Limited("The provider of this model asks for fewer calls at the moment.", retry_after=until - now)
        is_probe = self._failures >= breaker.FAILURE_THRESHOLD
        if is_probe and now < max(self._open_until, self._probe_until):
            return _unavailable("has failed several times in a row", max(FULL_FOR, self._open_until - now))
        if self._in_flight >= self._provider.max_in_flight:
            return _unavailable("has as many calls under way as it may have", FULL_FOR)
        if is_probe:
            # For a time, not until one leaves: calls from before leave too, and a probe may leave without a verdict.
            self._probe_until = now + breaker.OPEN_SECONDS
        self._in_flight += 1
        return None

    def release(self) -> None:
        """The call is over, however it ended."""
        self._in_flight -= 1

    def succeeded(self) -> None:
        """The provider works: it answered, or refused only what was asked."""
        self._failures = 0

    def failed(self) -> None:
        """It was not reached, or failed by itself."""
        if self.breaker == "open":
            return  # a call from before: of a hundred that were under way the breaker opens once
        self._failures += 1
        self._open_until = self._clock.monotonic() + breaker.open_for(self._failures, self._uniform)

    def cool_down(self, model: str, seconds: float) -> None:
        """It asks to be left alone with this model for a while."""
        if seconds > 0:
            self._cooling[model] = self._clock.monotonic() + seconds
            self._cools = True


def _unavailable(why: str, retry_after: float) -> Unavailable:
    return Unavailable(f"The provider of this model {why}; try again.", retry_after=retry_after)
