"""The usage of a server: counted in this process, and answered for all that serve the port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from proxy.clock import Clock
from proxy.config import Config
from proxy.config.timezones import zone_of
from proxy.errors import describe_bug
from proxy.telemetry import Telemetry
from proxy.telemetry.days import Days
from proxy.telemetry.usage import Usage, total_of
from proxy.telemetry.usage_query import Answer, Asked, Query
from proxy.telemetry.usage_rows import ClosedRows

TICK_SECONDS = 1.0
"""How often events are counted, and what is too old is removed."""
MAX_DAYS, MAX_ROWS = 1, 100_000
"""Days before today, and rows, that are kept in memory."""

_log = logging.getLogger("models_proxy")


class UsageKeeper:
    """Counts what callers use. It survives reloads."""

    def __init__(self, config: Config, clock: Clock, telemetry: Telemetry, is_listed: Callable[[str], bool]) -> None:
        """`is_listed` returns whether a model is in the catalog."""
        self._clock = clock
        days = Days(zone_of(config.server.timezone))
        self.usage = Usage(clock.time, days, is_listed, max_days=MAX_DAYS, max_rows=MAX_ROWS)
        telemetry.add(self.usage)

    def configure(self, config: Config) -> None:
        """Apply another configuration."""
        self.usage.days = Days(zone_of(config.server.timezone))

    async def answer(self, query: Query) -> Answer:
        """See `proxy.api.usage.UsageTotals`. In a thread, because there can be a million rows."""
        return await asyncio.to_thread(Asked(self.usage, query).answer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Count while the context is entered."""
        task = asyncio.create_task(self._run(), name="usage")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(TICK_SECONDS)
            try:
                self.usage.count()
                await self._tidy()
            except Exception as bug:
                _log.error("internal error while counting usage: %s", describe_bug(bug))

    async def _tidy(self) -> None:
        """Give hours that have ended their small form, and remove what is too old or too much."""
        for start, rows in [*self.usage.hours_to_close()]:
            self.usage.close(start, await asyncio.to_thread(ClosedRows, rows))
        self.usage.forget_old()
        if old := self.usage.too_many():
            self.usage.reduce(old, await asyncio.to_thread(total_of, old))
