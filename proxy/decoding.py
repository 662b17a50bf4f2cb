"""Decode JSON that may be invalid."""

from __future__ import annotations

from typing import Any

import msgspec

_SHORT = 32 * 1024  # bytes
_MANY = 16 * 1024  # values


def decode_or_none(body: bytes) -> Any:
    """Return the decoded value; None for invalid JSON and for nesting that is too deep to decode."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def has_many_values(body: bytes | bytearray) -> bool:
    """Return whether it takes long to decode a body: some ms. Counts also what is in strings."""
    return len(body) > _SHORT and body.count(b",") + body.count(b"[") + body.count(b"{") > _MANY


def is_json(body: bytes) -> bool:
    """Return whether a body is one valid JSON value. Builds nothing."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def is_unfinished(body: bytes) -> bool:
    """Return whether a body is the beginning of a JSON value, or nothing at all, and lacks the rest."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except (ValueError, RecursionError):
        return False
    return False
