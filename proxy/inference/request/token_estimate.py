"""Estimates the tokens of a request before a provider has counted them: a quarter of the characters of its texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from operator import length_hint

import msgspec
from msgspec import Struct

from proxy.cooperative import Cooperative
from proxy.inference.request.long_strings import PIECE, read_string

CHARACTERS_PER_TOKEN = 4
MEDIA_TOKENS = 1000
"""The estimate for an image, a file or audio."""
TEXTS = frozenset(
    b"arguments content description documents input instructions output prompt query reasoning reasoning_content "
    b"refusal suffix system text texts thinking".split()
)
"""Members whose strings are texts of a conversation, also in arrays."""
MEDIA = frozenset(
    b"audio_url b64_json data fileuri file_data file_id file_uri file_url image_url images url video_url".split()
)
"""Members whose strings are an image, a file or audio, or refer to one."""
_NO_KIND, _IS_TEXT, _IS_MEDIA, _DEPENDS_ON_CONTEXT, _IS_OBJECT, _IS_TEXT_OR_OBJECT = range(6)
_KINDS = {
    **dict.fromkeys(TEXTS, _IS_TEXT),
    **dict.fromkeys(MEDIA, _IS_MEDIA),
    **dict.fromkeys(b"data url".split(), _DEPENDS_ON_CONTEXT),
    **dict.fromkeys(b"args response".split(), _IS_OBJECT),
    **dict.fromkeys(b"arguments input".split(), _IS_TEXT_OR_OBJECT),
}
"""What the strings of a member are, by its name.

`data` and `url` depend on what is before them. All string values in an object that contains the arguments or the result
of a tool call are texts.
"""
_TEXT_SOURCE = re.compile(rb'(?<!\\)"type"\s*:\s*"text"\s*,\s*(?:"media_type"\s*:\s*"[^"]*"\s*,\s*)?\Z')
"""Matches before the `data` of a text document (Anthropic). With other orders of the members it counts as a file."""
_SOURCE = re.compile(rb'(?<!\\)"(?:url_citation|web_search_result(?:_location)?)"\s*(?:,|:\s*\{)[^{}]*\Z')
"""Matches before the `url` of a page that an earlier response cited."""
_PARENT, _TEXT_CONTEXT, _CONTEXT = 32, 200, 1000
"""Bytes before `data` and `url` that are read: of the first member of an object, of `data`, and of `url`."""
_CONTEXT_STRINGS = 20
_NUMBERS = re.compile(rb"[ \t\r\n]*+:?+[ \t\r\n]*+\[[\[ \t\r\n]*+[0-9]")
"""Matches an array of numbers, or an array of such arrays, after the colon of a member.

The quantifiers are possessive: otherwise matching would take quadratic time for long whitespace.
"""
_OBJECT = re.compile(rb"[ \t\r\n]*+:?+[ \t\r\n]*+\{")
"""Matches an object after the colon of a member."""
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
    at = strings = yielded_at = characters = numbers = media = kind = depth = 0
    while (start := body.find(b'"', at)) >= 0:
        if depth:
            is_short = start - at <= PIECE
            opened = _opened(body, at, start) if is_short else (yield from _opened_in_steps(body, at, start))
            depth = max(0, depth + opened)
        is_text, length = kind == _IS_TEXT, None
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
            kind = _IS_TEXT if depth else _KINDS.get(name, _NO_KIND)
            if kind >= _IS_OBJECT and not depth:
                at = yield from _skip(_BLANK, body, at)
                depth = int(body[at : at + 1] == b"{")
                kind = _IS_TEXT if depth or kind == _IS_TEXT_OR_OBJECT else _NO_KIND
                at += depth
            elif kind == _DEPENDS_ON_CONTEXT:
                kind = _kind_after(body[max(0, start - _CONTEXT) : start], name)
            if kind == _IS_TEXT and not depth:
                numbers += yield from _numbers_at(body, at)
        elif is_text:
            characters += _length(body[start:at]) if length is None else length
        elif kind == _IS_MEDIA:
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


def _opened(body: bytes, start: int, end: int) -> int:
    """Return how many more objects begin than end between two strings."""
    return body.count(b"{", start, end) - body.count(b"}", start, end)


def _opened_in_steps(body: bytes, start: int, end: int) -> Cooperative[int]:
    opened = 0
    for at in range(start, end, PIECE):
        opened += _opened(body, at, min(at + PIECE, end))
        yield
    return opened


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
    characters = numbers = media = kind = 0
    pieces = body.split(b'"')
    parts = iter(pieces)
    next(parts)
    for text, after in zip(parts, parts, strict=False):
        if after[:1] == b":" or after.lstrip()[:1] == b":":
            name = text if not has_escapes and text.islower() else _folded(text)
            kind = _KINDS.get(name, _NO_KIND)
            if kind >= _IS_OBJECT:
                if _OBJECT.match(after):
                    characters += _characters_in_object(parts, after)
                    kind = _IS_TEXT
                    continue
                kind = _IS_TEXT if kind == _IS_TEXT_OR_OBJECT else _NO_KIND
            elif kind == _DEPENDS_ON_CONTEXT:
                kind = _kind_after(_context(pieces, len(pieces) - length_hint(parts) - 2), name)
            if kind == _IS_TEXT and len(after) > _MIN_NUMBERS:
                numbers += _numbers_in(after)
        elif kind == _IS_TEXT:
            characters += len(text) if text.isascii() and b"\\" not in text else _length(b'"%b"' % text)
        elif kind == _IS_MEDIA:
            media += 1
    return tokens_of(characters) + numbers + media * MEDIA_TOKENS


def tokens_of(characters: int) -> int:
    """Return the estimate for a text of this length."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def _characters_in_object(parts: Iterator[bytes], after: bytes) -> int:
    """Return the characters of all strings of an object that are no names. `after`: what follows its name.

    `parts` continues after the object.
    """
    characters, depth = 0, after.count(b"{") - after.count(b"}")
    if depth <= 0:
        return 0
    for text, after in zip(parts, parts, strict=False):
        if after[:1] != b":" and after.lstrip()[:1] != b":":
            characters += len(text) if text.isascii() and b"\\" not in text else _length(b'"%b"' % text)
        if b"{" in after or b"}" in after:
            depth += after.count(b"{") - after.count(b"}")
            if depth <= 0:
                break
    return characters


def _context(pieces: list[bytes], end: int) -> bytes:
    """Return at least as many bytes before a name as `_kind_after` reads. `end`: of the pieces before it."""
    strings = 2 if pieces[end - 1].endswith(b"{") else _CONTEXT_STRINGS
    return b'"'.join(pieces[max(0, end - 2 * strings) : end])


def _kind_after(context: bytes, name: bytes) -> int:
    """Return what the strings of `data` or `url` are, by the bytes before it."""
    context = context[-_PARENT if context.endswith(b"{") else -_TEXT_CONTEXT if name == b"data" else -_CONTEXT :]
    if name == b"data":
        return _IS_TEXT if b'"text"' in context and _TEXT_SOURCE.search(context) else _IS_MEDIA
    is_source = (b"url_citation" in context or b"web_search_result" in context) and _SOURCE.search(context)
    return _NO_KIND if is_source else _IS_MEDIA


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
