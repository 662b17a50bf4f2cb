"""Formats text for people: counts, dates, and untrusted text that is safe to print."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 model`, `1,200 models`. `plural` defaults to the singular with an s."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def day(seconds: int) -> str:
    """The UTC date of Unix seconds, `-` for 0 (unknown), the number itself if it is out of range."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else "-"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def printable(text: str) -> str:
    """Escape the characters with which untrusted text moves the cursor, changes colors or the text direction."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
