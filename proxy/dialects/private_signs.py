"""Find out quickly which forms of private texts a response may contain: most contain none, and need no other check.

A sign is a few characters that all texts of some form contain. A sign can be wrong, but must not be missed: each form
in `private_text` has one here. Signs are searched in the whole response, and in each entry only those that it contains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

Sign = Callable[..., re.Match[bytes] | None]
"""Searches JSON for a sign, from a position on."""

_FREQUENT: Sequence[Sign] = tuple(
    re.compile(pattern).search
    # Each begins with one literal character, because Python finds that fast, and then looks around.
    for pattern in (
        rb"/(?<![\w-]/)(?=\S)",  # paths and URLs, but not `maker/model`
        # Options of commands, and tokens. Few words end with a letter of the first class.
        rb"-(?:(?<=[-kixyK]-)(?:(?<=--)|(?<=sk-)|(?<=xai-)|(?<=api-)|(?<=plx-)|(?<=vly-)|(?<=AK-)|(?<=key-))|(?<=glpat-))",
        # Addresses.
        rb"\.(?:\d{1,3}\.\d|[ilcpshILCPSH](?<=(?i:\.(?:i|l|c|p|s|h)))(?i:nternal|ntranet|ocal|an|orp|rivate|vc|luster|ome\.arpa))",
        rb"h(?:(?=f_)|(?<=gh)(?=[pousr]_)|(?<=gith)(?=ub_pat_)|(?<=localh)(?=ost))",
        rb"k(?<=sk)(?=_)",
    )
)
_RARE: Sequence[tuple[bytes, Sign]] = tuple(
    (character, re.compile(re.escape(character) + after).search)
    for character, after in (
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
        (b"ASIA", rb"A(?=SIA)"),
        (b"ABSK", rb"A(?=BSK)"),
        (b"LTAI", rb"L(?=TAI)"),
        (b"AI", rb"A(?=Iza)"),
        (b"J", rb"J(?<=eyJ)"),
        (b"B", rb"B(?=earer|asic)"),
    )
)
_NO_CAPITALS = bytes(set(range(256)) - set(b"ABDEIJKLST"))

ALL_SIGNS: Sequence[Sign] = (*_FREQUENT, *(search for _, search in (*_RARE, *_CAPITALS)))


_PART = 128 * 1024  # bytes: a hostile part takes some milliseconds
_OVERLAP = 64  # bytes: more than a sign and the characters around it


def parts_of(json: bytes) -> Iterator[bytes]:
    """Overlapping parts of JSON: each of its signs is in one of them."""
    for start in range(0, len(json), _PART):
        yield json[start : start + _PART + _OVERLAP]


def signs_in(json: bytes) -> Sequence[Sign]:
    """The signs that JSON contains. Its parts contain no others."""
    if b"\\" in json and b"\\u" in json:
        return ALL_SIGNS  # any character can be escaped
    capitals = json.translate(None, _NO_CAPITALS)
    possible = [search for characters, search in _RARE if characters in json]
    possible += [search for characters, search in _CAPITALS if characters in capitals]
    return [search for search in (*_FREQUENT, *possible) if search(json)]


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
