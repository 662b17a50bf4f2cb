"""Remove what looks like a credential from a provider's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, unquote_plus

_MIN_SECRET = 4  # a shorter one would blot out half of what a provider says
_MIN_MASKED = 8  # the first 5 and the last 4 characters of a key are what providers leave when they mask it


def redact(text: str, secrets: Sequence[str]) -> str:
    """A provider's text without what looks like a credential: our own, and any long random word."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "***")

    def word(match: re.Match[str]) -> str:
        found = match[0]
        random = len(found) >= 20 and re.search(r"[0-9]", found) and re.search(r"[A-Za-z]", found)
        return "***" if random or "**" in found or contains_secret(found, secrets) else found

    # ASCII alone: a Chinese sentence has no blanks. Quotes end a word.
    return re.sub(r"[!#-&(-_a-~]+", word, text)


def contains_secret(word: str, secrets: Iterable[str]) -> bool:
    """Whether a text holds one of the secrets: whole, masked, or percent-encoded."""
    forms = (word, unquote(word), unquote_plus(word))
    for secret in secrets:
        parts = [secret] if len(secret) >= _MIN_SECRET else []
        parts += [secret[:5], secret[-4:]] if len(secret) >= _MIN_MASKED else []
        if any(part in form for part in parts for form in forms):
            return True
    return False
