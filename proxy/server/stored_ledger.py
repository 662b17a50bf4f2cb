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
from proxy.server.periodic_writes import PeriodicWrites
from proxy.store.directory import ListDirectory
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
        self.writes = PeriodicWrites("ids", self._restore, self._flush, directory, clock, FLUSH_SECONDS)
        self.start, self.stop = self.writes.start, self.writes.stop
        ledger.observe(self._journal)

    @property
    def _to_unix(self) -> float:
        return self._clock.time() - self._clock.monotonic()

    async def configure(self, keys: Iterable[Key]) -> None:
        """Apply the keys of another configuration."""
        self._tags = await asyncio.to_thread(tags_of, keys)
        self._journal.configure(self._tags)

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
        changes, self._pending = self._pending or self._journal.take(), b""
        if changes:
            try:
                await self._directory.write(partial(self._append, changes), "ids")
            except (OSError, asyncio.CancelledError):
                self._pending = changes
                raise

    def _append(self, changes: bytes) -> None:
        self._directory.files.lock()
        self._files.append(changes)
