"""The usage of a server: counted in this process, and reported for all processes that serve the port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from proxy.clock import Clock
from proxy.config import Config
from proxy.config.timezones import zone_of
from proxy.errors import describe_bug
from proxy.server.list_directory import stored_usage
from proxy.telemetry import Telemetry
from proxy.telemetry.days import Days
from proxy.telemetry.recent import Packed, RecentCalls
from proxy.telemetry.usage import Usage, UsageState, total_of
from proxy.telemetry.usage_query import (
    TOO_MANY,
    Answer,
    Elsewhere,
    PreparedQuery,
    Query,
    TooManyTotals,
    packed,
    together,
    unpacked_query,
)
from proxy.telemetry.usage_records import decoded, encoded
from proxy.telemetry.usage_rows import ClosedRows

if TYPE_CHECKING:
    from proxy.api.workers import Workers
    from proxy.server.shared_usage import SharedUsage
    from proxy.sharing.usage_store import UsageStore
    from proxy.store.directory import ListDirectory

TICK_SECONDS = 1.0
"""Seconds between two counts of events, and two removals of old rows."""
MAX_DAYS, MAX_ROWS = 1, 100_000
"""Days before today, and maximum rows, in memory."""
MAX_STORED_DAYS, MAX_STORED_ROWS = 90, 1_000_000
"""Days before today, and maximum rows, with `store.directory`."""
LOOK_SECONDS, WORKER_LOOK_SECONDS, WORKER_FLUSH_SECONDS = 5.0, 0.5, 0.3
"""Seconds for which a query waits for `store.valkey`: without workers; in the leader; in another worker."""

_FEW_ROWS = 500
_ROW_BYTES = 20
"""Minimum bytes of a row in the answer of a process."""

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger("models_proxy")


class UsageKeeper:
    """Counts the usage of callers. It is kept across reloads. Of several processes that serve the port, one keeps the
    usage of all: the leader. The others send it their rows (`proxy.server.workers.usage`).
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        telemetry: Telemetry,
        is_listed: Callable[[str], bool],
        directory: ListDirectory | None = None,
        workers: Workers | None = None,
        store: UsageStore | None = None,
    ) -> None:
        """`is_listed` returns whether a model is in the catalog; `directory`: where usage is kept, too; `workers`: None
        if this process is the only one that serves the port; `store`: that of all replicas, instead of `directory`."""
        self._clock = clock
        days = Days(zone_of(config.server.timezone))
        max_days = MAX_DAYS if directory is None and store is None else MAX_STORED_DAYS
        max_rows = MAX_ROWS if directory is None or store else MAX_STORED_ROWS
        self.usage = Usage(clock.time, days, is_listed, max_days=max_days, max_rows=max_rows)
        self._stored = None if store else stored_usage(config, directory, self.usage, clock)
        self._shared = _shared_usage(self.usage, store, clock) if store else None
        self._workers = workers
        self._leads = workers is None
        self._of_all: UsageState | None = None
        self.pass_on: Callable[[bytes], None] | None = None
        """Sends rows to the leader; None before this process is connected to it."""
        self.recent = RecentCalls(clock.time)
        """The calls of this process in the last hour."""
        telemetry.add(self.usage)
        telemetry.add(self.recent)

    def configure(self, config: Config) -> None:
        """Apply another configuration."""
        self.usage.days = Days(zone_of(config.server.timezone))
        if self._stored:
            self._stored.configure(config.server.timezone)

    def recent_calls(self) -> Packed:
        """The calls of this process in the last hour."""
        return self.recent.packed()

    @property
    def state(self) -> UsageState:
        """The state of all processes when `look` was last called."""
        return self._of_all or (self._shared.state if self._shared else self.usage.state)

    @property
    def dropped(self) -> int:
        """Calls of this process that are missing from totals."""
        return self.usage.dropped + (self._shared.dropped if self._shared else 0)

    async def look(self) -> None:
        """Get the state of all processes."""
        if self._workers:
            self._of_all = (await self.answer(Query(0, 0, ()))).state

    async def answer(self, query: Query) -> Answer:
        """See `proxy.api.usage.UsageTotals`. Raises TooManyTotals."""
        parts = await self._workers.usage(packed(query)) if self._workers else []
        if parts:
            answer = await _computed(sum(map(len, parts)) // _ROW_BYTES, together, parts)
        else:
            answer = await self._own(query, LOOK_SECONDS)
        if answer.is_complete is None:  # with a shared store, one of the processes reads it
            answer.is_complete = self._shared is None
        return answer

    async def _own(self, query: Query, seconds: float) -> Answer:
        """Wait this long for the store. In a thread, because there can be a million rows. Raises TooManyTotals."""
        elsewhere: list[Elsewhere] = []
        is_complete = None
        if self._shared:
            if self._leads:
                is_complete = await self._shared.look(seconds)
                elsewhere.append(self._shared.known)
            else:
                await self._shared.flush(WORKER_FLUSH_SECONDS)
            elsewhere.append(self._shared.unsent)
        prepared = PreparedQuery(self.usage, query, elsewhere, is_complete=is_complete)
        return await asyncio.to_thread(prepared.answer)

    # -- several processes ---------------------------------------------------------------------------------------------

    def lead(self, leads: bool) -> None:
        """Become the leader, which keeps the usage of all processes, or stop being it."""
        self._leads = leads
        if leads and self._stored:
            self._stored.begin()

    def receive(self, rows: bytes) -> None:
        """Add rows of another process."""
        record = decoded(rows)
        self.usage.add(record.hours, record.used)

    async def part(self, query: bytes) -> bytes:
        """Return the answer of this process to a query, after it has sent its rows to the leader."""
        self._pass_on()
        try:
            return packed(await self._own(unpacked_query(query), WORKER_LOOK_SECONDS))
        except TooManyTotals:
            return TOO_MANY

    def _pass_on(self) -> None:
        # The next process that reads the files counts their content; a shared store gets rows from each process.
        if self._leads or self.pass_on is None or self._shared or (self._stored and self._stored.is_restored):
            return
        used, hours = self.usage.take_used(), self.usage.take_all()
        for record in encoded(((start, rows.items()) for start, rows in hours.items()), used):
            self.pass_on(record)

    # -- life cycle ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Count while the context is entered."""
        if self._stored and self._leads:
            await self._stored.start()
        tasks = [asyncio.create_task(self._run(), name="usage")]
        if self._shared:
            tasks.append(asyncio.create_task(self._shared.run(), name="shared usage"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._stored:
                await self._stored.stop()
            if self._shared:
                await self._shared.stop()

    def hand_over(self) -> None:
        """Send the rows that no file contains to the leader: this process ends."""
        self._leads = False
        self._pass_on()

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(TICK_SECONDS)
            try:
                self.usage.count()
                self.recent.begin_minute()
                self._pass_on()
                await self._compact()
            except Exception as bug:
                _log.error("internal error while counting usage: %s", describe_bug(bug))

    async def _compact(self) -> None:
        """Compact hours that have ended, and remove old or excess rows."""
        for start, rows in [*self.usage.hours_to_close()]:
            self.usage.close(start, await _computed(len(rows), ClosedRows, rows))
        self.usage.remove_old()
        if old := self.usage.too_many():
            self.usage.reduce(old, await _computed(sum(map(len, old.hours.values())), total_of, old))
            if self._stored:
                self._stored.day_changed(old.day)


def _shared_usage(usage: Usage, store: UsageStore, clock: Clock) -> SharedUsage:
    # Imported only if it is used.
    from proxy.server.shared_usage import SharedUsage

    return SharedUsage(usage, store, clock)


async def _computed(rows: int, compute: Callable[[T], R], value: T) -> R:
    """Compute something from this many rows, in a thread if that takes long."""
    return compute(value) if rows < _FEW_ROWS else await asyncio.to_thread(compute, value)
