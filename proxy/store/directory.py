"""`store.directory`: the last lists in files, so that a restart shows them before any provider responds.

Each accepted list is written to a file that is named by the fingerprint of the fetch settings, and read by a process
with the same fingerprint only. Whatever happens to the directory, lists are served from memory: a fault is logged once,
shown by `/health`, and the directory is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import describe_bug
from proxy.store.directory_faults import MAX_RETRY, DirectoryFaults, back_off
from proxy.store.disk import Files
from proxy.store.disk_thread import Submit, run_in
from proxy.store.envelope import HEAD_SIZE, MAX_PAYLOAD, RecordError
from proxy.store.fingerprint import fingerprint
from proxy.store.list_files import file_of, removable
from proxy.store.records import ListRecord, decode, encode
from proxy.store.store import Store

T = TypeVar("T")

WRITE_INTERVAL = 1.0
"""Seconds between two writes of one provider's list."""
SLOW_SECONDS = 10.0
"""Seconds after which an operation without a result is a fault."""
RESTORE_SECONDS = 2.0
"""How long the start waits for lists in the directory. Later ones are shown if their provider was not fetched yet."""
STOP_SECONDS = 2.0
CLEANING_INTERVAL = 3600.0
"""Seconds between two searches for files that are not needed any more."""

_log = logging.getLogger("models_proxy")


class DirectoryStatus(NamedTuple):
    """The state of the directory, for administrators."""

    path: str
    problem: str
    """Why lists are not written at the moment, "" if they are."""
    writes: int
    failed_writes: int
    ignored_files: int
    """Files that could not be used at the start."""


@dataclass
class _Pending:
    """The newest list of a provider that was not written yet."""

    provider: Provider
    record: ListRecord
    due_at: float
    """Monotonic seconds."""


