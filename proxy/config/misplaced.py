"""Misplaced secrets: a key that was pasted where another value belongs must not be repeated in a message."""

from __future__ import annotations

import re

from proxy.dialects.private_text import has_secret

_RANDOM = re.compile(
    r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{16,}"
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|\bmp-[\w-]{20,}"  # of `models-proxy keygen`
)
_WORD = re.compile(r"[^\s'\"`,;()\[\]{}]+")
_DIGEST = "sha256:"


def looks_secret(text: str) -> bool:
    """Whether a text contains a known form of API key, or characters that look random."""
    return has_secret(text) or _RANDOM.search(text) is not None


def masked(text: str) -> str:
    """Replace the words of a message that look like a secret. Digests are none."""
    return _WORD.sub(lambda word: "***" if looks_secret(word[0]) and not word[0].startswith(_DIGEST) else word[0], text)


def no_secret(text: str) -> str:
    """A text that is shown, such as a name. Raises ValueError if it looks like a secret."""
    if looks_secret(text):
        raise ValueError("looks like an API key; it would be shown in logs and responses, so use another value")
    return text
