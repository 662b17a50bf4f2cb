"""The change feed in `store.directory`: a restart keeps it."""

from __future__ import annotations

import logging
from functools import partial

from proxy.errors import describe_bug
from proxy.store.directory import ListDirectory
from proxy.store.envelope import seal, unseal
from proxy.telemetry.changes import Feed, decoded, encoded

FILE = "changes"
_MAX_BYTES = 16 * 1024 * 1024
_KIND, _SCHEMA = b"changes", 1

_log = logging.getLogger("models_proxy")


class StoredFeed:
    """Reads and writes the file. Methods never raise."""

    def __init__(self, directory: ListDirectory) -> None:
        self._directory = directory
        self.changed = False
        """Whether the feed differs from the file."""

    async def restored(self) -> Feed | None:
        """The feed in the file, None without one."""
        try:
            return await self._directory.do(self._read)
        except OSError:  # the directory has reported it
            return None
        except ValueError as error:  # also RecordError
            _log.warning("store.directory: the file %s is ignored: %s", FILE, error)
            return None

    def _read(self) -> Feed | None:
        """Raises OSError and ValueError."""
        try:
            data = self._directory.files.read(FILE, _MAX_BYTES)
        except FileNotFoundError:
            return None
        return decoded(unseal(_KIND, _SCHEMA, b"", data))

    async def write(self, feed: Feed) -> None:
        """Write the feed, if it has changed. If that fails, the next call does."""
        if not self.changed:
            return
        try:
            self.changed = False
            await self._directory.write(partial(self._write, feed), "changes")
        except OSError:
            self.changed = True
        except Exception as bug:
            _log.error("internal error while writing the change feed: %s", describe_bug(bug))

    def _write(self, feed: Feed) -> None:
        """Raises OSError."""
        self._directory.files.lock()
        self._directory.files.write(FILE, seal(_KIND, _SCHEMA, b"", encoded(feed)))
