"""The counters of limits in `store.directory`: a restart does not reset them.

Each process has its own file, which it replaces as a whole, and reads the files of all processes: of one counter, the
greatest value applies. A process that is killed loses what it has counted since its last write. With `store.valkey`,
they are the last known ones, with the number of processes that counted together: for a start without the server.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate, islice
from typing import NamedTuple

import msgspec

from proxy.clock import Clock
from proxy.cooperative import NEXT_TURN
from proxy.errors import describe_bug
from proxy.limits import records
from proxy.limits.dropped import Dropped
from proxy.limits.limiter import Limiter
from proxy.server.periodic_writes import PeriodicWrites
from proxy.store.directory import ListDirectory
from proxy.store.disk import DirectoryLocked, Disk
from proxy.store.envelope import RecordError, seal, unseal

FLUSH_SECONDS = 2.0
"""Seconds between two writes. Later changes are lost if the process is killed."""
MAX_PROCESSES = 80
"""Processes that use one directory: workers, and those that are replaced."""
MAX_BYTES = 60 * 1024 * 1024
"""Of a file. Further records are not written."""
_FRAME = 1024
"""Bytes of a file in addition to its records; `_OF_RECORD`: of each record in addition to its own."""
_OF_RECORD = 5
_NOT_STORED = (
    "store.directory: the counters of limits need more than %d MiB: some are not written, and are lost on restart; "
    "set limits for groups instead (`group_limits`)"
)
_BATCH = 200
"""Scopes that are encoded in one step of the event loop."""
_KIND, _SCHEMA = b"limits", 2
_FILE = re.compile(r"limits-[0-9]{1,2}")

_log = logging.getLogger("models_proxy")
_decode = msgspec.msgpack.Decoder(tuple[int, list[bytes]]).decode


class Kept(NamedTuple):
    """The contents of files."""

    processes: int
    """How many processes counted together."""
    records: Sequence[bytes]


class LimitFiles:
    """The files. All methods block, and raise OSError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._own: tuple[Disk, str] | None = None
        """The file of this process, and its name."""

    def read(self) -> Kept:
        """Return what all processes have written. A file that cannot be used is logged and skipped."""
        disk = Disk(self._path)
        processes, found = 1, list[bytes]()
        for name in sorted(file.name for file in disk.list() if _FILE.fullmatch(file.name)):
            try:
                number, packed = _decode(unseal(_KIND, _SCHEMA, b"", disk.read(name, MAX_BYTES)))
                processes, found = max(processes, number), found + packed
            except (RecordError, msgspec.DecodeError) as error:
                _log.warning("store.directory: the file %s is ignored: %s", name, error)
        return Kept(processes, found)

    def write(self, kept: Kept) -> None:
        """Replace the file of this process. The contents must not be larger than `MAX_BYTES`."""
        disk, name = self._own = self._own or self._lock()
        disk.lock()
        disk.write(name, seal(_KIND, _SCHEMA, b"", msgspec.msgpack.encode(kept)))

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
        self._processes = 1
        """As they were written."""
        self._not_stored = Dropped(clock.monotonic, _NOT_STORED, MAX_BYTES // 1024**2)
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
        if self._limiter.shared:
            self._limiter.shared.expect(found.processes)
        for start in range(0, len(found.records), _BATCH):
            batch = [each for each in found.records[start : start + _BATCH] if self._restored(each)]
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
        shared = self._limiter.shared
        processes = shared.processes if shared else 1
        if names or processes != self._processes or not self._is_written:
            self._is_written = False
            await self._directory.write(partial(self._files.write, Kept(processes, self._records())), "limits")
            self._is_written, self._processes = True, processes

    def _records(self) -> list[bytes]:
        """Return the records that fit in the file."""
        sizes = accumulate(len(record) + _OF_RECORD for record in self._packed.values())
        fitting = sum(1 for size in sizes if size <= MAX_BYTES - _FRAME)
        self._limiter.not_stored = len(self._packed) - fitting
        if self._limiter.not_stored:
            self._not_stored.add(self._limiter.not_stored)
        return [*islice(self._packed.values(), fitting)]
