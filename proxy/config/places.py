"""Where settings are written: the file and the line of each, for messages about a configuration that was loaded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from proxy.config.document import Document, Path, in_all_files, setting

_SECTIONS = frozenset(("providers", "owners", "models", "routing", "groups", "keys", "merge", "defaults", "cache"))
_NAMED: Mapping[str, str] = {"providers": "name", "keys": "name", "models": "id"}
"""Section that is a list -> the field that identifies its entries."""
_OF_KEYS = frozenset(("models", "group"))
"""The settings of keys that decide: there can be thousands of keys."""
_CHUNKS = 64
"""Places are packed by entry in this many parts, so that looking up one does not unpack those of all keys."""


class Place(NamedTuple):
    """Where a setting is written."""

    file: str
    line: int
    """From 1."""
    setting: str
    """Like `providers[2].exclude[0]`."""


class _Row(NamedTuple):
    file: str
    line: int
    path: tuple[str | int, ...]


_Chunk = dict[str, _Row]
_DECODE = msgspec.msgpack.Decoder(_Chunk).decode


class Places:
    """The places of the settings that decide what is listed and called. Compressed: about 20 bytes for each."""

    __slots__ = ("packed",)

    def __init__(self, packed: Mapping[int, bytes] | None = None) -> None:
        self.packed = packed or {}
        """As bytes, for another process."""

    @classmethod
    def of(cls, documents: Iterable[Document]) -> Places:
        """Return the places in these files."""
        chunks: dict[int, _Chunk] = {}
        for document in documents:
            for name, path in _named_paths(document):
                rows = chunks.setdefault(_chunk_of(name), {})
                rows.setdefault(_text(name), _Row(document.path, document.lines[path], path))
        return cls({number: zlib.compress(msgspec.msgpack.encode(rows), 1) for number, rows in chunks.items()})

    def find(self, *path: str | int) -> Place | None:
        """Return where a setting is written, None if it is not in a file.

        Entries of `providers`, `keys` and `models` are identified by name: `find("providers", "openai", "exclude", 0)`.
        """
        return self.finder()(*path)

    def finder(self) -> Callable[..., Place | None]:
        """Return `find` for several settings: what it unpacks is kept as long as the function is in use."""

        @cache
        def unpacked(number: int) -> _Chunk:
            packed = self.packed.get(number)
            return _DECODE(zlib.decompress(packed)) if packed else {}

        def find(*path: str | int) -> Place | None:
            row = unpacked(_chunk_of(path)).get(_text(path))
            return Place(row.file, row.line, setting(row.path)) if row else None

        return find


def _named_paths(document: Document) -> Iterator[tuple[Path, Path]]:
    """Yield each path as it is looked up, and as it is in the file."""
    values: Mapping[str, Any] = document.value if isinstance(document.value, dict) else {}
    names: dict[Path, str] = {(section, index): name for section in _NAMED for index, name in _names(values, section)}
    for path in document.lines:
        if not path or path[0] not in _SECTIONS:
            continue
        if path[0] == "keys" and len(path) > 2 and path[2] not in _OF_KEYS:
            continue
        name = names.get(path[:2])
        yield (in_all_files(document, path) if name is None else (path[0], name, *path[2:])), path


def _names(values: Mapping[str, Any], section: str) -> Iterator[tuple[int, str]]:
    entries = values.get(section)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and isinstance(name := entry.get(_NAMED[section]), str):
            yield index, name


def _text(path: Path) -> str:
    return "\0".join(map(str, path))


def _chunk_of(path: Path) -> int:
    return zlib.crc32(_text(path[:2]).encode("utf-8", "surrogatepass")) % _CHUNKS
