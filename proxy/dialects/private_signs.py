"""Find quickly which forms of private texts entries may contain: most contain none, and need no further check.

A sign is a few characters that all texts of a form contain. False positives are allowed, false negatives are not: each
form in `private_text` has a sign here. Signs are searched in many entries together, and those that were found also in
each entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Sign = Callable[..., re.Match[bytes] | None]
"""Searches JSON for a sign, from a position on."""

_BY_FIRST_CHARACTER: Sequence[tuple[bytes, Sign]] = tuple(
    (character, re.compile(re.escape(character) + after).search)
    # Each begins with one literal character, because Python finds that fast. What most texts do not contain comes next.
    for character, after in (
        (b"/", rb"(?<![\w-]/)(?!\s)"),  # paths and URLs, but not `maker/model`
        # Options of commands, and tokens. Few words end with letters of these two classes.
        (b"-", rb"(?:-|(?<=[sapleA][kixytK]-)(?:(?<=sk-)|(?<=xai-|api-|plx-|vly-|key-)|(?<=AK-)|(?<=glpat-)))"),
        # Addresses.
        (
            b".",
            rb"(?:\d{1,3}\.\d|[ilcpshILCPSH](?<=(?i:\.(?:i|l|c|p|s|h)))"
            rb"(?i:nternal|ntranet|ocal|an|orp|rivate|vc|luster|ome\.arpa))",
        ),
        (b"h", rb"(?:f_|[pousr](?<=gh.)_|ub_pat_(?<=github_pat_)|ost(?<=localhost))"),
        (b"k", rb"_(?<=sk_)"),
        (b"eyAi", b""),
        (b"\\", rb'(?=[\\"])'),  # paths of Windows, JSON in a text
        (b"~", b""),
        (b"$", rb"(?=[{A-Z])"),
        (b"=", b""),
        (b"@", b""),
        (b"'", rb"(?=\s*:)"),
    )
)
# Tokens with capital letters.
_CAPITALS: Sequence[tuple[bytes, Sign]] = tuple(
    (capitals, re.compile(pattern).search)
    for capitals, pattern in (
        (b"AKI", rb"A(?=KI[AD])"),
        (b"AKLT", rb"A(?=KLT)"),
        (b"ASIA", rb"A(?=SIA)"),
        (b"ABSK", rb"A(?=BSK)"),
        (b"LTAI", rb"L(?=TAI)"),
        (b"AI", rb"A(?=Iza)"),
        (b"J", rb"J(?<=eyJ)"),
        (b"B", rb"B(?=earer|asic)"),
    )
)
_NO_CAPITALS = bytes(set(range(256)) - set(b"".join(capitals for capitals, _ in _CAPITALS)))

ALL_SIGNS: Sequence[Sign] = tuple(search for _, search in (*_BY_FIRST_CHARACTER, *_CAPITALS))


def signs_in(json: bytes) -> Sequence[Sign]:
    """The signs that JSON contains. Its parts contain no others."""
    if b"\\" in json and b"\\u" in json:
        return ALL_SIGNS  # any character can be escaped
    possible = [search for character, search in _BY_FIRST_CHARACTER if character in json]
    with_capitals = [(capitals, search) for capitals, search in _CAPITALS if all(letter in json for letter in capitals)]
    if with_capitals:  # their order is compared only now, because it takes longer
        ordered = json.translate(None, _NO_CAPITALS)
        possible += [search for capitals, search in with_capitals if capitals in ordered]
    return [search for search in possible if search(json)]


def has_sign(json: bytes, signs: Sequence[Sign]) -> bool:
    """Whether JSON without unnecessary escapes contains one of these signs."""
    for search in signs:  # noqa: SIM110 - any() takes several times as long
        if search(json):
            return True
    return False


def texts_with_signs(json: bytes, signs: Sequence[Sign]) -> set[str]:
    """The texts with one of these signs in JSON that contains no escapes."""
    texts: set[str] = set()
    for search in signs:
        match = search(json)
        while match:
            end = json.find(b'"', match.start())
            texts.add(json[json.rfind(b'"', 0, match.start()) + 1 : end].decode())
            match = search(json, end)
    return texts


def may_be_private(text: str, signs: Sequence[Sign]) -> bool:
    """Whether a text has one of these signs, which are all that it can have."""
    return "\\" in text or '"' in text or has_sign(text.encode(), signs)
