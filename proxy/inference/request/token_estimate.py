"""Estimates the tokens of a request before a provider has counted them: a quarter of the characters of its texts."""

from __future__ import annotations

import re

import msgspec

from proxy.cooperative import Cooperative

CHARACTERS_PER_TOKEN = 4
MEDIA_TOKENS = 1000
"""The estimate for an image, a file or audio."""
_TEXTS = frozenset(
    b"arguments content description documents input instructions output prompt query reasoning reasoning_content "
    b"refusal suffix system text texts thinking".split()
)
"""Members whose strings are texts of a conversation, also in arrays."""
_MEDIA = frozenset(
    b"audio_url b64_json data fileUri file_data file_id file_uri file_url image_url images url video_url".split()
)
"""Members whose strings are an image, a file or audio, or refer to one."""
_COLON = re.compile(rb"[ \t\r\n]*:")
_MAX_NAME = 32
_STRINGS_PER_STEP = 1000
_BYTES_PER_STEP = 256 * 1024
MAX_SPLIT = 64 * 1024
"""Bytes of a body that is read at once."""
_decode = msgspec.json.Decoder(str).decode


def estimated_tokens(body: bytes) -> Cooperative[int]:
    """Return the estimate for a valid JSON body, in short steps."""
    if len(body) <= MAX_SPLIT:
        return estimate_of_short(body)
    at = strings = yielded_at = characters = media = 0
    name = b""
    while (start := body.find(b'"', at)) >= 0 and (end := _string_end(body, start)) > 0:
        at = end
        if match := _COLON.match(body, end):
            at = match.end()
            name = body[start + 1 : end - 1] if end - start <= _MAX_NAME else b""
        elif name in _TEXTS:
            characters += _length(body[start:end])
        elif name in _MEDIA:
            media += 1
        strings += 1
        if strings % _STRINGS_PER_STEP == 0 or at - yielded_at > _BYTES_PER_STEP:
            yielded_at = at
            yield
    return tokens_of(characters) + media * MEDIA_TOKENS


def estimate_of_short(body: bytes) -> int:
    """Return the same at once, in a third of the time."""
    if b"\\" in body:
        # An escaped character of the same length, without a quote or a backslash that escapes the next one.
        body = body.replace(b"\\\\", b"\\/").replace(b'\\"', b"\\/")
    characters = media = 0
    name = b""
    parts = iter(body.split(b'"'))
    next(parts)
    for text, after in zip(parts, parts, strict=False):
        if after[:1] == b":" or after.lstrip()[:1] == b":":
            name = text
        elif name in _TEXTS:
            characters += len(text) if text.isascii() and b"\\" not in text else _length(b'"%b"' % text)
        elif name in _MEDIA:
            media += 1
    return tokens_of(characters) + media * MEDIA_TOKENS


def tokens_of(characters: int) -> int:
    """Return the estimate for a text of this length."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def _string_end(body: bytes, start: int) -> int:
    """Return where a string ends, after its quote; 0 if it does not end."""
    end = start
    while (end := body.find(b'"', end + 1)) > 0:
        before = end
        while body[before - 1] == 0x5C:  # a backslash, which another one escapes
            before -= 1
        if (end - before) % 2 == 0:
            return end + 1
    return 0


def _length(string: bytes) -> int:
    """Return the characters of a string with its quotes."""
    if b"\\" in string:
        try:
            return len(_decode(string))
        except ValueError:  # such as a single surrogate
            return len(string) - 2
    return len(string) - 2 if string.isascii() else len(string.decode("utf-8", "ignore")) - 2
