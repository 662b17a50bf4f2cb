"""`${NAME}` and `${NAME:-default}` inside strings, replaced from the environment; `$${` is a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}|\$\{")


@dataclass(frozen=True)
class Expanded:
    """A string with its variables replaced."""

    text: str
    unset: tuple[str, ...] = ()
    """Names of variables that are not set or empty, and have no default; they are replaced by nothing."""
    malformed: bool = False
    """Whether there is a `${` that begins no reference; it stays as it is."""


def expand(text: str, environ: Mapping[str, str]) -> Expanded:
    """Replace the variables of a text. What a variable contains is not expanded again."""
    if "${" not in text:
        return Expanded(text)
    unset: dict[str, None] = {}
    malformed = False

    def value_of(match: re.Match[str]) -> str:
        nonlocal malformed
        literal, name, default = match.groups()
        if literal:
            return "${"
        if name is None:
            malformed = True
            return match[0]
        # As in a shell, `:-` also replaces a variable that is set to nothing.
        value = environ.get(name) or default
        if value is None:
            unset[name] = None
        return value or ""

    return Expanded(_VARIABLE.sub(value_of, text), tuple(unset), malformed)


def is_reference(text: str) -> bool:
    """Whether a string takes its value from the environment and not from the file."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and match[2] is not None and not match[3]
