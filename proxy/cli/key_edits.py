"""Edits of the section `keys` of a YAML text. All other bytes, with comments and layout, stay as they are.

Each edit inserts or removes characters at positions that the YAML parser reports. Then the new text is parsed, and the
edit is refused unless the values differ in exactly what was intended. (A library that writes the whole file again,
such as ruamel.yaml, changes the layout of most files, and takes longer for files with thousands of keys.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.cli.key_positions import BOM, Edit, Entry, KeyPositions, NotEditable
from proxy.config import ConfigError, document


class KeyFile:
    """A text, the keys in it, and the same text with other keys."""

    def __init__(self, text: str, path: str) -> None:
        """`path` is for messages. Raises ConfigError if the text is not valid YAML."""
        self.text = text
        self._path = path
        self._values: Any = document.read(text, path, {}).value
        self._listed = _listed(self._values)

    @property
    def entries(self) -> Sequence[Entry]:
        """The keys, in the order of the text."""
        return entries_of(self._values)

    # Each of the following raises NotEditable.

    def with_key(self, entry: Entry) -> KeyFile:
        """Append a key."""
        return self._edited(KeyPositions(self.text).appended_key(entry), [*self._listed, entry])

    def without_key(self, entry: Entry) -> KeyFile:
        """Remove one of the entries."""
        index = self._listed.index(entry)
        return self._edited(
            KeyPositions(self.text).removed_key(index), [*self._listed[:index], *self._listed[index + 1 :]]
        )

    def with_digest(self, entry: Entry, digest: str) -> KeyFile:
        """Append a digest to one of the entries, which has at least one."""
        others = {name: value for name, value in entry.items() if name not in ("hash", "hashes")}
        new = {**others, "hashes": [*digests(entry), digest]}
        index = self._listed.index(entry)
        return self._edited(KeyPositions(self.text).appended_digest(index, digest), self._replaced(index, new))

    def without_old_digests(self, entry: Entry) -> KeyFile:
        """Remove all digests of one of the entries but the last one. It has several."""
        new = {**entry, "hashes": list(digests(entry)[-1:])}
        index = self._listed.index(entry)
        return self._edited(KeyPositions(self.text).removed_digests(index), self._replaced(index, new))

    def _replaced(self, index: int, entry: Entry) -> Sequence[Any]:
        return [*self._listed[:index], entry, *self._listed[index + 1 :]]

    def _edited(self, edits: Sequence[Edit], keys: Sequence[Any]) -> KeyFile:
        """The text after the edits, if it contains these keys, and otherwise what it contained before."""
        try:
            new = KeyFile(_applied(self.text, edits), self._path)
        except ConfigError:
            raise NotEditable from None
        if new._values != {**(self._values or {}), "keys": keys}:
            raise NotEditable
        return new


def entries_of(values: Any) -> Sequence[Entry]:
    """The keys in the values of a file. What is not a mapping is left out: the validation reports it."""
    return [entry for entry in _listed(values) if isinstance(entry, dict)]


def _listed(values: Any) -> list[Any]:
    listed = values.get("keys") if isinstance(values, dict) else None
    return listed if isinstance(listed, list) else []


def digests(entry: Entry) -> Sequence[object]:
    """The digests of a key as written, the newest one last; () if its key is in an environment variable."""
    if isinstance(entry.get("hashes"), list):
        return list(entry["hashes"])
    return [entry["hash"]] if entry.get("hash") else []


def _applied(text: str, edits: Sequence[Edit]) -> str:
    offset = len(BOM) * text.startswith(BOM)  # which positions do not count
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start + offset] + edit.text + text[edit.end + offset :]
    return text
