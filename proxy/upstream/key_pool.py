"""The API keys of one provider: which one a request is sent with, and what happens after one is rejected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from operator import itemgetter
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
MAX_CALL_COOL_DOWN = 60.0
"""Seconds without calls of a model after a 429, whatever `Retry-After` says: then one call finds out."""
_MIN_LIMITED = 1.0  # seconds; `Retry-After: 0` must not select the rejected key again within the same call
_MAX_COOLING = 10_000
ALL_MODELS = None
"""The scope of a cool-down that applies to every model."""
LISTS = ""
"""The scope of a cool-down after a 429 for a model list, instead of the id of a model."""
OURSELVES = None
"""Instead of the name of a caller's key: the proxy itself, which fetches lists."""

_COOLS: Mapping[int, str] = {401: "authentication failed", 402: "not enough credit", 429: "rate limit exceeded"}
"""Statuses after which a request is repeated with the next key: no work was done."""

_log = logging.getLogger("models_proxy")
R = TypeVar("R")


class Refusal(NamedTuple):
    """A response that rejects the key of the request."""

    status: int
    retry_after: float | None
    """Seconds."""


class Cooling(NamedTuple):
    """A cool-down. Times are monotonic seconds."""

    until: float
    told_until: float
    """As the provider sent it, however long."""
    caller: str | None
    """The caller's key whose requests alone were refused; None: it applies to all callers."""
    is_rate_limit: bool


class Cooldowns:
    """The cool-downs of one provider's keys. They outlive a configuration."""

    def __init__(self, clock: Clock) -> None:
        # By the secret, not by its position: a key that was replaced in its file is not cooling.
        self.by_scope: TLRUCache[tuple[str, str | None], Cooling] = TLRUCache(
            _MAX_COOLING, ttu=lambda scope, cooling, now: cooling.until, timer=clock.monotonic
        )
        self.has_any = False
        """False if no key is cooling: then nothing need be looked up."""
        self.on_cool: Callable[[str, str | None, Cooling], None] | None = None
        """Called with the key, its scope and each cool-down that begins here; None if nobody else is interested."""


