"""Usage in `store.directory`: a restart keeps it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date
from functools import partial

from proxy.clock import Clock
from proxy.errors import describe_bug
from proxy.store.directory import RESTORE_SECONDS, STOP_SECONDS, ListDirectory
from proxy.store.disk import DirectoryLocked, Disk
from proxy.store.usage_files import LOCK, LOG_BYTES, UsageFiles
from proxy.telemetry.usage import Usage
from proxy.telemetry.usage_records import decoded, encoded
from proxy.telemetry.usage_rows import ClosedRows, OpenRows, Rows, summed

FLUSH_SECONDS = 2.0
"""Seconds between two writes. Later usage is lost if the process is killed."""

_log = logging.getLogger("models_proxy")


class StoredUsage:
    """Restores usage, then writes changes, until `stop`."""

    def __init__(self, usage: Usage, directory: ListDirectory, files: UsageFiles, clock: Clock, zone: str) -> None:
        """`zone`: the name of the time zone."""
        self._usage = usage
        self._directory = directory
        self._files = files
        self._clock = clock
        self._zone = zone
        self.is_restored = False
        """Whether this process has read the files. Then no other process writes them."""
        self._pending: list[bytes] = []
        """Changes whose write failed."""
        self._changed: set[date] = set()
        """Days whose files are not complete."""
        self._written_at = 0
        """The hour in which these were written."""
        self._restoring: asyncio.Task[bool] | None = None
        self._running: asyncio.Task[None] | None = None
        usage.tracks = True

    def configure(self, zone: str) -> None:
        """Apply another time zone, which the usage already has."""
        if zone != self._zone:
            self._zone = zone
            self._changed |= self._usage.all_days

    def day_changed(self, day: date) -> None:
        """Rewrite the file of a past day, whose rows were merged."""
        self._changed.add(day)

    # -- life cycle ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Restore usage, then write changes, as soon as no other process does."""
        if self._restoring is None:
            self._restoring = asyncio.create_task(self._try_to_restore(), name="restore usage")
            self._running = asyncio.create_task(self._run_after(self._restoring), name="write usage")

    async def start(self) -> None:
        """Begin. Returns when usage is restored, or after some seconds."""
        self.begin()
        assert self._restoring, "begun"
        await asyncio.wait([self._restoring], timeout=RESTORE_SECONDS)

    async def stop(self) -> None:
        """Write the last changes, if that is possible soon."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                if self.is_restored:
                    await self._flush()
                await self._directory.do(self._files.unlock)

    async def _run_after(self, restoring: asyncio.Task[bool]) -> None:
        works = await restoring
        while True:
            await self._clock.sleep(FLUSH_SECONDS if works else self._directory.retry_seconds)
            works = await self._try_to_write() if self.is_restored else await self._try_to_restore()

    # -- files ---------------------------------------------------------------------------------------------------------

    async def _try_to_restore(self) -> bool:
        """Returns whether the directory works. Never raises."""
        try:
            await self._restore()
        except OSError:  # the directory has reported it
            return False
        except Exception as bug:
            _log.error("internal error while restoring usage: %s", describe_bug(bug))
            return False
        return True

    async def _restore(self) -> None:
        """Until then nothing is written: this process does not have all rows yet."""
        if not await self._directory.do(self._locked):
            return
        restored = await self._directory.do(partial(self._files.read, self._zone))
        self._usage.restore(restored.hours, restored.used, restored.daily_before)
        self._changed |= set(map(self._usage.days.day_of, restored.in_logs))
        if not restored.is_of_zone:
            self._changed |= self._usage.all_days
        self.is_restored = True

    def _locked(self) -> bool:
        """Whether no other process uses the files."""
        try:
            self._files.lock()
        except DirectoryLocked:
            return False
        return True

    async def _try_to_write(self) -> bool:
        """Returns whether the directory works. Never raises."""
        try:
            await self._flush()
            hour = self._usage.days.hour_of(self._clock.time())
            if self._files.log_size > LOG_BYTES or hour != self._written_at:
                await self._write_days()
                self._written_at = hour
        except OSError:
            return False
        except Exception as bug:
            _log.error("internal error while writing usage: %s", describe_bug(bug))
            self._pending = []
        return True

    async def _flush(self) -> None:
        """Raises OSError. Then the changes are written with the next call."""
        if not self._pending:
            changes, used = self._usage.take_changes(), self._usage.take_used()
            self._changed |= set(map(self._usage.days.day_of, changes))
            self._pending = [*encoded(((start, rows.items()) for start, rows in changes.items()), used)]
        if self._pending:
            await self._directory.write(partial(self._append, self._pending), "usage")
            self._pending = []

    def _append(self, records: Iterable[bytes]) -> None:
        self._files.lock()
        self._files.append(records)

    async def _write_days(self) -> None:
        """Raises OSError. Then the files are written with a later call."""
        usage = self._usage
        changed, self._changed = self._changed, set()
        days = {day: usage.of_day(day) for day in changed}
        state = usage.all_days, usage.last_used(), usage.daily_before
        try:
            await self._directory.write(partial(self._write, self._zone, days, *state), "days of usage")
        except BaseException:
            self._changed |= changed
            raise

    def _write(
        self,
        zone: str,
        days: Mapping[date, Iterable[tuple[int, ClosedRows | OpenRows]]],
        kept: Collection[date],
        used: Mapping[str, float],
        daily_before: date | None,
    ) -> None:
        self._files.lock()
        self._files.write(zone, days, kept, used, daily_before)


def add_rest(directory: str, zone: str, records: Iterable[bytes]) -> None:
    """Add what no process has written to the files, after all have ended."""
    try:
        files = UsageFiles(Disk(directory, LOCK))
        files.lock()
        restored = files.read(zone).hours
        hours: dict[int, Rows] = {}
        used: dict[str, float] = {}
        for record in map(decoded, records):
            used |= record.used
            for start, rows in record.hours.items():
                before = hours.get(start) or (dict(restored[start].items()) if start in restored else {})
                hours[start] = summed(before, rows)
        files.append(encoded(((start, rows.items()) for start, rows in hours.items()), used))
        files.unlock()
    except OSError as error:
        _log.warning("store.directory: %s: the last usage is lost: %s", directory, error.strerror)
