"""Decode JSON that may be invalid."""

from __future__ import annotations

from typing import Any

import msgspec

_SHORT = 32 * 1024  # bytes
MANY_VALUES = 16 * 1024


def decode_or_none(body: bytes) -> Any:
    """Return the decoded value; None for invalid JSON and for nesting that is too deep to decode."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def has_many_values(body: bytes | bytearray) -> bool:
    """Return whether it takes long to decode a body: some ms."""
    return len(body) > _SHORT and count_values(body) > MANY_VALUES


def count_values(part: bytes | bytearray) -> int:
    """Return about how many values a part of a body has. Counts also what is in strings."""
    return part.count(b",") + part.count(b"[") + part.count(b"{")


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
