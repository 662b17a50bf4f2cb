"""YAML text -> plain values, with the line of each value, and with variables, aliases and merge keys expanded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from proxy.config.problems import ConfigError, Problem
from proxy.config.variables import expand

if TYPE_CHECKING:
    _FastLoader = yaml.SafeLoader
else:
    _FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = tuple[str | int, ...]

MAX_BYTES = 5 * 1024 * 1024
# Aliases and merge keys are expanded, so a small file can contain a huge one ("billion laughs").
MAX_VALUES = 300_000
# libyaml builds its tree recursively; a stack overflow there would end the process.
MAX_DEPTH = 50

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WORD = re.compile(r"[A-Za-z_]{1,40}")
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_TEXTS = frozenset((_TAG + "str", _TAG + "value", _MERGE))
"""`value` and `merge` are an unquoted `=` and `<<`."""
_TYPES = frozenset(_TAG + name for name in ("int", "float", "bool", "null", "timestamp"))
_MAX_NUMBER = 100

_HINTS = (
    # Words in an error of libyaml -> the fix. The first match is used.
    ("undefined alias", 'no such anchor; define it above, or quote values that begin with `*`, like "*"'),
    ("alias", 'quote values that begin with `*`, like "*"'),
    ("duplicate anchor", "duplicate anchor; rename one of the `&` names"),
    ("anchor", "quote values that begin with `&`"),
    ("block scalar", "quote values that begin with `|` or `>`"),
    ("scanning a tag", 'quote values that begin with `!`, like "!*-preview"'),
    ("tab character", "indent with spaces, not tabs"),
    ("cannot start any token", "indent with spaces, not tabs; quote values that begin with `@`, `%` or a backtick"),
    ("expected ','", 'missing comma or closing bracket; inside { } and [ ], quote variables, like "${NAME}"'),
    ("mapping values", "check the indentation and the `:` in the line above, or quote a value that contains `: `"),
    ("block sequence entries", "start each `- ` entry on a new line"),
    ("expected '-'", "check this line's indentation, or start the entry with `- `"),
    ("did not find expected key", "check this line's indentation, and that quotes and brackets are closed"),
    ("could not find expected ':'", "write `name: value`, with a space after the colon"),
    ("end of stream", "the quote that starts here is not closed"),
    ("another document", "only one document per file is supported; remove the second `---`"),
    ("escape", "invalid escape sequence in double quotes; use single quotes for a literal backslash"),
    ("node content", "missing value or unclosed bracket"),
)  # fmt: skip
# Errors that are reported at the line where the construct starts, not where the parser stopped.
_STARTS_EARLIER = ("end of stream", "could not find expected ':'")


class Size(NamedTuple):
    """How much was read, to bound all files together."""

    bytes: int = 0
    values: int = 0
    """With aliases expanded."""


_NOTHING = Size()
MOST = Size(MAX_BYTES, MAX_VALUES)


class LargeConfiguration(Exception):
    """The files together exceed the limit of the caller."""


@dataclass
class Document:
    """One file: its values, and the line of each."""

    path: str
    size: Size = _NOTHING
    """With the files before it."""
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    """Scalars as written in the file, with their `${NAME}`: they contain no secret from the environment."""
    unset: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    """Strings with variables that are not set or empty, and the names of these variables."""
    malformed: set[Path] = field(default_factory=set)
    """Strings with an invalid variable reference, which is already in `problems`."""
    problems: list[Problem] = field(default_factory=list)
    starts: Mapping[str, int] = field(default_factory=dict)
    """Section that is a list -> the number of its entries in the files before this one."""

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest enclosing value that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, path: Path, text: str) -> None:
        self.problem_at(self.line(path), path, text)

    def problem_at(self, line: int, path: Path, text: str) -> None:
        self.problems.append(Problem(line, setting(path), text, self.path))


def setting(path: Path) -> str:
    """`providers[2].base_url`: the path as shown to the operator.

    It ends before the first part that is not a plain word, except where operators choose the names: that part could
    be a misplaced secret, like `api_key:sk-...` without a space. The line number identifies it.
    """
    payload = ""
    for parent, part in zip(("", *path), path, strict=False):
        if isinstance(part, int):
            payload += f"[{part}]"
        elif _WORD.fullmatch(part) or (parent in ("groups", "aliases") and part and part.isprintable()):
            payload += f".{part}"
        else:
            break
    return payload.removeprefix(".")


def in_all_files(file: Document, path: Path) -> Path:
    """A path in a file -> the path in all files together."""
    match path:
        case (str(section), int(index), *rest):
            return (section, index + file.starts.get(section, 0), *rest)
    return path


def is_extension(path: Path) -> bool:
    """Whether a value is in a top-level section `x-...`, which is ignored: a place for YAML anchors."""
    return bool(path) and str(path[0]).startswith("x-")


def read(text: str, path: str, environ: Mapping[str, str], before: Size = _NOTHING, most: Size = MOST) -> Document:
    """Parse one YAML document. `before`: the size of the files before it.

    Raises ConfigError if it is invalid, nested too deeply, or too large together with those files; LargeConfiguration
    if they are larger than `most`.
    """
    if half := _SURROGATE.search(text):
        line = text.count("\n", 0, half.start()) + 1
        raise ConfigError(path, [Problem(line, "", "contains an unpaired surrogate; save the file as UTF-8", path)])
    size = before.bytes + len(text.encode())
    if size > MAX_BYTES:
        raise too_large(path, before)
    if size > most.bytes:
        raise LargeConfiguration
    document = Document(path)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            values = _Values(loader, document, environ, before.values, most.values)
            document.value = None if node is None else values.of(node, ())
            document.size = Size(size, values.count)
        finally:
            loader.dispose()
    except _TooMuch as error:
        raise ConfigError(path, [Problem(error.line, "", str(error), path)]) from error
    except yaml.YAMLError as error:
        line, words = _syntax_problem(error, text)
        raise ConfigError(path, [Problem(line, "", words, path)]) from error
    return document


def too_large(path: str, before: Size = _NOTHING) -> ConfigError:
    what = "makes the configuration larger than" if before.bytes else "is larger than"
    text = f"{what} {MAX_BYTES:,} bytes; check that it is a configuration file"
    return ConfigError(path, [Problem(0, "", text, path)])


class _TooMuch(Exception):
    def __init__(self, node: yaml.Node | None, text: str) -> None:
        super().__init__(text)
        self.line = node.start_mark.line + 1 if node else 0


class _Loader(_FastLoader):
    """A loader that stops before a file can exhaust the memory or the stack."""

    _depth = 0
    _nodes = 0

    # PyYAML calls these before and after each node of the tree, with its parent.
    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise _TooMuch(parent, f"is nested more than {MAX_DEPTH} levels deep; check brackets and indentation")
        if self._nodes > MAX_VALUES:
            raise _TooMuch(parent, f"contains more than {MAX_VALUES:,} values; check that it is a configuration file")

    def ascend_resolver(self) -> None:
        self._depth -= 1


def _syntax_problem(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line of an error of libyaml, and a message with the fix."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, text.find(chr(error.character))) + 1
        return line, f"contains a control character (U+{error.character:04X}); remove it"
    assert isinstance(error, yaml.MarkedYAMLError), "PyYAML raises no others"
    payload = f"{error.context}: {error.problem}"
    starts_earlier = any(words in payload for words in _STARTS_EARLIER)
    mark = error.context_mark if starts_earlier else error.problem_mark
    hint = next((hint for words, hint in _HINTS if words in payload), error.problem)
    return mark.line + 1 if mark else 0, f"invalid YAML: {hint}"


class _Values:
    """Converts the nodes of one document to plain values and records the line of each."""

    def __init__(self, loader: _Loader, document: Document, environ: Mapping[str, str], count: int, most: int) -> None:
        self._loader = loader
        self._document = document
        self._environ = environ
        self.count = count
        self._most = most

    def of(self, node: yaml.Node, path: Path) -> Any:
        self._check_size(node, len(path))
        self._document.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(child, (*path, index)) for index, child in enumerate(node.value)]
        self._document.texts[path] = node.value
        value = self._scalar(node, path)
        return self._expanded(value, path) if isinstance(value, str) else value

    def _check_size(self, node: yaml.Node, depth: int) -> None:
        """Count one more value. Raises _TooMuch if there are too many, or if they are nested too deeply."""
        self.count += 1
        if self.count > self._most:
            if self._most < MAX_VALUES:
                raise LargeConfiguration
            raise _TooMuch(node, f"more than {MAX_VALUES:,} values in all files, with aliases expanded; use fewer")
        if depth > MAX_DEPTH:
            raise _TooMuch(node, "alias refers to itself or is nested too deeply")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                text = "a setting name must be a string, not a list or mapping"
                self._document.problem_at(line, path, text)
            elif key.tag == _MERGE:
                merged.append(child)
            elif key.value in values:
                # YAML parsers keep only the last value, without a warning.
                self._document.problem_at(line, (*path, key.value), "duplicate key; remove one")
            else:
                self._add(values, key, child, path)
        for source in merged:
            for key, child in self._pairs(source, path, len(path)):
                if key.value not in values:
                    self._add(values, key, child, path)
        return values

    def _add(self, values: dict[str, Any], key: yaml.ScalarNode, child: yaml.Node, path: Path) -> None:
        where = (*path, key.value)
        values[key.value] = self.of(child, where)
        self._document.lines[where] = key.start_mark.line + 1

    def _pairs(self, source: yaml.Node, path: Path, depth: int) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """The settings that a merge key adds, highest precedence first: own settings before merged ones.

        `source` is the value of `<<`: a mapping, or a list of mappings. `depth` counts merges of merges.
        """
        self._check_size(source, depth)
        if isinstance(source, yaml.ScalarNode):
            line = source.start_mark.line + 1
            text = "`<<` must be a mapping or a list of mappings, like `<<: *name`"
            self._document.problem_at(line, path, text)
            return
        pairs = [pair for pair in source.value if isinstance(pair, tuple)]
        for key, child in pairs:
            self._check_size(key, depth)
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                yield key, child
        nested = source.value if isinstance(source, yaml.SequenceNode) else [c for k, c in pairs if k.tag == _MERGE]
        for child in nested:
            yield from self._pairs(child, path, depth + 1)

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if node.tag in _TEXTS or len(node.value) > _MAX_NUMBER:
            return node.value
        if node.tag not in _TYPES:
            self._document.problem(path, "quote values that begin with `!`")
            return f"{node.tag}{node.value}"
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError):
            return node.value  # like 2027-13-45: rejected later, where a date is required

    def _expanded(self, text: str, path: Path) -> str:
        expanded = expand(text, self._environ)
        if expanded.fault and not is_extension(path):
            self._document.malformed.add(path)
            self._document.problem(path, expanded.fault)
        if expanded.unset:
            self._document.unset[path] = expanded.unset
        return expanded.text
