"""Read long JSON strings in pieces that split no character."""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.cooperative import Cooperative

PIECE = 64 * 1024
"""Bytes that are read at once."""
_IN_STRING = re.compile(rb'(?:[^"\\]++|(?:\\.)++)*+', re.DOTALL)
_ESCAPE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}")
_LONGEST_ESCAPE = 12


def read_string(body: bytes, at: int, length: Callable[[bytes], int] | None = None) -> Cooperative[tuple[int, int]]:
    """Return where a string ends, and its length, in short steps. The end is that of its last quote, -1 if it has none.

    `at`: after its first quote. `length` measures the pieces of the string, each in quotes.
    """
    characters = 0
    while True:
        end = body.find(b'"', at, at + PIECE)
        piece = body[at : at + PIECE if end < 0 else end]
        is_cut_in_escape = (len(piece) - len(piece.rstrip(b"\\"))) % 2
        if end >= 0 and is_cut_in_escape:
            after = _IN_STRING.match(body, at, at + PIECE).end()  # type: ignore[union-attr]  # matches anything
            end = after if body[after : after + 1] == b'"' else -1
            piece = body[at:after]
        elif is_cut_in_escape:
            piece = piece[:-1]
        if end < 0:
            piece = body[at : _whole_character(body, at + len(piece))]
        characters += length(b'"%b"' % piece) if length else 0
        if end >= 0 or not piece:
            return end, characters
        at += len(piece)
        yield


def _whole_character(body: bytes, at: int) -> int:
    """Return the end of the character that contains this position, also if it is escaped."""
    escape = body.rfind(b"\\u", max(0, at - _LONGEST_ESCAPE + 1), at)
    if escape >= 0 and (match := _ESCAPE.match(body, escape)):
        at = max(at, match.end())
    while at < len(body) and body[at] & 0xC0 == 0x80:  # the rest of a character in UTF-8
        at += 1
    return at
