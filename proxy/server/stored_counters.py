"""Counters for metrics in `store.directory`: after a clean shutdown, the next process continues them.

After a process is killed, counters begin at 0, which Prometheus detects as a reset. Older values would also be detected
as a reset, and be counted as an increase as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from proxy.config import Config
from proxy.store.directory import STOP_SECONDS, ListDirectory
from proxy.store.disk import Disk, Files
from proxy.store.envelope import RecordError, seal, unseal
from proxy.telemetry.merging import counters_of

NAME, LOCK = "counters", "counters.lock"
MAX_BYTES = 16 * 1024 * 1024
"""Maximum bytes of all counters: about 100,000 series. Larger ones are not written."""
_KIND, _SCHEMA = b"counters", 1

T = TypeVar("T")

_log = logging.getLogger("models_proxy")


class StoredCounters:
    """The file. Methods block, and never raise: without the file, counters begin at 0."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def take(self) -> bytes:
        """Return the counters of earlier processes (`telemetry.merging.counters_of`), b"" without any.

        They are in memory only from now on. Of several processes with this directory, the first gets them.
        """
        try:
            self._files.lock()
            data = self._files.read(NAME, MAX_BYTES)
            self._files.remove(NAME)
            return _counters([bytes(unseal(_KIND, _SCHEMA, b"", data))])
        except OSError:  # there is no file, or an error that is reported when lists are restored
            return b""
        except RecordError as error:
            _log.warning("store.directory: the file %s is ignored: %s", NAME, error)
            return b""

    def keep(self, counters: bytes) -> None:
        """Write the counters for the next process."""
        with suppress(OSError):
            self._files.lock()
            if len(counters) < MAX_BYTES // 2:
                self._files.write(NAME, seal(_KIND, _SCHEMA, b"", counters))
            self._files.unlock()


def stored_counters(config: Config) -> StoredCounters | None:
    """None without `store.directory`."""
    path = config.store.directory
    return StoredCounters(Disk(path, LOCK)) if path and config.server.metrics != "off" else None


class CounterKeeper:
    """Continues the counters of an earlier process in this one."""

    def __init__(
        self, stored: StoredCounters, directory: ListDirectory, packed: Callable[[], Awaitable[bytes]]
    ) -> None:
        """`packed` returns the metrics of this process (`telemetry.merging.pack`)."""
        self._stored = stored
        self._directory = directory
        self._packed = packed
        self.before = b""
        """The counters of earlier processes, b"" without any."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Restore the counters, and keep them at the end."""
        self.before = await self._do(self._stored.take) or b""
        try:
            yield
        finally:
            parts = [await self._packed(), *([self.before] if self.before else [])]
            counters = await asyncio.to_thread(counters_of, parts)
            await self._do(partial(self._stored.keep, counters))

    async def _do(self, work: Callable[[], T]) -> T | None:
        """Return None if the directory does not respond."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                return await self._directory.do(work)
        return None


def in_time(work: Callable[[], T], default: T, seconds: float = STOP_SECONDS) -> T:
    """Return what a function returns, or the default if it takes longer. For processes without an event loop."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else default


def _counters(parts: list[bytes]) -> bytes:
    """Raises RecordError for other bytes than those of metrics."""
    try:
        return counters_of(parts)
    except ValueError as error:
        raise RecordError(f"invalid content ({type(error).__name__})") from None
