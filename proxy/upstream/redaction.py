"""Redact credentials, and words that look like credentials, in a provider's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, unquote_plus

_MIN_SECRET = 4  # characters; shorter secrets would match ordinary text
_URL = re.compile(r"https?://", re.IGNORECASE)
_MIN_MASKED = 8  # characters; masked keys keep their first 5 and last 4 characters


def redact(text: str, secrets: Sequence[str]) -> str:
    """Replace secrets and long random words in a provider's text with `***`."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "***")

    def redact_word(match: re.Match[str]) -> str:
        word = match[0]
        return redact_url(word, secrets) if _URL.match(word) else _redact_word(word, secrets)

    # Words are ASCII only, because Chinese sentences have no spaces. Quotes end a word.
    return re.sub(r"[!#-&(-_a-~]+", redact_word, text)


def redact_url(url: str, secrets: Sequence[str]) -> str:
    """A URL with `***` for its query and for each label of the host and segment of the path that may be a secret."""
    plain, mark, _ = re.split(r"([?#])", url, maxsplit=1) if re.search(r"[?#]", url) else (url, "", "")
    scheme, _, rest = plain.partition("://")
    host, *segments = rest.split("/")
    labels = ".".join(_redact_word(label, secrets) for label in host.split("."))
    shown = f"{scheme}://{'/'.join([labels, *(_redact_word(segment, secrets) for segment in segments)])}"
    is_leaking = shown == plain and contains_secret(plain, secrets)
    return "***" if is_leaking else shown + (f"{mark}***" if mark else "")


def _redact_word(word: str, secrets: Sequence[str]) -> str:
    is_random = len(word) >= 20 and re.search(r"[0-9]", word) and re.search(r"[A-Za-z]", word)
    return "***" if is_random or "**" in word or contains_secret(word, secrets) else word


def contains_secret(word: str, secrets: Iterable[str]) -> bool:
    """Whether a text contains one of the secrets: whole, masked, or percent-encoded."""
    forms = (word, unquote(word), unquote_plus(word))
    for secret in secrets:
        parts = [secret] if len(secret) >= _MIN_SECRET else []
        parts += [secret[:5], secret[-4:]] if len(secret) >= _MIN_MASKED else []
        if any(part in form for part in parts for form in forms):
            return True
    return False
