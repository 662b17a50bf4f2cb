"""Mask credentials in responses of providers, in every form in which programs write them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import quote, quote_plus

MIN_LENGTH = 8
"""Bytes of a form; shorter ones occur in other texts by chance."""
_MAX_NEEDLE = 48  # bytes; longer ones are not found faster
_ESCAPED = ("\"'+<>&`", "'<=>&", "<>&")
"""Characters that encoders of JSON write as `\\u003c`, although JSON allows them: .NET, Java, Go and PHP."""
_RAREST = b"~ZQXJKYVWUHGRLFDBNOPEMCIAST"
"""Characters, those first that are rarest in responses."""
_WORD = re.compile(rb"[A-Za-z0-9_.~-]+")
"""Characters that are the same in every form."""


class Mask:
    """Replaces every form of some secrets with as many asterisks, so that lengths of bodies and of parts stay right."""

    __slots__ = ("_beginnings", "_forms", "_probes", "_signs", "needles")

    def __init__(self, forms: Sequence[bytes]) -> None:
        """`forms`: at least one."""
        self._forms = sorted(set(forms), key=lambda form: (-len(form), form))
        self.needles = tuple(sorted({needle for form in self._forms for needle in _needles(form)}))
        """A body without any of these contains no form."""
        self._probes = [(_rarest(needle), needle) for needle in self.needles]
        self._signs = frozenset(sign for form in self._forms for sign in form)
        self._beginnings = frozenset(form[:size] for form in self._forms for size in range(1, MIN_LENGTH))

    def shows(self, data: bytes) -> bool:
        """Return whether data may contain a secret. It is the only cost of data that does not.

        To find one character takes a fifth of the time of a needle, and most data lacks it.
        """
        for character, needle in self._probes:  # noqa: SIM110  # `any` costs more than the searches
            if character in data and needle in data:
                return True
        return False

    def masked(self, data: bytes) -> bytes:
        """Return the data with asterisks instead of the secrets in it."""
        for form in self._forms:
            data = data.replace(form, b"*" * len(form))
        return data

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the data masked, and separately its end if the next data can make a secret of it.

        `data` is not empty.
        """
        if self.shows(data):
            data = self.masked(data)
        if data[-1] in self._signs and (size := self._open_size(data)):
            return data[:-size], data[-size:]
        return data, b""

    def _open_size(self, data: bytes) -> int:
        """Return the length of the longest end of the data with which a form begins."""
        return max((_overlap(data, form) for form in self._forms), default=0) or next(
            (size for size in range(MIN_LENGTH - 1, 0, -1) if data[-size:] in self._beginnings), 0
        )


@lru_cache(maxsize=1024)
def mask_of(secrets: tuple[str, ...]) -> Mask | None:
    """Return the mask of some secrets, None if none is long enough."""
    forms = [form for secret in secrets for form in forms_of(secret) if len(form) >= MIN_LENGTH]
    return Mask(forms) if forms else None


@lru_cache(maxsize=1024)
def forms_of(secret: str) -> frozenset[bytes]:
    """Return how programs write a secret: as it is, in URLs, in JSON, and in Base64, also within a longer text."""
    texts = [secret]
    if len(secret) >= MIN_LENGTH:
        texts += _in_base64(secret.encode())
    return frozenset(form.encode() for text in texts for form in _written(text)) - {b""}


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield the characters that do not depend on the text around the secret, for each remainder of its offset by 3."""
    for before in range(3):
        encoded = b64encode(b"\0" * before + secret).decode()
        same = encoded[(0, 2, 3)[before] : (before + len(secret)) * 8 // 6]
        yield from (same, same.replace("+", "-").replace("/", "_"))


def _written(text: str) -> Iterator[str]:
    yield text
    for encoded in (quote(text), quote(text, safe=""), quote_plus(text)):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    for is_ascii in (True, False):
        plain = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        for escaped in ("", *_ESCAPED):
            for digits in ("%04x", "%04X"):
                signs = {ord(sign): "\\u" + digits % ord(sign) for sign in escaped}
                encoded = plain.replace(r"\"", '"').translate(signs) if '"' in escaped else plain.translate(signs)
                yield from (encoded, encoded.replace("/", r"\/"))


def _needles(form: bytes) -> Sequence[bytes]:
    """Return a part of a form that most forms of the same text contain, or the form itself if it has no long one."""
    longest = max(_WORD.findall(form), key=len, default=b"")
    return [longest[-_MAX_NEEDLE:]] if len(longest) >= MIN_LENGTH else [form]


def _rarest(needle: bytes) -> int:
    return next((character for character in _RAREST if character in needle), needle[-1])


def _overlap(data: bytes, form: bytes) -> int:
    """Return how much of a form's beginning the data ends with; 0 if it is less than `MIN_LENGTH`."""
    start = max(0, len(data) - len(form) + 1)
    while (start := data.find(form[:MIN_LENGTH], start)) >= 0:
        if form.startswith(data[start:]):
            return len(data) - start
        start += 1
    return 0
