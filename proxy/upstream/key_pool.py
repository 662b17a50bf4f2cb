"""The API keys of one provider: which one a request is sent with, and what happens after one is rejected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple, TypeVar

from cachetools import TLRUCache

from proxy.clock import Clock
from proxy.config import Provider
from proxy.config.secret_files import SecretFile
from proxy.upstream.errors import MAX_COOL_DOWN

REJECTED_FOR = 300.0
"""Seconds without requests after 401 or 402: the operator must replace the key or add credit. A key that was
replaced in its file is used immediately."""
LIMITED_FOR = 5.0
"""Seconds without requests after a 429 without `Retry-After`, as long as many rate limits need to recover."""
_MIN_LIMITED = 1.0  # seconds; `Retry-After: 0` must not select the rejected key again within the same call
_MAX_COOLING = 10_000
ALL_MODELS = None
"""The scope of a cool-down that applies to every model."""
LISTS = ""
"""The scope of a cool-down after a 429 for a model list, instead of the id of a model."""

_COOLS: Mapping[int, str] = {401: "authentication failed", 402: "not enough credit", 429: "rate limit exceeded"}
"""Statuses after which a request is repeated with the next key: no work was done."""

_log = logging.getLogger("models_proxy")
R = TypeVar("R")


class Refusal(NamedTuple):
    """A response that rejects the key of the request."""

    status: int
    retry_after: float | None
    """Seconds."""


class KeyPool:
    """Selects the key of each request. A pool with one key has no cool-downs: there is no other to use instead."""

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self._keys = provider.all_api_keys
        self._in_turn = provider.key_strategy == "spread"
        self._next = 0
        self._clock = clock
        # By the secret, not by its position: a key that was replaced in its file is not cooling.
        self._cooling: TLRUCache[tuple[str, str | None], float] = TLRUCache(
            _MAX_COOLING, ttu=lambda scope, until, now: until, timer=clock.monotonic
        )
        self.is_fixed = len(self._keys) < 2 and not any(isinstance(key, SecretFile) for key in self._keys)
        """Whether all requests are sent with the same key, or without one."""

    def acquire(self, model: str, tried: Collection[str] = ()) -> str | None:
        """Return the key for a request about a model (or `LISTS`), None if all are cooling or `tried`."""
        start = self._next
        for offset in range(len(self._keys)):
            index = (start + offset) % len(self._keys)
            key = self._keys[index].get_secret_value()
            if key not in tried and self._seconds(key, model) <= 0:
                self._next = (index + 1) % len(self._keys) if self._in_turn else 0
                return key
        return None

    def first(self) -> str:
        """Return the first key, cooling or not; "" without keys."""
        return self._keys[0].get_secret_value() if self._keys else ""

    def number_of(self, key: str) -> int:
        """Return the position of a key in the configuration, from 1; 0 if it was replaced in the meantime."""
        return next((n for n, each in enumerate(self._keys, 1) if each.get_secret_value() == key), 0)

    async def reload(self, key: str) -> None:
        """Load the file of a key again: it may contain a new one."""
        for each in self._keys:
            if isinstance(each, SecretFile) and each.get_secret_value() == key:
                await asyncio.to_thread(each.reload)

    def refused(self, key: str, refusal: Refusal, model: str) -> None:
        """Stop using a key: after a 429 for this model, otherwise for all."""
        if len(self._keys) < 2:
            return
        now = self._clock.monotonic()
        if refusal.status == 429:
            seconds = LIMITED_FOR if refusal.retry_after is None else refusal.retry_after
            self._cooling[key, model] = now + min(max(seconds, _MIN_LIMITED), MAX_COOL_DOWN)
        else:
            self._cooling[key, ALL_MODELS] = now + REJECTED_FOR

    def wait(self, model: str | None) -> float:
        """Return the seconds until a key can be used for a model (or `LISTS`); 0 if one can be used now."""
        if not len(self._cooling):
            return 0.0
        return min(self._seconds(key.get_secret_value(), model) for key in self._keys)

    def _seconds(self, key: str, model: str | None) -> float:
        if not len(self._cooling):
            return 0.0
        until = max(self._cooling.get((key, scope), 0.0) for scope in (ALL_MODELS, model))
        return max(0.0, until - self._clock.monotonic())


async def send_with_keys(
    pool: KeyPool,
    send: Callable[[str], Awaitable[R]],
    refusal_of: Callable[[R], Refusal | None],
    close: Callable[[R], Awaitable[None]],
    *,
    model: str,
    label: str,
) -> R:
    """Send a request with one key after the other, until one is accepted or none is left.

    `label`: the request and its provider, for the log. If all keys are cooling, the first is used.
    """
    tried: list[str] = []
    key = pool.acquire(model) or pool.first()
    while True:
        response = await send(key)
        refusal = refusal_of(response)
        if refusal is None:
            return response
        pool.refused(key, refusal, model)
        tried.append(key)
        number = pool.number_of(key)
        if refusal.status == 401:
            await pool.reload(key)
        following = pool.acquire(model, tried)
        if following is None:
            return response
        await close(response)
        reason = f"status {refusal.status}, {_COOLS[refusal.status]}"
        other = pool.number_of(following)
        with_what = f"API key {other}" if other != number else "the new content of its file"
        text = f"{label}: API key {number} was rejected ({reason}); retrying with {with_what}"
        _log.log(logging.INFO if refusal.status == 429 else logging.WARNING, text)
        key = following


def refusal_of(status: int, retry_after: Callable[[], float | None]) -> Refusal | None:
    """Return the rejection of a key that a response is, None for any other response."""
    return Refusal(status, retry_after() if status == 429 else None) if status in _COOLS else None
