"""Estimates the tokens of a request before a provider has counted them: a quarter of the characters of its texts."""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec
from msgspec import Struct

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
    b"audio_url b64_json data fileuri file_data file_id file_uri file_url image_url images url video_url".split()
)
"""Members whose strings are an image, a file or audio, or refer to one."""
_COLON = re.compile(rb"[ \t\r\n]*:")
_NUMBERS = re.compile(rb"[ \t\r\n]*+:?+[ \t\r\n]*+\[[\[ \t\r\n]*+[0-9]")
"""Matches an array of numbers, or an array of such arrays, after the colon of a member.

The quantifiers are possessive: otherwise matching would take quadratic time for long whitespace.
"""
_MIN_NUMBERS = 4
"""Bytes after the name of a member without an array of numbers: at most `: [{`, before the next string."""
_MAX_NAME = 200
_STRINGS_PER_STEP = 1000
_BYTES_PER_STEP = 256 * 1024
MAX_SPLIT = 64 * 1024
"""Bytes of a body that is read at once."""
_decode = msgspec.json.Decoder(str).decode


class _Part(Struct, gc=False, forbid_unknown_fields=True):
    type: str
    text: str


class _Message(Struct, gc=False, forbid_unknown_fields=True):
    role: str
    content: str | list[_Part]


class _Conversation(Struct, gc=False, forbid_unknown_fields=True):
    """A body that has texts in messages only, and no media."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: dict[str, bool] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    user: str = ""


_decode_conversation = msgspec.json.Decoder(_Conversation).decode
_MAX_REST, _MAX_REST_OF_TEXT = 256, 64
"""Bytes of a conversation that are no characters of texts, and of each text."""
_MAX_CONVERSATION = 4096
"""Bytes: longer bodies often have more, such as tools, and would be read twice."""


def estimated_tokens(body: bytes) -> Cooperative[int]:
    """Return the estimate for a valid JSON body, in short steps."""
    if len(body) <= MAX_SPLIT:
        return estimate_of_short(body)
    at = strings = yielded_at = characters = numbers = media = 0
    name = b""
    while (start := body.find(b'"', at)) >= 0 and (end := _string_end(body, start)) > 0:
        at = end
        if match := _COLON.match(body, end):
            at = match.end()
            name = _folded(body[start + 1 : end - 1]) if end - start <= _MAX_NAME else b""
            numbers += _numbers_at(body, at) if name in _TEXTS else 0
        elif name in _TEXTS:
            characters += _length(body[start:end])
        elif name in _MEDIA:
            media += 1
        strings += 1
        if strings % _STRINGS_PER_STEP == 0 or at - yielded_at > _BYTES_PER_STEP:
            yielded_at = at
            yield
    return tokens_of(characters) + numbers + media * MEDIA_TOKENS


def estimate_of_short(body: bytes) -> int:
    """Return the same at once, in a third of the time."""
    if len(body) <= _MAX_CONVERSATION and (characters := _of_conversation(body)) is not None:
        return tokens_of(characters)
    has_escapes = b"\\" in body
    if has_escapes:
        # An escaped character of the same length, without a quote or a backslash that escapes the next one.
        body = body.replace(b"\\\\", b"\\/").replace(b'\\"', b"\\/")
    characters = numbers = media = 0
    name = b""
    parts = iter(body.split(b'"'))
    next(parts)
    for text, after in zip(parts, parts, strict=False):
        if after[:1] == b":" or after.lstrip()[:1] == b":":
            name = text if not has_escapes and text.islower() else _folded(text)
            if len(after) > _MIN_NUMBERS and name in _TEXTS:
                numbers += _numbers_at(after, 0)
        elif name in _TEXTS:
            characters += len(text) if text.isascii() and b"\\" not in text else _length(b'"%b"' % text)
        elif name in _MEDIA:
            media += 1
    return tokens_of(characters) + numbers + media * MEDIA_TOKENS


def _of_conversation(body: bytes) -> int | None:
    """Return the characters of a body that is a `_Conversation`, None for any other body: a fast path."""
    try:
        messages = _decode_conversation(body).messages
    except ValueError:
        return None
    characters, rest = 0, _MAX_REST
    for message in messages:
        content = message.content
        if isinstance(content, str):
            characters += len(content)
            rest += _MAX_REST_OF_TEXT
        else:
            characters += sum(len(part.text) for part in content)
            rest += _MAX_REST_OF_TEXT * (len(content) + 1)
    # A longer rest can contain texts of duplicate members, of which only the last one is decoded.
    return characters if len(body) - characters <= rest else None


def tokens_of(characters: int) -> int:
    """Return the estimate for a text of this length."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def _folded(name: bytes) -> bytes:
    """Return a name as a parser that ignores case reads it: otherwise texts in other spellings would not be counted."""
    if b"\\" in name:
        with suppress(ValueError):
            name = _decode(b'"%b"' % name).encode("utf-8", "replace")
    return name if name.islower() else name.lower()


def _numbers_at(body: bytes, start: int) -> int:
    """Return how many numbers the array at this position contains: a text can be given as token ids."""
    if _NUMBERS.match(body, start) is None:
        return 0
    end = body.find(b'"', start)  # of the next member
    return 1 + body.count(b",", start, body.rfind(b"]", start, end if end >= 0 else len(body)))


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
