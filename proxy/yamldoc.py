"""YAML text -> plain values, together with the line on which each of them stands.

`${NAME}` and `${NAME:-default}` inside strings are replaced from the environment that is handed in; `$${` stands
for a literal `${`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxy.errors import ConfigError, Problem

Path = tuple[str | int, ...]

MAX_BYTES = 5 * 1024 * 1024
# Aliases are followed, so a small file can stand for a huge one ("billion laughs").
MAX_VALUES = 500_000

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Document:
    """One file, read."""

    path: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    """Strings as they stand in the file, with their `${NAME}`: never a secret from the environment."""
    unset: dict[Path, str] = field(default_factory=dict)
    """Strings whose variable is not set: where, and its name."""
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of a value, or else of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, path: Path, text: str) -> None:
        self.problems.append(Problem(self.line(path), setting(path), text))


def setting(path: Path) -> str:
    """`providers[2].base_url`, as an operator would say it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read(text: str, path: str, environ: Mapping[str, str]) -> Document:
    """Parse one YAML document. Raises ConfigError when it is no YAML at all."""
    document = Document(path)
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ConfigError(path, [Problem(0, "", f"is larger than {MAX_BYTES:,} bytes")])
    loader: Any = _Loader(text)
    try:
        node = loader.get_single_node()
        document.value = None if node is None else _value(loader, node, (), document, environ)
    except yaml.YAMLError as error:
        raise ConfigError(path, [_syntax_problem(error)]) from error
    except RecursionError as error:
        raise ConfigError(path, [Problem(0, "", "is nested too deeply")]) from error
    finally:
        loader.dispose()
    return document


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or "cannot be read"
    return Problem(mark.line + 1 if mark else 0, "", f"no valid YAML: {what}")


def _value(loader: Any, node: yaml.Node, path: Path, document: Document, environ: Mapping[str, str]) -> Any:
    if len(document.lines) >= MAX_VALUES:
        raise yaml.YAMLError("more than half a million values")
    document.lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, document, environ)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, child, (*path, index), document, environ) for index, child in enumerate(node.value)]
    try:
        value = loader.construct_object(node)
    except ValueError as error:  # a date like 2027-13-45
        document.problem(path, f"{error}")
        return None
    return _filled_in(value, path, document, environ) if isinstance(value, str) else value


def _mapping(
    loader: Any, node: yaml.MappingNode, path: Path, document: Document, environ: Mapping[str, str]
) -> dict[str, Any]:
    _refuse_twice(loader, node, path, document)
    loader.flatten_mapping(node)  # `<<: *anchor`
    values: dict[str, Any] = {}
    for key_node, child in node.value:
        key = str(loader.construct_object(key_node))
        values[key] = _value(loader, child, (*path, key), document, environ)
        document.lines[(*path, key)] = key_node.start_mark.line + 1
    return values


def _refuse_twice(loader: Any, node: yaml.MappingNode, path: Path, document: Document) -> None:
    """A setting that stands twice would silently lose its first value (before `<<`, which may be overridden)."""
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = str(loader.construct_object(key_node))
        if key in seen:
            document.problems.append(
                Problem(key_node.start_mark.line + 1, setting((*path, key)), "stands here a second time; keep one")
            )
        seen.add(key)


def _filled_in(text: str, path: Path, document: Document, environ: Mapping[str, str]) -> str:
    document.texts[path] = text

    def value_of(match: re.Match[str]) -> str:
        literal, name, default = match.groups()
        if literal:
            return "${"
        # As in a shell, `:-` also replaces a variable that is set to nothing.
        value = environ.get(name) or default
        if value is None:
            document.unset[path] = name
        return value or ""

    return _VARIABLE.sub(value_of, text)


def is_reference(text: str) -> bool:
    """Whether a string takes its value from the environment and not from the file."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and match[2] is not None and not match[3]
