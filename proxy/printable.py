"""Untrusted text made safe to print: to a terminal, to a log, or as JSON that a terminal shows."""

from __future__ import annotations

import re

# Control characters, lone surrogates, and characters that change the direction of text or end a line.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNPRINTABLE_IN_LINES = re.compile(_UNPRINTABLE.pattern.replace(r"\x00-\x1f", r"\x00-\x09\x0b-\x1f"))


def printable(text: str) -> str:
    """Escape the characters with which a text moves the cursor, changes colors or the text direction, or adds lines."""
    return _UNPRINTABLE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Like `printable`, but keep the line breaks of a text with several lines."""
    return _UNPRINTABLE_IN_LINES.sub(_escaped, text)


def printable_json(json: str) -> str:
    """Escape the same characters in JSON. Its values do not change."""
    return _UNPRINTABLE_IN_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", json)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
