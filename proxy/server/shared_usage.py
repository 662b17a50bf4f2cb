"""Usage in the store that replicas share: each replica adds its counts, and any of them returns the sum of all."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import count

from proxy.clock import Clock
from proxy.errors import describe_bug
from proxy.sharing.usage_store import MAX_ROWS, Batch, Index, UsageStore, batches
from proxy.telemetry.usage import Usage, UsageState
from proxy.telemetry.usage_query import Elsewhere
from proxy.telemetry.usage_rows import ClosedRows, Counts, Names, OpenRows

FLUSH_SECONDS = 2.0
"""Seconds between two additions. Later usage is lost if the process is killed."""
STOP_SECONDS = 2.0
MAINTENANCE_SECONDS = 60.0
"""Seconds between two checks of the number of rows, by one of the replicas."""
MAX_ADDED = 20_000
"""Maximum number of rows that were added since the last read, and are counted from memory until the next one."""
_SPARE = 0.9
"""Hours are merged above this share of the maximum number of rows."""
_FRESH = 5.0
"""The store is read again after this multiple of the duration of the last read: queries must not overload it."""
_MIN_FRESH = 0.2
_ALL_SECONDS = 600.0
_SKEW_SECONDS = 60.0
"""Maximum difference between the clocks of replicas."""

_log = logging.getLogger("models_proxy")


class SharedUsage:
    """Adds the usage of this process to the store, and reads that of all processes for queries.

    What was added is removed from `usage`, so that it contains only what no other process has.
    """

    def __init__(self, usage: Usage, store: UsageStore, clock: Clock) -> None:
        self._usage = usage
        self._store = store
        self._clock = clock
        self._numbers = count(1)
        self._pending: deque[Batch] = deque()
        """Batches that are being added. Without a reply, one may already be in the store."""
        self._added: list[Batch] = []
        """Batches that were added since the last read."""
        self._busy = asyncio.Lock()
        """Held while rows are added or read: rows that are added during a read would be counted twice."""
        self._hours: dict[int, tuple[int, ClosedRows]] = {}
        """Start of an hour -> its version and rows, at the last read."""
        self._read: dict[int, tuple[int, ClosedRows]] = {}
        """The hours that an interrupted read has returned."""
        self._index = Index({}, None)
        self._used: dict[str, float] = {}
        self._used_until = 0.0
        """The last one of these times."""
        self._read_all_at = float("-inf")
        """Monotonic seconds at which all last requests are read again."""
        self._flushing: asyncio.Task[bool] | None = None
        self._looking: asyncio.Task[bool] | None = None
        self._fresh_until = float("-inf")
        """Monotonic seconds."""
        self.dropped = 0
        """Calls that the store could not count."""

    # -- adding --------------------------------------------------------------------------------------------------------

    async def flush(self, seconds: float) -> bool:
        """Add what was counted. Returns whether the store has everything; after this time, adding continues."""
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._try_to_flush(), name="write usage")
        await asyncio.wait([self._flushing], timeout=seconds)
        return self._flushing.done() and self._flushing.result()

    async def _try_to_flush(self) -> bool:
        try:
            async with self._busy:
                return await self._flush()
        except Exception as bug:
            _log.error("internal error while writing usage to store.valkey: %s", describe_bug(bug))
            return False

    async def _flush(self) -> bool:
        if not self._pending:
            self._take()
        while self._pending:
            dropped = await self._store.add(self._pending[0])
            if dropped is None:
                return False
            self.dropped += dropped
            self._added.append(self._pending.popleft())
        if sum(len(batch.rows) for batch in self._added) > MAX_ADDED:
            self._added.clear()
        return True

    def _take(self) -> None:
        hours, used = self._usage.take_all(), self._usage.take_used()
        rows = ((start, names, counts) for start, of_hour in hours.items() for names, counts in of_hour.items())
        self._pending.extend(batches(rows, used, self._numbers))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def look(self, seconds: float) -> bool:
        """Read what has changed. Returns whether `known` is complete; after this time, reading continues without it."""
        if self._looking is None or self._looking.done():
            if self._clock.monotonic() < self._fresh_until:
                return True
            self._looking = asyncio.create_task(self._try_to_look(), name="read usage")
        await asyncio.wait([self._looking], timeout=seconds)
        return self._looking.done() and self._looking.result()

    async def _try_to_look(self) -> bool:
        began = self._clock.monotonic()
        try:
            async with self._busy:
                is_complete = await self._flush() and await self._look()
        except Exception as bug:
            _log.error("internal error while reading usage from store.valkey: %s", describe_bug(bug))
            return False
        ended = self._clock.monotonic()
        if is_complete:
            self._fresh_until = ended + max(_MIN_FRESH, _FRESH * (ended - began))
        return is_complete

    async def _look(self) -> bool:
        index = await self._store.index()
        if index is None:
            return False
        hours: dict[int, tuple[int, ClosedRows]] = {}
        for start, state in index.hours.items():
            known = next((of[start] for of in (self._read, self._hours) if start in of), None)
            if known is None or known[0] != state.version:
                rows = await self._store.rows(start)
                if rows is None:
                    return False
                known = self._read[start] = state.version, await asyncio.to_thread(ClosedRows, rows)
            hours[start] = known
        if not await self._look_for_requests():
            return False
        self._hours, self._read, self._index, self._added = hours, {}, index, []
        return True

    async def _look_for_requests(self) -> bool:
        """Read the last requests that have changed; all from time to time, because replicas can add theirs late."""
        now = self._clock.monotonic()
        reads_all = now >= self._read_all_at
        used = await self._store.used_since(0.0 if reads_all else max(0.0, self._used_until - _SKEW_SECONDS))
        if used is None:
            return False
        if reads_all:
            self._used, self._read_all_at = {}, now + _ALL_SECONDS
        self._used |= used
        # A clock that is ahead must not hide later requests.
        self._used_until = min(self._clock.time(), max(used.values(), default=self._used_until))
        return True

    @property
    def known(self) -> Elsewhere:
        """The usage in the store at the last read, and what this process has added since then."""
        hours: list[tuple[int, ClosedRows | OpenRows]] = [*_hours_of(self._added)]
        hours += [(start, rows) for start, (_, rows) in self._hours.items()]
        used = dict(self._used)
        for batch in self._added:
            used |= batch.used
        return Elsewhere(hours, used, self.state)

    @property
    def unsent(self) -> Elsewhere:
        """The batches that are being added: no other process has them."""
        used = {identity: time for batch in self._pending for identity, time in batch.used.items()}
        return Elsewhere([*_hours_of(self._pending)], used, UsageState(0, MAX_ROWS, None, None))

    @property
    def state(self) -> UsageState:
        """The state of the store, at most about a minute ago."""
        days = [self._usage.days.day_of(start) for start in self._index.hours]
        before = self._index.daily_before
        since = min(days).isoformat() if days else None
        return UsageState(self._index.rows, MAX_ROWS, since, before.isoformat() if before else None, self.dropped)

    # -- life cycle ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Add usage until canceled."""
        maintained_at = float("-inf")
        while True:
            await self._clock.sleep(FLUSH_SECONDS)
            if not await self.flush(FLUSH_SECONDS) or self._clock.monotonic() < maintained_at + MAINTENANCE_SECONDS:
                continue
            maintained_at = self._clock.monotonic()
            try:
                await self._maintain()
            except Exception as bug:
                _log.error("internal error while merging usage in store.valkey: %s", describe_bug(bug))

    async def stop(self) -> None:
        """Add the remaining usage, if that is possible in a short time."""
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.flush(STOP_SECONDS / 2)
        await self.flush(STOP_SECONDS / 2)  # the first one may have begun earlier
        if self._flushing:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        self._take()
        if lost := sum(counts.requests for batch in self._pending for _, _, counts in batch.rows):
            _log.warning("store.valkey: the usage of %d calls could not be written and is lost", lost)

    # -- maintenance ---------------------------------------------------------------------------------------------------

    async def _maintain(self) -> None:
        """Remove hours that are too old; merge those of a day, or remove it, if there are too many rows."""
        index = await self._store.index()
        if index is None:
            return
        self._index = index
        if not await self._store.claim_maintenance(MAINTENANCE_SECONDS - FLUSH_SECONDS):
            return
        days = self._usage.days
        today = days.day_of(self._clock.time())
        oldest = days.begin_of(today - timedelta(self._usage.max_days))
        await self._store.remove([start for start in index.hours if start < oldest])
        before = index.daily_before
        rows = sum(state.rows for start, state in index.hours.items() if start >= oldest)
        if rows >= MAX_ROWS * _SPARE:
            ended = [start for start in index.hours if oldest <= start < days.begin_of(today)]
            before = await self._reduce(ended, before)
        await self._store.correct(rows, before)

    async def _reduce(self, starts: Iterable[int], before: date | None) -> date | None:
        """Merge the hours of the first day with several ones; if there is none, remove the first day."""
        by_day: dict[date, list[int]] = {}
        for start in sorted(starts):
            by_day.setdefault(self._usage.days.day_of(start), []).append(start)
        found = next((day for day, hours in by_day.items() if len(hours) > 1), None)
        if found is not None:
            first, *others = by_day[found]
            for start in others:
                await self._store.merge(start, first)
            return max(found + timedelta(1), before or date.min)
        if by_day:
            first, *_ = next(iter(by_day.values()))
            rows = await self._store.rows(first)
            self.dropped += sum(counts.requests for counts in (rows or {}).values())
            await self._store.remove([first])
        return before


def _hours_of(some: Iterable[Batch]) -> Iterable[tuple[int, OpenRows]]:
    for batch in some:
        hours: dict[int, dict[Names, Counts]] = {}
        for start, names, counts in batch.rows:
            hours.setdefault(start, {})[names] = counts
        yield from ((start, OpenRows(rows)) for start, rows in hours.items())
