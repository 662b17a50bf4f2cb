"""Usage in files of `store.directory`: one per day, and a log of what has changed since these were written.

A record contains the complete counts of its rows, and counts only increase: of a row in several files, the highest
counts are correct. So it is harmless to read a file twice, or to leave one behind when the process is killed.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date

from msgspec import Struct

from proxy.store.disk import Files
from proxy.store.envelope import RecordError, seal, sealed_parts, unseal
from proxy.telemetry.usage_records import UsageRecord, decoded, encoded
from proxy.telemetry.usage_rows import ClosedRows, OpenRows, Rows, merged

LOCK = "usage-lock"
"""The name of the file that is locked."""
LOG_BYTES = 4 * 1024 * 1024
"""Size of the log from which the files of days are written."""
_MAX_READ = 512 * 1024 * 1024
_KIND, _SCHEMA = b"usage", 1
_LOG = re.compile(r"usage-log-([0-9]{10})")
_DAY = re.compile(r"usage-([0-9]{4}-[0-9]{2}-[0-9]{2})-([0-9a-f]{8})")
_USED = "usage-last-requests"
_UNFINISHED = re.compile(rf"({_DAY.pattern}|{_USED})\.tmp")

_log = logging.getLogger("models_proxy")


class Restored(Struct):
    """The content of the files."""

    hours: dict[int, ClosedRows]
    used: dict[str, float]
    daily_before: date | None
    in_logs: Collection[int]
    """The hours of which the files of days are perhaps not complete."""
    is_of_zone: bool
    """Whether all files are those of days of the time zone."""


class UsageFiles:
    """The files. All methods block, and raise OSError."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._number = 0
        """The number of the log that is appended to, 0 before the first one."""
        self.log_size = 0
        self._ignored: set[str] = set()
        """Files that could not be read, for example of a later version: they are not removed."""

    def lock(self) -> None:
        """Raises DirectoryLocked while another process uses the files."""
        self._files.lock()

    def unlock(self) -> None:
        self._files.unlock()

    def read(self, zone: str) -> Restored:
        """Return all rows. A file that cannot be used is logged and skipped. `zone`: the name of the time zone."""
        names = sorted(file.name for file in self._files.list())
        restored = Restored({}, {}, None, frozenset(), is_of_zone=True)
        rows: dict[int, Rows] = {}
        for name in names:
            if _LOG.fullmatch(name):
                for record in self._records(name):
                    _add(record, restored)
                    for start, of_hour in record.hours.items():
                        rows[start] = merged(rows.get(start, {}), of_hour)
        restored.in_logs = frozenset(rows)
        for name in names:
            day = _DAY.fullmatch(name)
            if day or name == _USED:
                of_file: dict[int, Rows] = {}
                for record in self._records(name):
                    _add(record, restored)
                    for start, of_hour in record.hours.items():
                        of_file[start] = merged(of_file.get(start, {}), of_hour)
                for start, of_hour in of_file.items():
                    earlier = restored.hours.get(start)
                    before = dict(earlier.items()) if earlier else rows.pop(start, {})
                    restored.hours[start] = ClosedRows(merged(before, of_hour) if before else of_hour)
            if day and day[2] != _tag(zone):
                restored.is_of_zone = False
        restored.hours.update((start, ClosedRows(of_hour)) for start, of_hour in rows.items())
        return restored

    def _records(self, name: str) -> Sequence[UsageRecord]:
        try:
            data = self._files.read(name, _MAX_READ)
            parts = [*sealed_parts(data)]
            if data and not parts:
                raise RecordError("truncated, or not written by models-proxy")
            return [decoded(unseal(_KIND, _SCHEMA, b"", part)) for part in parts]
        except FileNotFoundError:
            return []
        except ValueError as error:  # RecordError is one
            self._ignored.add(name)
            _log.warning("store.directory: the file %s is ignored: %s", name, error)
            return []

    def append(self, records: Iterable[bytes]) -> None:
        """Write changes. When this fails, they can be written again."""
        data = _sealed(records)
        if self._number == 0:
            self._begin()
        self._files.append(self._name_of_log, data)
        self.log_size += len(data)

    def write(
        self,
        zone: str,
        days: Mapping[date, Iterable[tuple[int, ClosedRows | OpenRows]]],
        kept: Collection[date],
        used: Mapping[str, float],
        daily_before: date | None,
    ) -> None:
        """Write the files of these days. Then logs, and the files of days that are not in `kept`, are removed.

        `days` must contain the days of all that was appended.
        """
        self._begin()
        for day, hours in days.items():
            if data := _sealed(encoded(((start, rows.items()) for start, rows in hours), {})):
                self._files.write(_file_of(day, zone), data)
        self._files.write(_USED, _sealed(encoded((), used, daily_before)))
        needed = {_file_of(day, zone) for day in kept}
        for name in [file.name for file in self._files.list()]:
            log = _LOG.fullmatch(name)
            is_old_log = log is not None and int(log[1]) < self._number
            is_old_day = _DAY.fullmatch(name) is not None and name not in needed
            if name in self._ignored:
                continue
            if is_old_log or is_old_day or _UNFINISHED.fullmatch(name):
                self._files.remove(name)

    def _begin(self) -> None:
        """Append to another log from now on: an old one may end with a part of a record."""
        numbers = [int(log[1]) for file in self._files.list() if (log := _LOG.fullmatch(file.name))]
        self._number = max([self._number, *numbers]) + 1
        self.log_size = 0

    @property
    def _name_of_log(self) -> str:
        return f"usage-log-{self._number:010}"


def _add(record: UsageRecord, restored: Restored) -> None:
    for identity, time in record.used.items():
        restored.used[identity] = max(time, restored.used.get(identity, 0.0))
    days = [day for day in (record.daily_before, restored.daily_before) if day]
    restored.daily_before = max(days, default=None)


def _sealed(records: Iterable[bytes]) -> bytes:
    return b"".join(seal(_KIND, _SCHEMA, b"", record) for record in records)


def _file_of(day: date, zone: str) -> str:
    return f"usage-{day.isoformat()}-{_tag(zone)}"


def _tag(zone: str) -> str:
    """Days of two time zones have other hours, so their files have other names."""
    return f"{zlib.crc32(zone.encode()):08x}"
