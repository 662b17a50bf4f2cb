"""Decode JSON that may be invalid."""

from __future__ import annotations

from typing import Any

import msgspec


def decode_or_none(body: bytes) -> Any:
    """Return the decoded value; None for invalid JSON and for nesting that is too deep to decode."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def is_unfinished(body: bytes) -> bool:
    """Return whether a body is the beginning of a JSON value, or nothing at all, and lacks the rest."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except (ValueError, RecursionError):
        return False
    return False