class KeyPool:
    """Selects the key of each request, and records which are cooling down for a model.

    A refusal of one caller's request applies to that caller: a single request can cause it, such as one that needs
    more credit than is left. After refusals of two callers, or of our own requests, it applies to all.
    """

    def __init__(self, provider: Provider, clock: Clock, before: KeyPool | None = None) -> None:
        """`before`: that of an earlier configuration of the provider, whose cool-downs apply to the same keys."""
        self._keys = provider.all_api_keys
        self._in_turn = provider.key_strategy == "spread"
        self._next = 0
        self._clock = clock
        self.cooldowns: Cooldowns = before.cooldowns if before else Cooldowns(clock)
        self._cooling = self.cooldowns.by_scope
        self.is_fixed = len(self._keys) < 2 and not any(isinstance(key, SecretFile) for key in self._keys)
        """Whether all requests are sent with the same key, or without one."""

    def acquire(self, model: str, tried: Collection[str] = (), caller: str | None = OURSELVES) -> str | None:
        """Return the key for a request about a model (or `LISTS`), None if all are cooling or `tried`.

        `caller`: the name of the caller's key.
        """
        start = self._next
        for offset in range(len(self._keys)):
            index = (start + offset) % len(self._keys)
            key = self._keys[index].get_secret_value()
            if key not in tried and not self._cooling_of(key, model, caller):
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

    def refused(self, key: str, refusal: Refusal, model: str, caller: str | None = OURSELVES) -> None:
        """Stop using a key: after a 429 for this model, otherwise for all. The only key is always used."""
        if len(self._keys) < 2:
            return
        if refusal.status == 429:
            seconds = LIMITED_FOR if refusal.retry_after is None else max(refusal.retry_after, _MIN_LIMITED)
            self._cool(key, model, seconds, caller, is_rate_limit=True)
        else:
            self._cool(key, ALL_MODELS, REJECTED_FOR, caller, is_rate_limit=False)

    def limited(self, key: str, model: str, seconds: float, caller: str) -> None:
        """Stop calls of a model after a 429 that no other key can replace. `key`: "" for the only one.

        `seconds`: as the provider sent them.
        """
        if seconds > 0 and (key or len(self._keys) < 2):
            self._cool(key or self.first(), model, seconds, caller, is_rate_limit=True)

    def cooling(self, model: str, caller: str | None = OURSELVES) -> Cooling | None:
        """Return the cool-down that ends first, None if a key can be used now."""
        return self._first_to_end(model, caller, itemgetter(0))

    def told_wait(self, model: str, caller: str) -> float | None:
        """Return the seconds until a key can be used, as the provider sent them; None if one can be used now."""
        first = self._first_to_end(model, caller, itemgetter(1))
        return first.told_until - self._clock.monotonic() if first else None

    @property
    def is_limited(self) -> bool:
        """Whether all keys are cooling for a model, for any caller."""
        entries = dict(self._cooling) if self.cooldowns.has_any else {}
        models = {scope for _, scope in entries}
        return any(
            all((key, model) in entries or (key, ALL_MODELS) in entries for key in self.secrets) for model in models
        )

    def cool_like(
        self, key: str, scope: str | None, seconds: float, caller: str | None, *, is_rate_limit: bool
    ) -> None:
        """Stop using a key because another process has. `key`: one of `secrets`."""
        self._set(key, scope, seconds, caller, is_rate_limit=is_rate_limit)

    def _cool(self, key: str, scope: str | None, seconds: float, caller: str | None, *, is_rate_limit: bool) -> None:
        cooling = self._set(key, scope, seconds, caller, is_rate_limit=is_rate_limit)
        if self.cooldowns.on_cool:
            self.cooldowns.on_cool(key, scope, cooling)

    def _set(self, key: str, scope: str | None, seconds: float, caller: str | None, *, is_rate_limit: bool) -> Cooling:
        now = self._clock.monotonic()
        longest = MAX_COOL_DOWN if scope in (LISTS, ALL_MODELS) else MAX_CALL_COOL_DOWN
        cooling = Cooling(now + min(seconds, longest), now + seconds, caller, is_rate_limit)
        before = self._cooling.get((key, scope))
        if before is not None:
            until, told_until = max(before.until, cooling.until), max(before.told_until, cooling.told_until)
            cooling = Cooling(until, told_until, caller if before.caller == caller else None, is_rate_limit)
        self._cooling[key, scope] = cooling
        self.cooldowns.has_any = True
        return cooling

    def _first_to_end(self, model: str, caller: str | None, end: Callable[[Cooling], float]) -> Cooling | None:
        if not self.cooldowns.has_any:
            return None
        if not len(self._cooling):
            self.cooldowns.has_any = False
            return None
        found = [self._cooling_of(key, model, caller) for key in self.secrets]
        each = [cooling for cooling in found if cooling]
        return min(each, key=end) if len(each) == len(found) else None

    def _cooling_of(self, key: str, model: str, caller: str | None) -> Cooling | None:
        """Return the cool-down of one key that ends last."""
        if not self.cooldowns.has_any:
            return None
        found = (self._cooling.get((key, scope)) for scope in (ALL_MODELS, model))
        applying = (cooling for cooling in found if cooling and cooling.caller in (None, caller))
        return max(applying, key=itemgetter(0), default=None)

    @property
    def secrets(self) -> Sequence[str]:
        """The keys; one empty key for a provider without keys, whose calls can be limited, too."""
        return [key.get_secret_value() for key in self._keys] or [""]


async def send_with_keys(
    pool: KeyPool,
    send: Callable[[str], Awaitable[R]],
    refusal_of: Callable[[R], Refusal | None],
    close: Callable[[R], Awaitable[None]],
    *,
    model: str,
    label: str,
    caller: str | None = OURSELVES,
) -> R:
    """Send a request with one key after the other, until one is accepted or none is left.

    `label`: the request and its provider, for the log. `caller`: the name of the caller's key. If all keys are
    cooling, the first is used.
    """
    tried: list[str] = []
    key = pool.acquire(model, caller=caller) or pool.first()
    while True:
        response = await send(key)
        refusal = refusal_of(response)
        if refusal is None:
            return response
        pool.refused(key, refusal, model, caller)
        tried.append(key)
        number = pool.number_of(key)
        if refusal.status == 401:
            await pool.reload(key)
        following = pool.acquire(model, tried, caller)
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
