"""The ids that keys received, in `store.directory`: a restart keeps them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from proxy.clock import Clock
from proxy.config import Key
from proxy.cooperative import NEXT_TURN
from proxy.errors import describe_bug
from proxy.inference.ledger import MAX_AGE, Ledger, Origin
from proxy.inference.ledger_journal import LedgerJournal, State, compacted, replayed, tags_of
from proxy.store.directory import RESTORE_SECONDS, STOP_SECONDS, ListDirectory
from proxy.store.journal import Journal

FLUSH_SECONDS = 1.0
"""Seconds between two writes. Later changes are lost if the process is killed."""
_KIND, _SCHEMA = b"ledger", 1

_log = logging.getLogger("models_proxy")


class StoredLedger:
    """Restores a ledger at the start, and writes its changes until `stop`."""

    def __init__(self, ledger: Ledger, directory: ListDirectory, clock: Clock, keys: Iterable[Key]) -> None:
        self.ledger = ledger
        self._directory = directory
        self._clock = clock
        self._tags = tags_of(keys)
        self._journal = LedgerJournal(self._tags, lambda seconds: seconds + self._to_unix)
        self._files = Journal(directory.files, _KIND, _SCHEMA, MAX_AGE, clock.time)
        self._pending = b""
        """Changes whose write failed."""
        self._running: asyncio.Task[None] | None = None
        ledger.observe(self._journal)

    @property
    def _to_unix(self) -> float:
        return self._clock.time() - self._clock.monotonic()

    async def configure(self, keys: Iterable[Key]) -> None:
        """Apply the keys of another configuration."""
        self._tags = await asyncio.to_thread(tags_of, keys)
        self._journal.configure(self._tags)

    # -- life cycle ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Restore the ids, then write changes until `stop`. Returns when they are restored, or after some seconds."""
        restoring = asyncio.create_task(self._restore(), name="restore ids")
        self._running = asyncio.create_task(self._run_after(restoring), name="write ids")
        await asyncio.wait([restoring], timeout=RESTORE_SECONDS)

    async def stop(self) -> None:
        """Write the last changes, if that is possible soon."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._flush()

    async def _run_after(self, restoring: asyncio.Task[None]) -> None:
        await restoring
        while True:
            await self._clock.sleep(FLUSH_SECONDS)
            try:
                await self._flush()
            except OSError:  # the directory has reported it
                await self._clock.sleep(self._directory.retry_seconds)
            except Exception as bug:
                _log.error("internal error while writing ids: %s", describe_bug(bug))
                self._pending = b""

    # -- files ---------------------------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Never raises."""
        try:
            state = await self._directory.do(self._read)
            to_unix = self._to_unix
            for key, ids in state.items():
                origins = dict.fromkeys(ids.values())
                own = {origin: Origin(origin.provider, origin.model, origin.at - to_unix) for origin in origins}
                self.ledger.restore(key, {digest: own[origin] for digest, origin in ids.items()})
                await NEXT_TURN
        except Exception as bug:
            _log.error("internal error while restoring ids: %s", describe_bug(bug))

    def _read(self) -> State:
        try:
            self._directory.files.lock()
            can_write = True
        except OSError:
            can_write = False  # it can perhaps be read
        state: State = {}
        with suppress(OSError):  # a directory with a fault is reported when lists are restored
            state = replayed(self._files.read(), self._tags, self._clock.time())
            if can_write:
                self._files.replace(compacted(state, self._tags))
        return state

    async def _flush(self) -> None:
        """Raises OSError. Then the changes are written with the next call."""
        self._pending = self._pending or self._journal.take()
        if self._pending:
            await self._directory.do(partial(self._append, self._pending))
            self._pending = b""

    def _append(self, changes: bytes) -> None:
        self._directory.files.lock()
        self._files.append(changes)
