"""Where settings are written: the file and the line of each, for explanations of a configuration that was loaded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from proxy.config.document import Document, Path, setting

_NAMED: Mapping[str, str] = {"providers": "name", "keys": "name", "models": "id"}
"""Section whose entries are identified by name -> the field with the name."""
_LISTS = frozenset((*_NAMED, "owners", "routing"))
_SECTIONS = frozenset((*_LISTS, "groups", "merge", "defaults", "cache"))
"""The sections that decide what is listed and called."""
_ROWS = 1024
"""Settings that are packed together: looking up one takes less than a millisecond, however many keys there are."""


class Place(NamedTuple):
    """Where a setting is written."""

    file: str
    line: int
    """From 1."""
    setting: str
    """Like `providers[2].exclude[0]`."""


class _Slice(NamedTuple):
    """Some settings of a section of one file, in the order of the file."""

    file: str
    section: str
    start: int
    """The number of entries of the section in the files before."""
    low: int
    high: int
    """The first and the last entry of a list, with those in the files before; 0 for other sections."""
    packed: bytes


class _Packed(NamedTuple):
    names: dict[str, bytes]
    """Section -> the packed names of its entries in all files."""
    slices: list[_Slice]


_Rows = list[tuple[tuple[str | int, ...], int]]
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(_Packed)
_ROWS_DECODER = msgspec.msgpack.Decoder(_Rows)
_NAMES_DECODER = msgspec.msgpack.Decoder(list[str | None])


class Places:
    """The places of the settings that decide what is listed and called. Compressed: about 30 bytes for a key."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes = b"") -> None:
        self.packed = packed
        """As bytes, for another process."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)

    @classmethod
    def of(cls, files: Iterable[Document]) -> Places:
        """Return the places in these files, which are read like one document."""
        slices: list[_Slice] = []
        names: dict[str, list[str | None]] = {section: [] for section in _NAMED}
        for file in files:
            for section in _NAMED:
                names[section] += _names(file, section)
            slices += _slices(file)
        return cls(_ENCODE(_Packed({section: _packed(names[section]) for section in names}, slices)))

    def find(self, *path: str | int) -> Place | None:
        """Return where a setting is written, None if it is not in a file.

        Entries of `providers`, `keys` and `models` are identified by name: `find("providers", "openai", "exclude", 0)`.
        Those of `owners` and `routing` are counted through all files.
        """
        return self.finder()(*path)

    def finder(self) -> Callable[..., Place | None]:
        """Return `find` for several settings: what it unpacks is kept as long as the function is in use."""

        all_names, slices = _DECODER.decode(self.packed) if self.packed else _Packed({}, [])

        @cache
        def entries_of(section: str) -> Mapping[str | None, int]:
            names = _NAMES_DECODER.decode(zlib.decompress(all_names[section])) if section in all_names else []
            return {name: index for index, name in reversed([*enumerate(names)])}

        @cache
        def rows_of(number: int) -> Mapping[Path, int]:
            return dict(_ROWS_DECODER.decode(zlib.decompress(slices[number].packed)))

        def find(section: str, *path: str | int) -> Place | None:
            index = 0
            if section in _LISTS and path:
                entry, *inner = path
                found = entries_of(section).get(str(entry)) if section in _NAMED else int(entry)
                if found is None:
                    return None
                index, path = found, (found, *inner)
            for number, each in enumerate(slices):
                if each.section == section and each.low <= index <= each.high:
                    local = (section, index - each.start, *path[1:]) if section in _LISTS and path else (section, *path)
                    if line := rows_of(number).get(local):
                        return Place(each.file, line, setting(local))
            return None

        return find


def _names(file: Document, section: str) -> list[str | None]:
    """The names of the entries of a section, None for an entry without one."""
    entries = file.value.get(section) if isinstance(file.value, dict) else None
    field = _NAMED[section]
    return [_text(entry.get(field)) if isinstance(entry, dict) else None for entry in entries or ()]


def _text(name: Any) -> str | None:
    return name if isinstance(name, str) else None


def _slices(file: Document) -> Iterator[_Slice]:
    rows: dict[str, _Rows] = {}
    for path, line in file.lines.items():
        # Of keys, only the rules: there can be thousands.
        if path and path[0] in _SECTIONS and (path[0] != "keys" or len(path) < 3 or path[2] == "models"):
            rows.setdefault(str(path[0]), []).append((path, line))
    for section, found in rows.items():
        start = file.starts.get(section, 0)
        for first in range(0, len(found), _ROWS):
            some = found[first : first + _ROWS]
            indexes = [path[1] for path, _ in some if len(path) > 1 and isinstance(path[1], int)] or [-start]
            yield _Slice(file.path, section, start, start + min(indexes), start + max(indexes), _packed(some))


def _packed(values: object) -> bytes:
    return zlib.compress(_ENCODE(values), 1)
