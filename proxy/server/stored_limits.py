"""The counters of limits in `store.directory`: a restart does not reset them.

Each process has its own file, which it replaces as a whole, and reads the files of all processes: of one counter, the
greatest value applies. A process that is killed loses what it has counted since its last write.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import msgspec

from proxy.clock import Clock
from proxy.cooperative import NEXT_TURN
from proxy.errors import describe_bug
from proxy.limits import records
from proxy.limits.limiter import Limiter
from proxy.server.periodic_writes import PeriodicWrites
from proxy.store.directory import ListDirectory
from proxy.store.disk import DirectoryLocked, Disk
from proxy.store.envelope import RecordError, seal, unseal

FLUSH_SECONDS = 2.0
"""Seconds between two writes. Later changes are lost if the process is killed."""
MAX_PROCESSES = 80
"""Processes that use one directory: workers, and those that are replaced."""
_MAX_BYTES = 60 * 1024 * 1024
_BATCH = 200
"""Scopes that are encoded in one step of the event loop."""
_KIND, _SCHEMA = b"limits", 1
_FILE = re.compile(r"limits-[0-9]{1,2}")

_log = logging.getLogger("models_proxy")
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class LimitFiles:
    """The files. All methods block, and raise OSError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._own: tuple[Disk, str] | None = None
        """The file of this process, and its name."""

    def read(self) -> Sequence[bytes]:
        """Return the records of all processes. A file that cannot be used is logged and skipped."""
        disk = Disk(self._path)
        found: list[bytes] = []
        for name in sorted(file.name for file in disk.list() if _FILE.fullmatch(file.name)):
            try:
                found += _decode(unseal(_KIND, _SCHEMA, b"", disk.read(name, _MAX_BYTES)))
            except (RecordError, msgspec.DecodeError) as error:
                _log.warning("store.directory: the file %s is ignored: %s", name, error)
        return found

    def write(self, packed: Sequence[bytes]) -> None:
        """Replace the file of this process."""
        disk, name = self._own = self._own or self._lock()
        disk.lock()
        data = msgspec.msgpack.encode(packed)
        if len(data) < _MAX_BYTES:
            disk.write(name, seal(_KIND, _SCHEMA, b"", data))

    def _lock(self) -> tuple[Disk, str]:
        """Lock a file that no other process uses."""
        for number in range(1, MAX_PROCESSES + 1):
            name = f"limits-{number}"
            disk = Disk(self._path, f"{name}.lock")
            with suppress(DirectoryLocked):
                disk.lock()
                return disk, name
        raise DirectoryLocked(f"more than {MAX_PROCESSES} processes use the directory")


class StoredLimits:
    """Restores counters at the start, and writes them until `stop`."""

    def __init__(self, limiter: Limiter, files: LimitFiles, directory: ListDirectory, clock: Clock) -> None:
        """`directory`: its thread uses the files."""
        self._limiter = limiter
        self._files = files
        self._directory = directory
        self._clock = clock
        self._changed: set[str] = set()
        limiter.state.changed = self._changed
        self._packed: dict[str, bytes] = {}
        """The record of each scope."""
        self._is_written = True
        self.writes = PeriodicWrites("limits", self._restore, self._flush, directory, clock, FLUSH_SECONDS)
        self.start, self.stop = self.writes.start, self.writes.stop

    async def _restore(self) -> None:
        """Never raises."""
        try:
            found = await self._directory.do(self._files.read)
        except OSError:  # a directory with a fault is reported when lists are restored
            return
        except Exception as bug:
            _log.error("internal error while restoring limits: %s", describe_bug(bug))
            return
        for start in range(0, len(found), _BATCH):
            batch = [each for each in found[start : start + _BATCH] if self._restored(each)]
            if self._limiter.shared and batch:
                self._limiter.shared.restore(batch)
            await NEXT_TURN

    def _restored(self, record: bytes) -> bool:
        """Restore one record. Returns whether that was possible."""
        now = self._clock.monotonic()
        try:
            name = records.restore(self._limiter.state, record, now, self._clock.time() - now)
        except ValueError as error:
            _log.warning("store.directory: a counter of limits is ignored: %s", error)
            return False
        self._changed.add(name)
        return True

    async def _flush(self) -> None:
        """Raises OSError. Then everything is written with the next call."""
        names = [*self._changed]
        self._changed.clear()
        to_unix = self._clock.time() - self._clock.monotonic()
        scopes = self._limiter.state.scopes
        for start in range(0, len(names), _BATCH):
            for name in names[start : start + _BATCH]:
                if scope := scopes.get(name):
                    self._packed[name] = records.packed(name, scope, to_unix)
                else:
                    self._packed.pop(name, None)
            await NEXT_TURN
        if names or not self._is_written:
            self._is_written = False
            await self._directory.do(partial(self._files.write, [*self._packed.values()]))
            self._is_written = True
