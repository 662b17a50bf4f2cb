"""The files that a configuration was read from, so that a change of any of them can be noticed."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Stamp = tuple[int, ...] | None
"""What changes with a file; None if it does not exist or cannot be reached."""


def stamp(path: str) -> Stamp:
    """Return the device, inode, times and size of a file. Follows symbolic links, which Kubernetes replaces.

    With the time of the last change of the inode: a file becomes readable without a change of its content.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: the path contains a zero byte
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


@dataclass(frozen=True)
class Sources:
    """The state of all files of a configuration at one moment. Equal values: nothing has changed.

    `Config.sources` and `ConfigError.sources` are the state before the files were read, so a change while they are read
    is a difference from the next `look`.
    """

    files: Mapping[str, Stamp] = field(default_factory=dict)
    """The main file first, then the included files, then files with secrets and certificates."""
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Globs of `include`, as absolute or relative to the working directory -> the files that match, sorted."""

    def look(self) -> Sources:
        """Return the present state of the same files and patterns. Reads the file system, so call it in a thread."""
        return Sources({path: stamp(path) for path in self.files}, {each: matches(each) for each in self.patterns})


def matches(pattern: str) -> tuple[str, ...]:
    """Return the files that match a pattern with `*` and `?`, sorted. As in a shell, `*` matches no leading dot."""
    return tuple(sorted(glob.glob(pattern.replace("[", "[[]"))))


class SourceLog:
    """Collects the sources while they are read."""

    def __init__(self, files: Iterable[str] = ()) -> None:
        self._files: dict[str, Stamp] = {}
        self._patterns: dict[str, tuple[str, ...]] = {}
        for path in files:
            self.add(path)

    def add(self, path: str) -> None:
        """Record a file. Called before it is read."""
        if path not in self._files:
            self._files[path] = stamp(path)

    def add_pattern(self, pattern: str) -> tuple[str, ...]:
        """Record a pattern, and return the files that match it."""
        self._patterns[pattern] = matches(pattern)
        return self._patterns[pattern]

    def sources(self) -> Sources:
        return Sources(dict(self._files), dict(self._patterns))
