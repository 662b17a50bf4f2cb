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
