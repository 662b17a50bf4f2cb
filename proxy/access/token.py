"""Parse a JSON Web Token, without verifying anything about it. Pure.

Stricter than JSON parsers: a token that two programs could read differently is rejected.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

MAX_TOKEN_BYTES = 8192
START = b"eyJ"
"""The beginning of every token: `{"` in base64."""
_FORM = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_MAX_OPENED = 256
"""Maximum arrays and objects in one part, which also bounds the nesting depth."""


class Token(NamedTuple):
    """The header and the claims of a token."""

    text: bytes
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def issuer(self) -> str:
        """The claim `iss`, "" if it is not a string."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""


def parse_token(text: bytes) -> Token | None:
    """Return the token in a text, None if the text is not a token."""
    form = _FORM.fullmatch(text) if len(text) <= MAX_TOKEN_BYTES else None
    if form is None:
        return None
    try:
        return Token(text, _object(form[1]), _object(form[2]))
    except ValueError:  # also of base64, UTF-8 and JSON
        return None


def _object(part: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a part of a token. Raises ValueError."""
    content = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if content.count(b"{") + content.count(b"[") > _MAX_OPENED:
        raise ValueError("nested too deeply")
    value = json.loads(content.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_number)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _without_duplicates(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise ValueError("duplicate member")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
