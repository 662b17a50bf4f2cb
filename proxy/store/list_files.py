"""The names of files with lists, and which of them are not needed any more. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from proxy.store.disk import FileInfo
from proxy.store.fingerprint import Fingerprint

MAX_FILES, MAX_BYTES = 1000, 1024**3
"""Limits for the files of other fingerprints; the oldest are removed."""
_SUFFIX = ".list"
_OURS = re.compile(r"[0-9a-f]{32}\.list(\.tmp)?")


def file_of(fingerprint: Fingerprint) -> str:
    """The name of the file with the list."""
    return fingerprint.name + _SUFFIX


def removable(files: Iterable[FileInfo], needed: Collection[str], oldest: float) -> Sequence[str]:
    """Return the files of lists that are unfinished, older than `oldest` (Unix seconds), or beyond the limits.

    `needed`: those of the configuration, which stay. Files with other names stay, too.
    """
    kept = 0
    size = 0
    names: list[str] = []
    others = [file for file in files if _OURS.fullmatch(file.name) and file.name not in needed]
    for file in sorted(others, key=lambda file: -file.modified):
        is_within = kept < MAX_FILES and size + file.size <= MAX_BYTES
        if is_within and file.modified >= oldest and file.name.endswith(_SUFFIX):
            kept += 1
            size += file.size
        else:
            names.append(file.name)
    return names
