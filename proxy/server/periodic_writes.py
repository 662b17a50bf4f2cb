"""The life of what is kept in `store.directory` beside lists: restored at the start, then written until the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from proxy.clock import Clock
from proxy.errors import describe_bug
from proxy.store.directory import RESTORE_SECONDS, STOP_SECONDS, ListDirectory

_log = logging.getLogger("models_proxy")


class PeriodicWrites:
    """Calls `restore`, which raises nothing, once; then `flush`, which can raise OSError, every `seconds`."""

    def __init__(
        self,
        name: str,
        restore: Callable[[], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        directory: ListDirectory,
        clock: Clock,
        seconds: float,
    ) -> None:
        """`name`: what is written, for the log."""
        self._name = name
        self._restore = restore
        self._flush = flush
        self._directory = directory
        self._clock = clock
        self._seconds = seconds
        self.running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Restore, then write until `stop`. Returns when everything is restored, or after some seconds."""
        restoring = asyncio.ensure_future(self._restore())
        self.running = asyncio.create_task(self._run_after(restoring), name=f"write {self._name}")
        await asyncio.wait([restoring], timeout=RESTORE_SECONDS)

    async def stop(self) -> None:
        """Write the last changes, if that is possible soon."""
        if self.running:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._flush()

    async def _run_after(self, restoring: Awaitable[None]) -> None:
        await restoring
        while True:
            await self._clock.sleep(self._seconds)
            try:
                await self._flush()
            except OSError:  # the directory has reported it
                await self._clock.sleep(self._directory.retry_seconds)
            except Exception as bug:
                _log.error("internal error while writing %s: %s", self._name, describe_bug(bug))
