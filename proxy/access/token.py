"""Parse a JSON Web Token, without verifying anything about it. Pure.

Stricter than JSON parsers: a token that two programs could read differently is rejected.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, NoReturn

MAX_TOKEN_BYTES = 8192
DOTS = 2
"""The dots of every token. Few API keys contain that many."""
STARTS = b"eICD7_/"
"""The first characters of all tokens in base64: of `{`, and of whitespace or a byte order mark before it."""
_MAX_READ_BYTES = 2 * MAX_TOKEN_BYTES
"""Longer texts are rejected anyway."""
_FORM = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_ISSUER = re.compile(rb'"(?:i|\\u0069)(?:s|\\u0073){2}"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_MAX_ISSUERS = 8
"""No API key contains more."""
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


def names_issuer(text: bytes, issuers: Collection[str]) -> bool:
    """Whether a malformed token is one of these issuers: in any reading, because parsers can disagree.

    A token that is rejected must not count as something else, such as an unknown API key.
    """
    if text.count(b".") < DOTS or len(text) > _MAX_READ_BYTES:
        return False
    part = text.split(b".", DOTS)[1].rstrip(b"=")
    try:
        claims = base64.urlsafe_b64decode(part + b"==")
    except ValueError:
        return False
    matches = _ISSUER.finditer(claims.replace(b"\0", b""))  # reads UTF-16, too: issuers are ASCII
    found = [match[1] for match in islice(matches, _MAX_ISSUERS + 1)]
    return len(found) > _MAX_ISSUERS or any(_decoded(each) in issuers for each in found)


def _decoded(string: bytes) -> str:
    """Return the text of a JSON string, "" if it is none."""
    with suppress(ValueError):
        return str(json.loads(string))
    return ""


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
