"""Changes of other state than lists in files of `store.directory`: appended, and rewritten at each start.

A process that is killed loses what it has not written yet; what was written before is whole. Files are removed when
they are older than what they contain can be, or beyond a number.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence

from proxy.store.disk import Files
from proxy.store.envelope import RecordError, seal, sealed_parts, unseal

FILE_BYTES = 8 * 1024 * 1024
"""Size from which another file is begun."""
MAX_FILES = 16
_MAX_READ = 256 * 1024 * 1024
"""Bytes of a file that is read: a rewritten one is longer than others."""
_NUMBERED = re.compile(r"ledger-[0-9]{10}")

_log = logging.getLogger("models_proxy")


class Journal:
    """One journal in a directory. All methods block, and raise OSError."""

    def __init__(self, files: Files, kind: bytes, schema: int, max_age: float, time: Callable[[], float]) -> None:
        """`max_age`: seconds for which changes matter; `time` returns Unix seconds."""
        self._files = files
        self._kind = kind
        self._schema = schema
        self._max_age = max_age
        self._time = time
        self._number = 0
        """Of the file that is appended to, 0 before the first one."""
        self._size = 0

    def read(self) -> Sequence[memoryview]:
        """Return all changes in their order. A file that cannot be used is reported and left out."""
        changes: list[memoryview] = []
        for name in self._names():
            try:
                data = self._files.read(name, _MAX_READ)
                parts = [*sealed_parts(data)]
                if data and not parts:
                    raise RecordError("truncated, or not written by models-proxy")
                changes += [unseal(self._kind, self._schema, b"", part) for part in parts]
            except RecordError as error:
                _log.warning("store.directory: the file %s is ignored: %s", name, error)
        return changes

    def replace(self, changes: Iterable[bytes]) -> None:
        """Replace all files by one with these changes."""
        before = self._names()
        self._begin(before)
        if data := b"".join(self._sealed(change) for change in changes):
            self._files.write(self._name, data)
        for name in before:
            self._files.remove(name)

    def append(self, change: bytes) -> None:
        """Write a change. Whether it is written when this fails is unknown."""
        data = self._sealed(change)
        if self._number == 0 or self._size + len(data) > FILE_BYTES:
            names = self._names()
            self._begin(names)
            self._remove_old(names)
        self._files.append(self._name, data)
        self._size += len(data)

    def _begin(self, names: Sequence[str]) -> None:
        """Continue with a new file: an old one may end with a part of a change."""
        self._number = int(names[-1].rpartition("-")[2]) + 1 if names else 1
        self._size = 0

    def _remove_old(self, names: Sequence[str]) -> None:
        modified = {file.name: file.modified for file in self._files.list()}
        oldest = self._time() - self._max_age
        for place, name in enumerate(names):
            if place < len(names) - MAX_FILES + 1 or modified.get(name, 0.0) < oldest:
                self._files.remove(name)

    def _names(self) -> Sequence[str]:
        return sorted(file.name for file in self._files.list() if _NUMBERED.fullmatch(file.name))

    @property
    def _name(self) -> str:
        return f"ledger-{self._number:010}"

    def _sealed(self, change: bytes) -> bytes:
        return seal(self._kind, self._schema, b"", change)
