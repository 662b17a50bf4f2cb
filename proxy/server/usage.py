"""The usage of a server: counted in this process, and answered for all that serve the port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.clock import Clock
from proxy.config import Config
from proxy.config.timezones import zone_of
from proxy.errors import describe_bug
from proxy.server.list_directory import stored_usage
from proxy.telemetry import Telemetry
from proxy.telemetry.days import Days
from proxy.telemetry.usage import Usage, UsageState, total_of
from proxy.telemetry.usage_query import Answer, Asked, Query
from proxy.telemetry.usage_rows import ClosedRows

if TYPE_CHECKING:
    from proxy.store.directory import ListDirectory

TICK_SECONDS = 1.0
"""How often events are counted, and what is too old is removed."""
MAX_DAYS, MAX_ROWS = 1, 100_000
"""Days before today, and rows, that are kept in memory."""
MAX_STORED_DAYS, MAX_STORED_ROWS = 90, 1_000_000
"""The same with `store.directory`."""

_log = logging.getLogger("models_proxy")


class UsageKeeper:
    """Counts what callers use. It survives reloads."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        telemetry: Telemetry,
        is_listed: Callable[[str], bool],
        directory: ListDirectory | None = None,
    ) -> None:
        """`is_listed` returns whether a model is in the catalog; `directory`: where usage is kept, too."""
        self._clock = clock
        days = Days(zone_of(config.server.timezone))
        bounds = (MAX_DAYS, MAX_ROWS) if directory is None else (MAX_STORED_DAYS, MAX_STORED_ROWS)
        self.usage = Usage(clock.time, days, is_listed, max_days=bounds[0], max_rows=bounds[1])
        self._stored = stored_usage(config, directory, self.usage, clock)
        telemetry.add(self.usage)

    def configure(self, config: Config) -> None:
        """Apply another configuration."""
        self.usage.days = Days(zone_of(config.server.timezone))
        if self._stored:
            self._stored.configure(config.server.timezone)

    @property
    def state(self) -> UsageState:
        return self.usage.state

    async def answer(self, query: Query) -> Answer:
        """See `proxy.api.usage.UsageTotals`. In a thread, because there can be a million rows."""
        return await asyncio.to_thread(Asked(self.usage, query).answer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Count while the context is entered."""
        if self._stored:
            await self._stored.start()
        task = asyncio.create_task(self._run(), name="usage")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if self._stored:
                await self._stored.stop()

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
            if self._stored:
                self._stored.day_changed(old.day)
