"""The files of a directory that only one process uses. Every function can block for as long as the file system does."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

from proxy.store.envelope import RecordError

LOCK = "lock"
"""The name of the file that is locked."""
_TEMPORARY = ".tmp"
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PRIVATE = 0o600
_SERVER = secrets.token_hex(8).encode()
"""Identifies this server, whose workers are forked after the import of this module. Lock files contain it."""


class DirectoryLocked(OSError):
    """Another process uses the directory."""

    is_sibling = False
    """Whether that is, as far as is known, another worker of this server."""


class FileInfo(NamedTuple):
    name: str
    size: int
    modified: float
    """Unix seconds."""


class Files(Protocol):
    """The files of a directory, by name. All methods raise OSError."""

    def lock(self) -> None:
        """Create the directory if it is missing, and lock it unless it is locked. Raises DirectoryLocked."""

    def unlock(self) -> None:
        """Let another process use the directory."""

    def read(self, name: str, limit: int) -> bytes:
        """Return the content. Raises RecordError for a file that this user did not write, or of more bytes."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a file: a reader, also after a crash, gets the old content or the new one."""

    def append(self, name: str, data: bytes) -> None:
        """Append to a file, which is created if it is missing: all of the data or, unless the process ends, nothing."""

    def list(self) -> Sequence[FileInfo]:
        """Return all regular files."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""


class Disk:
    """`Files` of the operating system."""

    def __init__(self, path: str, lock: str = LOCK) -> None:
        """`lock`: the name of the file that is locked. Processes with others use other files."""
        self._path = path
        self._lock_name = lock
        self._lock: int | None = None

    def lock(self) -> None:
        if self._lock is not None and self._is_ours(self._lock):
            return
        self.unlock()
        os.makedirs(self._path, mode=0o700, exist_ok=True)
        number = os.open(self._at(self._lock_name), os.O_RDWR | os.O_CREAT | _OPEN, _PRIVATE)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            locked = DirectoryLocked(error.errno, "another process uses the directory")
            with suppress(OSError):
                locked.is_sibling = os.pread(number, len(_SERVER), 0) in (_SERVER, b"")
            os.close(number)
            raise locked from None
        except BaseException:
            os.close(number)
            raise
        self._lock = number
        with suppress(OSError):  # a full disk
            os.pwrite(number, _SERVER, 0)

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self, name: str, limit: int) -> bytes:
        with _opened(self._at(name), os.O_RDONLY) as number:
            found = os.fstat(number)
            if not stat.S_ISREG(found.st_mode):
                raise RecordError("not a regular file")
            if found.st_uid != os.geteuid():
                raise RecordError("owned by another user")
            if found.st_size > limit:
                raise RecordError(f"larger than {limit:,} bytes")
            parts: list[bytes] = []
            while part := os.read(number, found.st_size + 1):
                parts.append(part)
            return b"".join(parts)

    def write(self, name: str, data: bytes) -> None:
        temporary = self._at(name + _TEMPORARY)
        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            with _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as number:
                _write_all(number, data)
                os.fsync(number)
            os.replace(temporary, self._at(name))
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        with _opened(os.path.join(self._path, ""), os.O_RDONLY | os.O_DIRECTORY) as number:  # follows a link
            os.fsync(number)

    def append(self, name: str, data: bytes) -> None:
        with _opened(self._at(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND) as number:
            before = os.fstat(number).st_size
            try:
                _write_all(number, data)
                os.fsync(number)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(number, before)
                raise

    def list(self) -> Sequence[FileInfo]:
        found: list[FileInfo] = []
        with os.scandir(self._path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        info = entry.stat(follow_symlinks=False)
                        found.append(FileInfo(entry.name, info.st_size, info.st_mtime))
        return found

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._at(name))

    def _is_ours(self, number: int) -> bool:
        """Whether the locked file is still the one in the directory, which may have been removed or replaced."""
        try:
            return os.path.samestat(os.stat(self._at(self._lock_name)), os.fstat(number))
        except FileNotFoundError:
            return False

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)


def _write_all(number: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    number = os.open(path, flags | _OPEN, _PRIVATE)
    try:
        yield number
    finally:
        os.close(number)
