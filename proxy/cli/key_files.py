"""The files with keys of clients: which one is changed, and whether the configuration is valid then."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from proxy.cli.key_edits import KeyFile, digests, entries_of
from proxy.cli.key_positions import Entry, NotEditable
from proxy.cli.replace_file import locked, read_file
from proxy.cli.terminal import Failure
from proxy.cli.text import available
from proxy.config import Config, ConfigError, document
from proxy.config.documents import Documents
from proxy.config.files import read_files, with_included
from proxy.config.hints import did_you_mean
from proxy.config.loader import of_documents
from proxy.config.sources import SourceLog

DEFAULT = Path("config.yaml")


class Place(NamedTuple):
    """Which files the options name."""

    config: Path
    file: Path | None

    @property
    def options(self) -> str:
        """The options for another command on the same files."""
        config = "" if self.config == DEFAULT else f" --config {shlex.quote(str(self.config))}"
        return config + (f" --file {shlex.quote(str(self.file))}" if self.file else "")


class Edited(NamedTuple):
    path: Path
    is_first: bool
    """Whether there was no key before."""
    warnings: Sequence[str]


def edit(place: Place, path: Path, change: Callable[[KeyFile, Path], KeyFile]) -> Edited:
    """Change a file. Raises Failure, and then nothing has changed."""
    with locked(path, document.MAX_BYTES) as file:
        old = _key_file(file.content, path)
        try:
            new = change(old, path)
        except NotEditable:
            hint = "it uses anchors, aliases or merge keys there, or a layout that is not supported; edit it by hand"
            raise Failure(f"cannot edit `keys` in {path}: {hint}") from None
        edited = _checked(new, old, place, path)
        file.replace(new.text.encode())
    return edited


def _checked(new: KeyFile, old: KeyFile, place: Place, path: Path) -> Edited:
    """Check the whole configuration with the new file. Raises Failure if it is not valid."""
    main = _main_file(place, path)
    try:
        config, number = _configuration(main, path, new.text)
    except ConfigError as error:
        problem = error
    else:
        if not number:
            hint = "without keys, the proxy would accept every request; add another key first"
            raise Failure(f"nothing was changed: this is the last key of {main}; {hint}")
        return Edited(path, not old.entries and number == 1, config.warnings)
    try:
        _configuration(main, path, old.text)
    except ConfigError as error:
        hint = "\nIf another file includes this one, name that with --config." if main == place.file else ""
        raise Failure(f"nothing was changed: fix the configuration first: {error}{hint}") from None
    raise Failure(f"nothing was changed: after this change, {problem}")


def _configuration(main: Path, path: Path, text: str) -> tuple[Config, int]:
    """The configuration if one of its files has this text, and its number of keys. Raises ConfigError.

    Variables and files with secrets can be missing here: the server may run as another user.
    """
    new = document.read(text, str(path), os.environ)
    if main == path:
        documents = with_included(new, os.environ, SourceLog())
    else:
        first, *others = [
            new if _is_same(each.path, path) else each for each in read_files(str(main), os.environ, SourceLog()).files
        ]
        documents = Documents(first, others)
    config = of_documents(documents, SourceLog(), offline=True)
    return config, sum(len(entries_of(each.value)) for each in documents.files)


def documents_of(place: Place) -> Sequence[document.Document]:
    """The file that was named, or all files of the configuration. Raises Failure."""
    try:
        if place.file:
            text = _key_file(read_file(place.file, document.MAX_BYTES), place.file).text
            return [document.read(text, str(place.file), {})]
        return read_files(str(place.config), {}, SourceLog()).files
    except ConfigError as error:
        raise Failure(str(error)) from None


def file_of(name: str, place: Place) -> Path:
    """The file with the key of this name. Raises Failure."""
    if place.file:
        return place.file
    documents = documents_of(place)
    for each in documents:
        if any(entry.get("name") == name for entry in entries_of(each.value)):
            return Path(each.path)
    raise _no_key(name, [entry for each in documents for entry in entries_of(each.value)], place.config)


def _main_file(place: Place, path: Path) -> Path:
    """The main file of a configuration: the file itself, unless that of --config includes it."""
    if place.file is None or not place.config.exists():
        return path if place.file else place.config
    try:
        included = read_files(str(place.config), {}, SourceLog()).files[1:]
    except ConfigError as error:
        raise Failure(f"nothing was changed: fix the configuration first: {error}") from None
    return place.config if any(_is_same(each.path, path) for each in included) else path


def _is_same(first: str, second: Path) -> bool:
    return Path(first).resolve() == second.resolve()


def _key_file(content: bytes, path: Path) -> KeyFile:
    try:
        return KeyFile(content.decode(), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    except ConfigError as error:
        raise Failure(str(error)) from None
    raise Failure(f"{path}:{line}: contains bytes that are not UTF-8; save the file as UTF-8")


def names_of(entries: Sequence[Entry]) -> list[str]:
    return [str(entry.get("name")) for entry in entries]


def find_key(name: str, entries: Sequence[Entry], path: Path) -> Entry:
    if match := [entry for entry in entries if entry.get("name") == name]:
        return match[0]
    raise _no_key(name, entries, path)


def _no_key(name: str, entries: Sequence[Entry], path: Path) -> Failure:
    names = names_of(entries)
    return Failure(f"{path} has no key {name}{did_you_mean(name, names) or f'; {available(names)}'}")


def require_digest(entry: Entry, path: Path) -> None:
    if not digests(entry):
        hint = "change the variable instead"
        raise Failure(f"the key of {entry['name']} is in an environment variable (`key:` in {path}); {hint}")
