"""`${NAME}` and `${NAME:-default}` inside strings, replaced from the environment; `$${` is a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}|\$\{")
_REQUIRED = re.compile(r"(?<!\$)\$\{[A-Za-z_][A-Za-z0-9_]*:?\?")
# Upper case only: `$` can also be the first character of a password.
_WITHOUT_BRACES = re.compile(r"\$[A-Z_][A-Z0-9_]*")

# None of these quotes the text, which may be a secret.
REQUIRED = "`${NAME:?}` is not supported; write `${NAME}`, which already fails if NAME is not set or empty"
WITHOUT_BRACES = "variable without braces; write `${NAME}` instead of `$NAME`"
MALFORMED = "invalid variable reference; write `${NAME}` or `${NAME:-default}`, or `$${` for a literal `${`"


@dataclass(frozen=True)
class Expanded:
    """A string with its variables replaced."""

    text: str
    unset: tuple[str, ...] = ()
    """Names of variables that are not set or empty and have no default; they are replaced by an empty string."""
    fault: str = ""
    """The problem with an invalid reference and its fix, "" if all are valid. An invalid reference is not replaced."""


def expand(text: str, environ: Mapping[str, str]) -> Expanded:
    """Replace the variables in a text. Values of variables are not expanded again."""
    if "${" not in text:
        return Expanded(text, fault=WITHOUT_BRACES if _WITHOUT_BRACES.fullmatch(text) else "")
    unset: dict[str, None] = {}
    fault = ""

    def value_of(match: re.Match[str]) -> str:
        nonlocal fault
        literal, name, default = match.groups()
        if literal:
            return "${"
        if name is None:
            fault = REQUIRED if _REQUIRED.search(text) else MALFORMED
            return match[0]
        # As in a shell, `:-` also applies to a variable that is set but empty.
        value = environ.get(name) or default
        if value is None:
            unset[name] = None
        return value or ""

    return Expanded(_VARIABLE.sub(value_of, text), tuple(unset), fault)


def is_reference(text: str) -> bool:
    """Whether the whole value of a string comes from the environment, not from the file."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and match[2] is not None and not match[3]
