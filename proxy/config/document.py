"""YAML text -> plain values, with the line of each value and with its variables expanded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from proxy.config.problems import ConfigError, Problem
from proxy.config.variables import expand

if TYPE_CHECKING:
    _FastLoader = yaml.SafeLoader
else:
    _FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = tuple[str | int, ...]

MAX_BYTES = 5 * 1024 * 1024
# Aliases are expanded, so a small file can contain a huge one ("billion laughs").
MAX_VALUES = 300_000
# libyaml builds its tree by recursion; a stack overflow there would end the process.
MAX_DEPTH = 50

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WORD = re.compile(r"[A-Za-z_]{1,40}")
_TAG = "tag:yaml.org,2002:"
_TEXTS = frozenset(_TAG + name for name in ("str", "value", "merge"))
"""`value` and `merge` are a plain `=` and `<<`."""
_TYPES = frozenset(_TAG + name for name in ("int", "float", "bool", "null", "timestamp"))
_MAX_NUMBER = 100

_HINTS = (
    # Words in an error of libyaml -> what to do about it. The first match counts.
    ("alias", 'a value that begins with `*` must stand in quotes, like "*"'),
    ("duplicate anchor", "this `&` name stands here a second time; give it another"),
    ("anchor", "a value that begins with `&` must stand in quotes"),
    ("block scalar", "a value that begins with `|` or `>` must stand in quotes"),
    ("scanning a tag", 'a value that begins with `!` must stand in quotes, like "!*-preview"'),
    ("tab character", "indent with blanks, not with a tab"),
    ("cannot start any token", "indent with blanks, not tabs; quote a value that begins with `@`, `%` or a backtick"),
    ("expected ','", 'a comma or the closing bracket is missing; inside { } and [ ] quote references, like "${NAME}"'),
    ("mapping values", "check this line's indent and the `:` in the line above, or quote a value that holds `: `"),
    ("block sequence entries", "an entry that begins with `- ` stands on a line of its own"),
    ("expected '-'", "check this line's indent, or begin the entry with `- `"),
    ("did not find expected key", "check this line's indent, and that quotes and brackets end where they should"),
    ("could not find expected ':'", "write `name: value`, with a blank after the colon"),
    ("end of stream", "the quote that begins here is never closed"),
    ("another document", "only one document may stand in the file; take the second `---` away"),
    ("escape", "in double quotes a backslash begins an escape; use single quotes"),
    ("node content", "a value is missing, or a bracket is not closed"),
)  # fmt: skip
_BEGUN_EARLIER = ("end of stream", "could not find expected ':'")


@dataclass
class Document:
    """One file: its values, and where each of them is."""

    path: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    """Scalars as written in the file, with their `${NAME}`: never a secret from the environment."""
    unset: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    """Strings with variables that are not set, and the names of these variables."""
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of a value, or else of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, path: Path, text: str) -> None:
        self.problems.append(Problem(self.line(path), setting(path), text))


def setting(path: Path) -> str:
    """`providers[2].base_url`: the path as shown to the operator.

    It ends before the first part that is no plain word, except where operators choose the names: that part could be
    a secret in the wrong place, like `api_key:sk-...` without a blank. The line number identifies it.
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


def read(text: str, path: str, environ: Mapping[str, str]) -> Document:
    """Parse one YAML document. Raises ConfigError if it is not YAML, too large, or nested too deeply."""
    if half := _SURROGATE.search(text):
        line = text.count("\n", 0, half.start()) + 1
        raise ConfigError(path, [Problem(line, "", "holds half a character; save the file as UTF-8")])
    if len(text.encode()) > MAX_BYTES:
        raise too_large(path)
    document = Document(path)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            document.value = None if node is None else _Values(loader, document, environ).of(node, ())
        finally:
            loader.dispose()
    except _TooMuch as error:
        raise ConfigError(path, [error.problem]) from error
    except yaml.YAMLError as error:
        raise ConfigError(path, [_syntax_problem(error, text)]) from error
    return document


def too_large(path: str) -> ConfigError:
    return ConfigError(path, [Problem(0, "", f"is larger than {MAX_BYTES:,} bytes; is it the right file?")])


class _TooMuch(Exception):
    def __init__(self, node: yaml.Node | None, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(node.start_mark.line + 1 if node else 0, "", text)


class _Loader(_FastLoader):
    """A loader that stops before a file can use up the memory or the stack."""

    _depth = 0
    _nodes = 0

    # Called by PyYAML before and after each node of the tree, with the node around it.
    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise _TooMuch(parent, f"is nested more than {MAX_DEPTH} levels deep; no setting is")
        if self._nodes > MAX_VALUES:
            raise _TooMuch(parent, f"holds more than {MAX_VALUES:,} values; is it the right file?")

    def ascend_resolver(self) -> None:
        self._depth -= 1


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, text.find(chr(error.character))) + 1
        return Problem(line, "", f"holds a control character (U+{error.character:04X}); take it away")
    assert isinstance(error, yaml.MarkedYAMLError), "PyYAML raises no others"
    payload = f"{error.context}: {error.problem}"
    begun_earlier = any(words in payload for words in _BEGUN_EARLIER)
    mark = error.context_mark if begun_earlier else error.problem_mark
    hint = next((hint for words, hint in _HINTS if words in payload), error.problem)
    return Problem(mark.line + 1 if mark else 0, "", f"no valid YAML: {hint}")


class _Values:
    """Converts the nodes of one document to plain values, and records the line of each."""

    def __init__(self, loader: _Loader, document: Document, environ: Mapping[str, str]) -> None:
        self._loader = loader
        self._document = document
        self._environ = environ
        self._count = 0

    def of(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooMuch(node, f"stands for more than {MAX_VALUES:,} values, through aliases of aliases")
        if len(path) > MAX_DEPTH:
            raise _TooMuch(node, "holds an alias of itself, or aliases nested too deeply")
        self._document.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(child, (*path, index)) for index, child in enumerate(node.value)]
        self._document.texts[path] = node.value
        value = self._scalar(node, path)
        return self._expanded(value, path) if isinstance(value, str) else value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._document.problems.append(Problem(line, setting(path), "a name must be a plain word, no list"))
            elif key.tag == _TAG + "merge":
                hint = "is not known here; what several providers share stands under `defaults`"
                self._document.problems.append(Problem(line, setting(path), f"`<<` {hint}"))
            elif key.value in values:
                # Otherwise its first value would be lost silently.
                where = setting((*path, key.value))
                self._document.problems.append(Problem(line, where, "stands here a second time; keep one"))
            else:
                values[key.value] = self.of(child, (*path, key.value))
                self._document.lines[(*path, key.value)] = line
        return values

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if node.tag in _TEXTS or len(node.value) > _MAX_NUMBER:
            return node.value
        if node.tag not in _TYPES:
            self._document.problem(path, "a value that begins with `!` must stand in quotes")
            return f"{node.tag}{node.value}"
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError):
            return node.value  # a date like 2027-13-45: rejected where a date is needed

    def _expanded(self, text: str, path: Path) -> str:
        expanded = expand(text, self._environ)
        if expanded.malformed:
            hint = "write `$${` for a plain `${`"
            self._document.problem(path, f"holds `${{` without `NAME}}` or `NAME:-default}}` behind it; {hint}")
        if expanded.unset:
            self._document.unset[path] = expanded.unset
        return expanded.text
