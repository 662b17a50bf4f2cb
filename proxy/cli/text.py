"""Formats text for people: counts, dates, and lines that fit a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 model`, `1,200 models`. `plural` defaults to the singular with an s."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def available(names: Sequence[str]) -> str:
    """`available: a, b`: the first ten names."""
    return f"available: {', '.join(names[:10])}{' ...' * (len(names) > 10)}" if names else "none is configured"


def day(seconds: int) -> str:
    """The UTC date of Unix seconds, `-` for 0 (unknown), the number itself if it is out of range."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else "-"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def wrap(text: str, width: int | None) -> list[str]:
    """Lines of at most this width, broken between words; longer words are broken anywhere. None: a single line."""
    if width is None:
        return [text]
    lines = [""]
    for word in re.findall(" *[^ ]+", text):
        if lines[-1] and width_of(lines[-1] + word) > width:
            lines.append("")
            word = word.lstrip()
        for part in word if width_of(word) > width else [word]:
            if width_of(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return lines


def cut(text: str, width: int | None) -> str:
    """The text, shortened with `…` if it is wider. `width` None: unlimited."""
    if width is None or width_of(text) <= width:
        return text
    room, kept = width - 1, []
    for character in text:
        room -= _width(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…" * (width > 0)


def width_of(text: str) -> int:
    """The number of columns on a terminal: East Asian wide characters use two, combining characters none."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
