"""Replaces the content of a file so that readers see the old or the new one, and no change of others is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from proxy.cli.terminal import Failure

LOCK_SECONDS = 10.0
"""How long a command waits for another one that edits a file in the same folder."""
_PAUSE = 0.05
_wait = Event().wait
_HINTS = {
    errno.EBUSY: "a file that is mounted by itself cannot be replaced; mount its folder, or edit it on the host",
    errno.EROFS: "edit the file where it comes from, for example in the ConfigMap",
    errno.EACCES: "run this command as the owner of the file and its folder",
    errno.EPERM: "run this command as the owner of the file and its folder",
}


@dataclass(frozen=True)
class Locked:
    """A file that no other command edits at the same time."""

    path: Path
    """As the operator wrote it."""
    target: Path
    """The real file, behind symbolic links."""
    content: bytes
    _stat: os.stat_result

    def replace(self, content: bytes) -> None:
        """Replace the content. Mode, owner and extended attributes stay. Raises Failure, and then nothing has changed.

        The new file is written next to the old one, flushed to the disk, and renamed.
        """
        try:
            name = self._written(content)
            try:
                if _signature(os.stat(self.target)) != _signature(self._stat):
                    raise Failure(f"{self.path} was changed by another program meanwhile; run the command again")
                os.rename(name, self.target)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise _failure(self.path, "cannot be replaced", error) from None
        with suppress(OSError):  # the file has been replaced
            _sync_folder(self.target.parent)

    def _written(self, content: bytes) -> str:
        """Write a temporary file. Returns its path."""
        descriptor, name = tempfile.mkstemp(prefix=f".{self.target.name}.", dir=self.target.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                self._copy_attributes(file.fileno())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            os.unlink(name)
            raise
        return name

    def _copy_attributes(self, descriptor: int) -> None:
        old, new = self._stat, os.fstat(descriptor)
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        with suppress(OSError):  # not every file system has them
            for name in os.listxattr(self.target):  # such as access control lists
                os.setxattr(descriptor, name, os.getxattr(self.target, name))


@contextmanager
def locked(path: Path, max_bytes: int, wait: Callable[[float], object] = _wait) -> Iterator[Locked]:
    """Read a file and keep other commands from editing it. Raises Failure if it cannot be read."""
    with _locked_folder(path, wait):
        found, content = _read(path, max_bytes)
        yield Locked(path, path.resolve(), content, found)


def read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file. Raises Failure."""
    return _read(path, max_bytes)[1]


def _read(path: Path, max_bytes: int) -> tuple[os.stat_result, bytes]:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Failure(f"{path} is not a regular file")
        if found.st_size > max_bytes:
            raise Failure(f"{path} is larger than {max_bytes:,} bytes; check that it is a configuration file")
        return found, path.read_bytes()
    except OSError as error:
        raise _failure(path, "cannot be read", error) from None


@contextmanager
def _locked_folder(path: Path, wait: Callable[[float], object]) -> Iterator[None]:
    """Lock the folder of a file. Not the file itself: after each edit it is another one."""
    try:
        folder = path.resolve(strict=True).parent
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
        raise _failure(path, "cannot be read", error) from None
    try:
        _lock(descriptor, folder, wait)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, wait: Callable[[float], object]) -> None:
    for _ in range(round(LOCK_SECONDS / _PAUSE)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            wait(_PAUSE)
        except OSError:
            return  # some network file systems cannot lock folders; the comparison before the rename remains
    raise Failure(f"another command is editing files in {folder}; run the command again")


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sync_folder(folder: Path) -> None:
    """Flush the rename to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(path: Path, what: str, error: Exception) -> Failure:
    reason = error.strerror if isinstance(error, OSError) else "symbolic links in a circle"
    hint = _HINTS.get(error.errno or 0) if isinstance(error, OSError) else None
    return Failure(f"{path} {what}: {reason}" + (f"; {hint}" if hint else ""))
