"""Estimates the tokens of a request before a provider has counted them: a quarter of the characters of its texts."""

from __future__ import annotations

import re
from contextlib import suppress

import msgspec
from msgspec import Struct

from proxy.cooperative import Cooperative
from proxy.inference.request.long_strings import PIECE, read_string

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
_NUMBERS = re.compile(rb"[ \t\r\n]*+:?+[ \t\r\n]*+\[[\[ \t\r\n]*+[0-9]")
"""Matches an array of numbers, or an array of such arrays, after the colon of a member.

The quantifiers are possessive: otherwise matching would take quadratic time for long whitespace.
"""
_BLANKS = (b" ", b"\n", b"\r", b"\t")
_BACKSLASH = ord("\\")
_BLANK, _BLANK_OR_BRACKET = re.compile(rb"[ \t\r\n]*+"), re.compile(rb"[\[ \t\r\n]*+")
_MIN_NUMBERS = 4
"""Bytes after the name of a member without an array of numbers: at most `: [{`, before the next string."""
_MAX_NAME = 200
_STRINGS_PER_STEP = 1000
_BYTES_PER_STEP = 256 * 1024
MAX_SPLIT = 64 * 1024
"""Bytes of a body that is read at once."""
_decode = msgspec.json.Decoder(str).decode


class _Message(Struct, gc=False, forbid_unknown_fields=True):
    role: str
    content: str


class _Conversation(Struct, gc=False, forbid_unknown_fields=True):
    """The body of most calls: its texts are the contents of messages."""

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
    if (estimate := estimated_at_once(body)) is not None:
        return estimate
    at = strings = yielded_at = characters = numbers = media = 0
    name = b""
    while (start := body.find(b'"', at)) >= 0:
        is_text, length = name in _TEXTS, None
        end = body.find(b'"', start + 1, start + PIECE)
        if end < 0 or body[end - 1] == _BACKSLASH:
            end, length = yield from read_string(body, start + 1, _length if is_text else None)
            if end < 0:
                break
        at = colon = end + 1
        if body[at : at + 1] in _BLANKS:
            colon = yield from _skip(_BLANK, body, at)
        if body[colon : colon + 1] == b":":
            at = colon + 1
            name = _folded(body[start + 1 : end]) if end - start < _MAX_NAME else b""
            numbers += (yield from _numbers_at(body, at)) if name in _TEXTS else 0
        elif is_text:
            characters += _length(body[start:at]) if length is None else length
        elif name in _MEDIA:
            media += 1
        strings += 1
        if strings % _STRINGS_PER_STEP == 0 or at - yielded_at > _BYTES_PER_STEP:
            yielded_at = at
            yield
    return tokens_of(characters) + numbers + media * MEDIA_TOKENS


def _skip(signs: re.Pattern[bytes], body: bytes, at: int) -> Cooperative[int]:
    """Return where the next other sign is."""
    while (end := signs.match(body, at, at + PIECE).end()) == at + PIECE:  # type: ignore[union-attr]
        at = end
        yield
    return end


def _numbers_at(body: bytes, at: int) -> Cooperative[int]:
    """Return how many numbers the array after a colon contains: a text can be given as token ids."""
    at = yield from _skip(_BLANK, body, at)
    if body[at : at + 1] != b"[":
        return 0
    at = yield from _skip(_BLANK_OR_BRACKET, body, at)
    if not body[at : at + 1].isdigit():
        return 0
    end = body.find(b'"', at)  # of the next member
    end = body.rfind(b"]", at, end if end >= 0 else len(body))
    count = 1
    for start in range(at, end, PIECE):
        count += body.count(b",", start, min(start + PIECE, end))
        if end - start > PIECE:
            yield
    return count


def estimated_at_once(body: bytes) -> int | None:
    """Return what `estimated_tokens` returns, in a third of the time; None for a long body."""
    if len(body) <= _MAX_CONVERSATION:
        try:
            messages = _decode_conversation(body).messages
        except ValueError:
            return _estimate_of_any(body)
        characters = 0
        for message in messages:  # a loop is faster than what is written shorter, as there are few
            characters += len(message.content)
        # A longer rest can contain texts of duplicate members, of which only the last one is decoded.
        if len(body) - characters <= _MAX_REST + _MAX_REST_OF_TEXT * len(messages):
            return -(-characters // CHARACTERS_PER_TOKEN)
    return _estimate_of_any(body) if len(body) <= MAX_SPLIT else None


def _estimate_of_any(body: bytes) -> int:
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
                numbers += _numbers_in(after)
        elif name in _TEXTS:
            characters += len(text) if text.isascii() and b"\\" not in text else _length(b'"%b"' % text)
        elif name in _MEDIA:
            media += 1
    return tokens_of(characters) + numbers + media * MEDIA_TOKENS


def tokens_of(characters: int) -> int:
    """Return the estimate for a text of this length."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def _folded(name: bytes) -> bytes:
    """Return a name as a parser that ignores case reads it: otherwise texts in other spellings would not be counted."""
    if b"\\" in name:
        with suppress(ValueError):
            name = _decode(b'"%b"' % name).encode("utf-8", "replace")
    return name if name.islower() else name.lower()


def _numbers_in(member: bytes) -> int:
    """Return the same for what follows a name, up to the next one."""
    return 1 + member.count(b",", 0, member.rfind(b"]")) if _NUMBERS.match(member) else 0


def _length(string: bytes) -> int:
    """Return the characters of a string with its quotes."""
    if b"\\" in string:
        try:
            return len(_decode(string))
        except ValueError:  # such as a single surrogate
            return len(string) - 2
    return len(string) - 2 if string.isascii() else len(string.decode("utf-8", "ignore")) - 2
