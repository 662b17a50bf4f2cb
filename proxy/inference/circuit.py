"""Decide whether a provider is called: circuit breakers, cool-downs after 429, concurrency limit and its queue.

Independent of the circuit breaker of the provider's list: a provider whose list fails is still called.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial

from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ApiError, ProviderUnavailable, RateLimited, whole_seconds
from proxy.inference.breaker import Breakers, OnOpen
from proxy.inference.deadline import CallScope, DeadlineExceeded
from proxy.inference.queue import FairQueue
from proxy.states import CircuitState, OpenCircuit
from proxy.telemetry.events import CircuitChange
from proxy.upstream.key_pool import KeyPool

KEPT = 8
"""One in this many slots is kept for other keys: long calls of one key do not keep theirs out."""
FULL_FOR = 1.0
"""Seconds for `Retry-After` at the concurrency limit."""


class Circuit:
    """The calls of one provider: which are rejected at the moment, and which have a slot.

    `key` is always the name of the caller's key, "" for none; `model` is the provider's id.
    """

    def __init__(
        self,
        provider: Provider,
        clock: Clock,
        keys: KeyPool,
        uniform: Callable[[float, float], float] = random.uniform,
        on_change: Callable[[CircuitChange], None] = lambda change: None,
        *,
        is_shared: bool = False,
    ) -> None:
        """`keys`: the provider's API keys, which can be cooling; `on_change` is called when a breaker changes;
        `is_shared`: whether several keys can call."""
        self.free = provider.max_in_flight
        """Slots. Negative if `max_in_flight` was lowered."""
        self._keys = keys
        self._cooldowns = keys.cooldowns
        self._provider = provider
        self._clock = clock
        self._create_breakers = partial(Breakers, provider.name, uniform, on_change)
        self.on_open: OnOpen | None = None
        """Called when a breaker opens because of failures in this process; None without other processes."""
        self._breakers = self._new_breakers()
        self._held: dict[str, int] = {}
        """Caller's key -> calls in progress."""
        self._key_limit = _key_limit(provider, is_shared=is_shared)
        self._queue = FairQueue(
            provider.queue.size, lambda: asyncio.get_running_loop().create_future(), self._held, self._key_limit
        )

    def _new_breakers(self) -> Breakers:
        breakers = self._create_breakers()
        breakers.on_open = self._opened
        return breakers

    def _opened(self, model: str | None, key: str | None, until: float) -> None:
        if self.on_open:
            self.on_open(model, key, until)

    def open_like(self, model: str | None, key: str | None, seconds: float) -> None:
        """Open a breaker for `seconds` because that of another process is."""
        self._breakers.open_like(model, key, self._clock.monotonic() + seconds)

    def configure(self, provider: Provider, keys: KeyPool, *, is_shared: bool) -> None:
        """Apply a changed configuration of the provider to later calls; those in progress keep their slots.

        Failures of calls to another address, or with other credentials, are discarded.
        """
        if provider != self._provider and _destination(provider) != _destination(self._provider):
            self._breakers = self._new_breakers()
        self.free += provider.max_in_flight - self._provider.max_in_flight
        self._provider, self._keys, self._cooldowns = provider, keys, keys.cooldowns
        self._key_limit = _key_limit(provider, is_shared=is_shared)
        self._queue.configure(provider.queue.size, self._key_limit)
        while self.free > 0 and self._queue.admit():
            self.free -= 1

    @property
    def is_full(self) -> bool:
        """Whether the provider is at its concurrency limit."""
        return self.free <= 0

    def has_slot(self, key: str) -> bool:
        """Whether a call of this key can start now."""
        return self.free > 0 and self._held.get(key, 0) < self._key_limit

    @property
    def in_flight(self) -> int:
        return self._provider.max_in_flight - self.free

    @property
    def queued(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def load(self) -> int:
        """The calls in progress and those in the queue."""
        return self.in_flight + self.queued

    @property
    def state(self) -> CircuitState:
        state = self._breakers.state(self._clock.monotonic())
        return "limited" if state in ("ok", "degraded") and self._keys.is_limited else state

    @property
    def open_circuits(self) -> Sequence[OpenCircuit]:
        """The circuit breakers of models that are not closed."""
        return self._breakers.open_circuits(self._clock.monotonic())

    def rejection(self, key: str, model: str) -> ApiError | None:
        """Return why a call is not sent at the moment, whatever the concurrency."""
        now = self._clock.monotonic()
        if cooling := self._keys.cooling(model, key):
            seconds = cooling.until - now
            if cooling.is_rate_limit:
                message = f"The provider is rate-limiting this model; retry after {whole_seconds(seconds)} s."
                return RateLimited(message, retry_after=seconds)
            return _unavailable("has no API key that can be used (all were rejected or rate-limited)", seconds)
        if (seconds := self._breakers.wait(key, model, now)) > 0:
            return _unavailable("is unavailable (circuit breaker open)", seconds)
        return None

    def acquire(self, key: str, model: str) -> ApiError | None:
        """Start a call. Returns None, and `release` must follow; or the error."""
        # Every call passes here: nothing is computed while the provider works.
        is_troubled = self._breakers.has_failures or self._cooldowns.has_any
        if is_troubled and (error := self.rejection(key, model)):
            return error
        if not self.has_slot(key):
            return _at_limit()
        self.free -= 1
        self._held[key] = self._held.get(key, 0) + 1
        if is_troubled:
            self._breakers.start(key, model, self._clock.monotonic())
        return None

    async def wait(self, key: str, model: str, scope: CallScope, seconds: float) -> ApiError | None:
        """Start a call as `acquire` does, but wait for a slot: the key with the fewest calls in progress is next.

        It waits for at most `seconds` and the provider's `queue.timeout`. Raises ClientDisconnected.
        """
        if error := self.rejection(key, model):
            return error
        waiter = self._queue.join(key)
        if waiter is None:
            return _at_limit()
        try:
            has_slot = await scope.wait(waiter, min(seconds, self._provider.queue.timeout))
        except BaseException as error:
            if self._queue.leave(key, waiter):
                self.release(key)
            if isinstance(error, DeadlineExceeded):
                return _at_limit()
            raise
        if not has_slot:
            return _at_limit()
        if rejection := self.rejection(key, model):
            self.release(key)
            return rejection
        self._breakers.start(key, model, self._clock.monotonic())
        return None

    def release(self, key: str) -> None:
        """End a call, whatever its result. The next call in the queue gets its slot."""
        held = self._held[key] - 1
        if held:
            self._held[key] = held
        else:
            del self._held[key]
        if self._queue.waiting and self.free >= 0 and self._queue.admit():
            return
        self.free += 1

    def response_started(self, key: str, model: str) -> None:
        """Record a success of a probe at the start of its response, which can take an hour."""
        if self._breakers.has_failures and self._breakers.is_tripped(key, model):
            self._breakers.succeeded(model)

    def succeeded(self, model: str) -> None:
        """Record a success: the provider responded, or rejected only the request."""
        if self._breakers.has_failures:
            self._breakers.succeeded(model)

    def failed(self, key: str, model: str, *, is_unreachable: bool = False) -> None:
        """Record a failure: the provider could not be reached (`is_unreachable`), or failed."""
        self._breakers.failed(key, model, self._clock.monotonic(), is_unreachable=is_unreachable)

    @property
    def account_rejected(self) -> bool:
        """Whether the provider rejected the proxy's credential, or required credit, and accepted no call since."""
        return self._breakers.account_rejected

    def reject_account(self) -> None:
        """Record that the provider rejected the proxy's credential, or required credit."""
        self._breakers.reject_account()

    @property
    def is_unreachable(self) -> bool:
        """Whether no call is sent at the moment because the provider could not be reached."""
        return self._breakers.is_unreachable(self._clock.monotonic())

    def reached(self, how: str) -> None:
        """Allow a probe now if the provider could not be reached. `how` it was reached: for the log."""
        self._breakers.reached(self._clock.monotonic(), how)


def _key_limit(provider: Provider, *, is_shared: bool) -> int:
    """Return how many calls of one key can be in progress."""
    return provider.max_in_flight - (provider.max_in_flight // KEPT if is_shared else 0)


def _at_limit() -> ProviderUnavailable:
    return _unavailable("is at its concurrency limit (max_in_flight)", FULL_FOR)


def _unavailable(reason: str, seconds: float) -> ProviderUnavailable:
    message = f"The provider of this model {reason}; retry after {whole_seconds(seconds)} s."
    return ProviderUnavailable(message, retry_after=seconds)


def _destination(provider: Provider) -> tuple[object, ...]:
    """What decides whether calls of a provider work."""
    credentials = (provider.all_api_keys, provider.iam, provider.oauth, provider.headers)
    return provider.target, provider.proxy, provider.ca_file, credentials
