"""Read the main file and the files that it includes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from proxy.config import document as yaml_document
from proxy.config.contents import Content, content
from proxy.config.document import MAX_BYTES, MOST, Document, Path, Size
from proxy.config.documents import Documents
from proxy.config.hints import LIST
from proxy.config.problems import ConfigError, Problem
from proxy.config.sources import SourceLog
from proxy.patterns import WILDCARDS

MAX_FILES = 1000


def read_files(
    path: str, environ: Mapping[str, str], log: SourceLog, read: Content = content, most: Size = MOST
) -> Documents:
    """Read the main file with `read`, and all that it includes. Raises ConfigError for what is no valid YAML.

    `most`: raise LargeConfiguration before more than this is parsed.
    """
    try:
        raw = read(path, MAX_BYTES)
    except OSError as error:
        problem = Problem(0, "", f"{error.strerror}; set another path with --config", path)
        raise ConfigError(path, [problem]) from error
    return with_included(_document(raw, path, environ, Size(), most), environ, log, most)


def with_included(main: Document, environ: Mapping[str, str], log: SourceLog, most: Size = MOST) -> Documents:
    """Read the files that a document includes. Raises ConfigError and LargeConfiguration."""
    files = [main]
    paths = _included(main, log)
    problems = [*main.problems] if any(problem.setting.startswith("include") for problem in main.problems) else []
    for path in paths:
        size = files[-1].size
        try:
            files.append(_document(content(path, MAX_BYTES - size.bytes), path, environ, size, most))
        except OSError as error:
            problems.append(Problem(0, "", f"cannot be read: {error.strerror}; it is included by {main.path}", path))
        except ConfigError as error:
            problems += error.problems
    if problems:
        # Without these files, other settings would seem to be wrong, like the group of a key.
        raise ConfigError(main.path, {*problems, *(problem for file in files for problem in file.problems)})
    return Documents(main, files[1:])


def _document(raw: bytes, path: str, environ: Mapping[str, str], before: Size, most: Size) -> Document:
    if before.bytes + len(raw) > MAX_BYTES:
        raise yaml_document.too_large(path, before)
    return yaml_document.read(_decoded(raw, path), path, environ, before, most)


def _included(main: Document, log: SourceLog) -> list[str]:
    """The files that match `include`, each once: in the order of the list, sorted within a pattern."""
    found: dict[str, str] = {}
    for pattern, place in _patterns(main):
        for path in _matches(main, pattern, place, log):
            if os.path.normpath(path) != os.path.normpath(main.path):
                found.setdefault(os.path.normpath(path), path)
                log.add(path)
    if len(found) > MAX_FILES:
        main.problem(("include",), f"matches more than {MAX_FILES:,} files; check the patterns")
        return []
    return list(found.values())


def _patterns(main: Document) -> Iterator[tuple[str, Path]]:
    """The entries of `include`, with their places."""
    listed = main.value.get("include") if isinstance(main.value, dict) else None
    if listed is not None and not isinstance(listed, list):
        main.problem(("include",), LIST)
    for index, pattern in enumerate(listed if isinstance(listed, list) else ()):
        place = ("include", index)
        if not isinstance(pattern, str) or not pattern or "\0" in pattern:
            main.problem(place, "must be the path of a file, or a pattern like keys/*.yaml")
        elif place not in main.unset and place not in main.malformed:
            yield pattern, place


def _matches(main: Document, pattern: str, place: Path, log: SourceLog) -> tuple[str, ...]:
    """The files that an entry of `include` matches, relative to the folder of the main file."""
    path = os.path.join(os.path.dirname(main.path), pattern)
    if WILDCARDS & set(pattern):
        found = log.add_pattern(path)
        if not found:
            main.problem(place, f"matches no file{_hint(main)}")
        return found
    log.add(path)
    if os.path.normpath(path) == os.path.normpath(main.path):
        main.problem(place, "is the main file itself; remove it")
    elif not os.path.lexists(path):
        main.problem(place, f"no such file{_hint(main)}")
        return ()
    return (path,)


def _hint(main: Document) -> str:
    folder = os.path.dirname(main.path) or "the working directory"
    return f" in {folder}; check the path, or set `include` of a provider to select models"


def _decoded(raw: bytes, path: str) -> str:
    """Raises ConfigError."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
    # Not raised in the handler, because the UnicodeDecodeError contains the whole file, including secrets.
    raise ConfigError(path, [Problem(line, "", "contains bytes that are not UTF-8; save the file as UTF-8", path)])
