"""Whether Valkey can be used: after a failure no command waits for it, until a probe has succeeded.

Everything works without it, so a store that is down, silent, read-only or full costs one short wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from proxy.clock import Clock
from proxy.errors import describe_bug
from proxy.sharing.client import Client, ForeignValue, Overloaded, Unavailable
from proxy.sharing.interface import WAIT_SECONDS, StoreState

T = TypeVar("T")

_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Pauses before probes; the last one is repeated."""
_STABLE_SECONDS = 60.0
"""A store that fails again sooner, because it rejects some commands, gets the longest pause, and no further log."""
_PROBE_SECONDS = 2.0
_PROBE_KEPT = 60_000
"""Milliseconds. A probe writes: replicas that are read-only, and full servers, accept reads."""

_log = logging.getLogger("models_proxy")


class Connection:
    """Runs commands while the store is up."""

    def __init__(self, client: Client, clock: Clock, probe_key: str) -> None:
        self.client = client
        self._clock = clock
        self._probe_key = probe_key
        self._reason = ""
        self._since = clock.time()
        self._counts: Counter[str] = Counter()
        self._reported: set[str] = set()
        self._changed = asyncio.Event()
        self._up_at = float("-inf")
        """Monotonic seconds when it was last available again."""
        self._logged = ""
        """The reason that was logged."""

    @property
    def is_up(self) -> bool:
        return not self._reason

    @property
    def state(self) -> StoreState:
        return StoreState(
            self.is_up, self._reason, self._since, self._counts["ok"], self._counts["failed"], self._counts["foreign"]
        )

    async def run(self, command: Callable[[float], Awaitable[T]], seconds: float = WAIT_SECONDS) -> T | None:
        """Return the result of a command, None if the store cannot be used. `seconds` is passed to the command."""
        if self._reason:
            return None
        try:
            result = await command(seconds)
        except Unavailable as error:
            self._counts["failed"] += 1
            self._went_down(error.reason)
            return None
        except Overloaded:
            self._counts["failed"] += 1
            return None
        except ForeignValue as error:
            self.report_foreign(error.what)
            return None
        self._counts["ok"] += 1
        return result

    def report_foreign(self, what: str) -> None:
        """Count a value that is ignored, and log it once. `what`: without any part of the value."""
        self._counts["foreign"] += 1
        if what not in self._reported:
            self._reported.add(what)
            _log.warning("store.valkey: a value was ignored: %s", what)

    async def keep(self) -> None:
        """While the store is down, probe it until it can be used again."""
        while True:
            await self.wait(is_up=False)
            await self._recover()

    async def wait(self, *, is_up: bool) -> None:
        """Return when the store is up, or down."""
        while self.is_up is not is_up:
            await self._changed.wait()

    async def _recover(self) -> None:
        attempt = len(_RETRY_SECONDS) if self._is_unstable else 0
        while self._reason:
            await self._clock.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
            attempt += 1
            try:
                await self.client.disconnect()
                await self._probe(_PROBE_SECONDS)  # opens a connection
                # Otherwise a request would have to detect after each probe that the store is too slow.
                await self._probe(WAIT_SECONDS)
            except Unavailable as error:
                self._still_down(error.reason)
            except (Overloaded, ForeignValue):
                self._still_down("the probe failed")
            except Exception as bug:
                _log.error("internal error while probing store.valkey: %s", describe_bug(bug))
            else:
                self._came_up()

    async def _probe(self, seconds: float) -> None:
        await self.client.command("SET", self._probe_key, "1", "PX", _PROBE_KEPT, seconds=seconds)

    def _went_down(self, reason: str) -> None:
        if not self._reason:
            if not (self._is_unstable and reason == self._logged):
                _log.warning("store.valkey is not available: %s; lists and calls continue without it", reason)
                self._logged = reason
            self._reason = reason
            self._notify()

    @property
    def _is_unstable(self) -> bool:
        return self._clock.monotonic() < self._up_at + _STABLE_SECONDS

    def _still_down(self, reason: str) -> None:
        if reason != self._reason:
            _log.warning("store.valkey is still not available: %s", reason)
            self._reason = self._logged = reason

    def _came_up(self) -> None:
        if not self._is_unstable:
            _log.info("store.valkey is available again")
        self._reason = ""
        self._up_at = self._clock.monotonic()
        self._notify()

    def _notify(self) -> None:
        self._since = self._clock.time()
        self._changed.set()
        self._changed = asyncio.Event()


def numbers(values: Sequence[object]) -> list[int] | None:
    """Decode whole numbers in a reply, None if there is anything else."""
    try:
        return [int(value) for value in values if isinstance(value, bytes | int | str)]
    except ValueError:
        return None