class ListDirectory:
    """Restores lists at the start, and writes the accepted ones while `run` is running."""

    def __init__(
        self,
        path: str,
        files: Files,
        submit: Submit,
        clock: Clock,
        providers: Callable[[], Iterable[Provider]],
        *,
        is_shared: bool = False,
    ) -> None:
        """`submit` runs a function in a thread, one at a time; `providers` returns those of the configuration.

        `is_shared`: with other workers of the same server, of which one writes.
        """
        self._path = path
        self.files = files
        self._submit = submit
        self._clock = clock
        self._providers = providers
        self._pending: dict[str, _Pending] = {}
        self._written_at: dict[str, float] = {}
        """Provider -> monotonic seconds of its last write."""
        self._failures: dict[str, int] = {}
        """Provider -> consecutive failed writes of its list: others are written first."""
        self._unwritten: set[str] = set()
        """What else could not be written the last time: an appended line can fit where a new file does not."""
        self._changed = asyncio.Event()
        self._faults = DirectoryFaults(path, clock, is_shared=is_shared)
        self._writes = self._failed_writes = self._ignored = 0
        self._clean_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    @property
    def status(self) -> DirectoryStatus:
        return DirectoryStatus(self._path, self._faults.problem, self._writes, self._failed_writes, self._ignored)

    # -- life cycle ----------------------------------------------------------------------------------------------------

    async def start(self, store: Callable[[], Store]) -> None:
        """Restore lists, then write them until `stop`. Returns when lists are restored, or after `RESTORE_SECONDS`.

        `store` returns the current one.
        """
        restoring = asyncio.create_task(self.restore(store), name="restore lists")
        self._running = asyncio.create_task(self._run_after(restoring), name="write lists")
        await asyncio.wait([restoring], timeout=RESTORE_SECONDS)

    async def _run_after(self, restoring: asyncio.Task[None]) -> None:
        await restoring
        await self.run()

    async def stop(self) -> None:
        """Write the lists that are pending, if that is possible soon, and let another process use the directory."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        with suppress(Exception):  # the process ends
            async with asyncio.timeout(STOP_SECONDS):
                for pending in [*self._pending.values()] if not self._faults.problem else ():
                    await self._write(pending)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._do(self.files.unlock)

    # -- at the start --------------------------------------------------------------------------------------------------

    async def restore(self, store: Callable[[], Store]) -> None:
        """Show the lists in the directory. Returns when all were read. Never raises."""
        restored: list[str] = []
        try:
            with suppress(OSError):
                await self.do(self.files.lock)
            for provider in [provider for provider in self._providers() if provider.is_remote]:
                record = await self._record(provider)
                present = store()
                if record and present.has(provider.name) and await present.adopt(provider.name, record, "restored"):
                    restored.append(provider.name)
        except Exception as bug:
            _log.error("internal error while restoring lists: %s", describe_bug(bug))
        if restored:
            _log.info("store.directory: restored the lists of %s", _listed(restored))

    async def _record(self, provider: Provider) -> ListRecord | None:
        """The list in the file of a provider; None without one, or if it cannot be used."""
        try:
            return await self._do(partial(self._read_file, provider))
        except FileNotFoundError:
            return None
        except (OSError, RecordError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            if reason != self._faults.problem:  # otherwise it is that of the directory
                self._ignored += 1
                _log.warning("store.directory: %s: the file of %s is ignored: %s", self._path, provider.name, reason)
            return None

    def _read_file(self, provider: Provider) -> ListRecord:
        of = fingerprint(provider)
        return decode(self.files.read(file_of(of), HEAD_SIZE + MAX_PAYLOAD), of)

    # -- while running -------------------------------------------------------------------------------------------------

    def save(self, provider: Provider, record: ListRecord) -> None:
        """Write a list soon. A newer one of the provider replaces it until then."""
        name = provider.name
        due_at = self._written_at.get(name, float("-inf")) + WRITE_INTERVAL
        if name in self._failures and name in self._pending:
            due_at = self._pending[name].due_at
        self._pending[name] = _Pending(provider, record, due_at)
        self._changed.set()

    async def run(self) -> None:
        """Write lists until canceled. Handles every exception."""
        while True:
            try:
                await self._work()
                self._faults.succeeded(is_all_written=self._is_all_written)
            except OSError as error:
                self._faults.add(error)
                await self._faults.pause()
            except Exception as bug:
                _log.error("internal error while writing lists: %s", describe_bug(bug))
                await self._clock.sleep(MAX_RETRY)

    async def _work(self) -> None:
        """Do what is due, or wait for it. Raises OSError."""
        now = self._clock.monotonic()
        if now >= self._clean_at:
            self._clean_at = now + CLEANING_INTERVAL
            await self._do(self.files.lock)
            await self._do(self._clean)
        elif due := [pending for pending in self._pending.values() if pending.due_at <= now]:
            await self._write(min(due, key=lambda pending: self._failures.get(pending.provider.name, 0)))
        else:
            await self._wait(min([self._clean_at, *(pending.due_at for pending in self._pending.values())]) - now)

    async def _wait(self, seconds: float) -> None:
        """Return after this time, or when a list was accepted."""
        self._changed.clear()
        tasks = [asyncio.create_task(self._clock.sleep(seconds)), asyncio.create_task(self._changed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _write(self, pending: _Pending) -> None:
        """Raises OSError. Then the list, or a newer one, is written later."""
        name = pending.provider.name
        failures = self._failures.pop(name, 0)
        try:
            await self._do(partial(self._write_file, pending.provider, pending.record))
            self._writes += 1
        except OSError:
            self._failures[name] = failures + 1
            self._pending[name].due_at = self._clock.monotonic() + back_off(failures + 1)
            raise
        except RecordError as error:
            _log.warning("store.directory: the list of %s is not written: %s", name, error)
        finally:
            self._ended(pending)

    def _ended(self, pending: _Pending) -> None:
        """A write has ended. It is not repeated, unless it failed because of the directory."""
        name = pending.provider.name
        if name in self._failures:
            self._failed_writes += 1
            return
        self._written_at[name] = self._clock.monotonic()
        newer = self._pending[name]
        if newer is pending:
            del self._pending[name]
        else:
            newer.due_at = self._written_at[name] + WRITE_INTERVAL

    def _write_file(self, provider: Provider, record: ListRecord) -> None:
        self.files.lock()
        of = fingerprint(provider)
        self.files.write(file_of(of), encode(record, provider, of))

    def _clean(self) -> None:
        """Remove unfinished files, and lists of other fingerprints that are too old or too many. No other files."""
        providers = [*self._providers()]
        needed = {file_of(fingerprint(provider)) for provider in providers}
        oldest = self._clock.time() - max((provider.max_stale for provider in providers), default=0.0)
        for name in removable(self.files.list(), needed, oldest):
            with suppress(OSError):
                self.files.remove(name)

    # -- faults --------------------------------------------------------------------------------------------------------

    @property
    def retry_seconds(self) -> float:
        """Seconds after a fault until the directory is used again."""
        return self._faults.retry_seconds

    async def do(self, work: Callable[[], T]) -> T:
        """Use the files in the thread. Raises OSError, which is reported, and what else `work` raises."""
        try:
            return await self._do(work)
        except OSError as error:
            self._faults.add(error)
            raise

    async def write(self, work: Callable[[], T], what: str = "") -> T:
        """The same, for something that proves that the directory can be written to.

        `what`: if it fails, the caller repeats it until it succeeds, and the directory has a problem until then.
        """
        try:
            result = await self.do(work)
        except OSError:
            if what:
                self._unwritten.add(what)
            raise
        self._unwritten.discard(what)
        if not self._faults.is_locked:
            self._faults.succeeded(is_all_written=self._is_all_written)
        return result

    @property
    def _is_all_written(self) -> bool:
        return not (self._failures or self._unwritten)

    async def _do(self, work: Callable[[], T]) -> T:
        """Run a function in the thread. Raises what it raises."""
        return await run_in(
            self._submit, work, SLOW_SECONDS, lambda: self._faults.report(f"no response for {SLOW_SECONDS:.0f} s")
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
