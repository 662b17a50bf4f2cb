"""A form (multipart/form-data): read the model it selects, and replace the id in the original bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from proxy.cooperative import Cooperative, run_now
from proxy.errors import BadRequest
from proxy.guards import GUARDED, MODEL, fold_name
from proxy.inference.request.body import (
    MAX_MODEL_ID,
    SHORT,
    Body,
    Bytes,
    check_path_model,
    missing_model,
    search_in_steps,
)
from proxy.inference.request.json_spans import Span
from proxy.inference.request.token_estimate import MEDIA, MEDIA_TOKENS, TEXTS, tokens_of

_ASCII_CHARSET = rb"(?:utf-8|us-ascii|iso-8859-[0-9]{1,2}|windows-125[0-9])"
"""Character sets in which ASCII text has the same bytes. Apache's HttpClient sends ISO-8859-1 by default."""
_CHARSET_PARAMETER = rb'(?:[ \t]*;[ \t]*charset="?%b"?)?' % _ASCII_CHARSET
_BOUNDARY = re.compile(
    # The characters of RFC 2046, and those of tokens, which some clients use; no trailing space.
    rb"(?i)multipart/form-data%b[ \t]*;[ \t]*boundary="
    rb"(?:\"([!#-'*+.0-9A-Z^-z|~/:=?(), -]{0,69}[!#-'*+.0-9A-Z^-z|~/:=?(),-])\"|([!#-'*+.0-9A-Z^-z|~/:=?()-]{1,70}))"
    rb"%b[ \t]*;?" % (_CHARSET_PARAMETER, _CHARSET_PARAMETER)
)
_TOKEN = rb"[!#$&+.0-9A-Z^-z|~-]++"
_DISPOSITION = re.compile(
    # .NET writes names without quotes; Go and curl escape quotes in file names with a backslash.
    rb'(?i)content-disposition:[ \t]*form-data[ \t]*;[ \t]*name=(?:"([^"\\\x00-\x1f\x7f]*)"|(%b))'
    rb'([ \t]*;[ \t]*filename=(?:"(?:[^"\\\r\n\x00]|\\[^\r\n\x00])*+"|%b))?'
    rb"([ \t]*;[ \t]*filename\*=[^\s;\"\x00]*+)?[ \t]*(?:;[ \t]*)?" % (_TOKEN, _TOKEN)
)
_NAME_PARAMETER = re.compile(rb"(?i)\bname[ \t]*\*?[ \t]*=")
_PART_HEADER = re.compile(
    rb"(?i)(?:(?:content-(?:type|length|id|description|language|location|md5)|mime-version|last-modified|x-%b)"
    rb"[ \t]*:(?![ \t]*multipart/)[^\r\n\x00]*"
    rb"|content-transfer-encoding[ \t]*:[ \t]*(?:binary|8bit|7bit)[ \t]*)" % _TOKEN
)
_CHARSETS = tuple(
    (encoding, re.compile(rb'(?i)charset(?![ \t]*=[ \t]*"?%b"?[ \t]*(?:;|$))' % charset))
    for encoding, charset in (("utf-8", rb"(?:utf-8|us-ascii)"), ("ascii", _ASCII_CHARSET))
)
"""Encodings that every parser decodes alike, with a pattern that finds other character sets."""
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_BEFORE_TEXT = re.compile(rb"--[ \t]*\r\n")
_LOOKS_LIKE_PART = re.compile(rb"(?i)content-disposition|\x00")
_MAX_TEXT = 8 * 1024
_MAX_PART_HEAD = 8 * 1024
_MAX_PARTS = 1000
_PARTS_PER_STEP = 50
_STEP = 256 * 1024  # bytes that are searched without a yield
_CONTINUATIONS = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that begin no character."""
_GUARDED = GUARDED | {"_charset_"}
"""`_charset_` sets the character set of all fields (HTML)."""


class FormBody(Body):
    """A form (multipart/form-data, RFC 7578).

    Only the syntax that clients really use is accepted: parsers differ on the rest, so that a provider could read
    another model than the proxy.
    """

    def __init__(self, body: bytes, content_type: bytes, *, path_model: str = "", default_model: str = "") -> None:
        """Read a form. `path_model` and `default_model`: as in `JsonBody`. Raises BadRequest."""
        run_now(self._read(body, content_type, path_model, default_model))

    @classmethod
    def read(
        cls, body: bytes, content_type: bytes, *, path_model: str = "", default_model: str = ""
    ) -> Cooperative[FormBody]:
        """Read a form in short steps. Otherwise as the constructor."""
        new = cls.__new__(cls)
        yield from new._read(body, content_type, path_model, default_model)
        return new

    def _read(self, body: bytes, content_type: bytes, path_model: str, default_model: str) -> Cooperative[None]:
        boundary = _boundary(content_type)
        self.content_type = b'multipart/form-data; boundary="%b"' % boundary
        delimiter = b"--" + boundary
        fields = yield from _fields(body, delimiter)
        absent_model = path_model or default_model
        if absent_model and not fields.guarded:
            body = _with_model(body, delimiter, absent_model)
            fields = yield from _fields(body, delimiter)
        self._body = body
        self._texts, self._media = fields.texts, fields.media
        field = _model_field(fields.guarded)
        self._span = field.span
        self.model = _model_id(field, body)
        self.models = (self.model,)
        check_path_model(path_model, self.model)

    def parts_with_ids(self, ids: Mapping[str, str]) -> Sequence[Bytes]:
        if ids[self.model] == self.model:
            return (self._body,)
        (start, end), view = self._span, memoryview(self._body)
        return view[:start], ids[self.model].encode(), view[end:]

    def estimated_tokens(self) -> Cooperative[int]:
        characters = 0
        for start, end in self._texts:
            for at in range(start, end, _STEP):
                characters += len(self._body[at : min(at + _STEP, end)].translate(None, _CONTINUATIONS))
                yield
        return tokens_of(characters) + self._media * MEDIA_TOKENS

    def discard(self) -> None:
        self._body = b""

    @property
    def is_long(self) -> bool:
        return len(self._body) > SHORT

    def search(self, text: str) -> Cooperative[bool]:
        return search_in_steps(self._body, text.encode())


class _Part(NamedTuple):
    """A field of a form."""

    name: str
    span: Span
    """The span of its content in the body."""
    encoding: str
    """In which every parser decodes it, "" if it is a file or parsers differ."""


class _Fields(NamedTuple):
    """The fields of a form that are used for routing and token estimates."""

    guarded: list[_Part]
    """Those whose names are guarded."""
    texts: list[Span]
    """The contents of those that are texts for the model."""
    media: int
    """How many are an image, a file or audio, or refer to one."""


def _boundary(content_type: bytes) -> bytes:
    match = _BOUNDARY.fullmatch(content_type.strip())
    if match is None:
        raise BadRequest("The content-type of a form must be multipart/form-data with exactly one boundary.")
    return match[1] or match[2]


def _fields(body: bytes, delimiter: bytes) -> Cooperative[_Fields]:
    """Read the fields of a form. Raises BadRequest.

    Parsers differ on what a line is, so the boundary must not occur within a field.
    """
    first = body.find(delimiter, 0, _MAX_TEXT + len(delimiter))
    if first < 0 or not _is_preamble(body[:first]):
        raise _invalid_start()
    guarded: list[_Part] = []
    texts: list[Span] = []
    media = 0
    at = first + len(delimiter)
    count = 0
    while not (yield from _is_end(body, at, delimiter)):
        count += 1
        if count > _MAX_PARTS:
            raise _invalid_start()
        head_end = body.find(b"\r\n\r\n", at, at + _MAX_PART_HEAD)
        start, end = head_end + 4, (yield from _find(body, delimiter, at)) - 2
        if not body.startswith(b"\r\n", at) or not at < head_end < start <= end or body[end : end + 2] != b"\r\n":
            raise BadRequest("Invalid form: a field has no headers, is not terminated, or contains the boundary.")
        part = _part(body[at + 2 : head_end], (start, end))
        name = _field_name(part.name)
        if name in _GUARDED:
            guarded.append(part)
        elif not part.encoding or (encoded := name.encode("utf-8", "replace")) in MEDIA:
            media += 1
        elif encoded in TEXTS:
            texts.append(part.span)
        if count % _PARTS_PER_STEP == 0:
            yield
        at = end + 2 + len(delimiter)
    return _Fields(guarded, texts, media)


def _find(body: bytes, delimiter: bytes, start: int) -> Cooperative[int]:
    """Return the next offset of a delimiter, -1 without any."""
    for at in range(start, len(body), _STEP):
        found = body.find(delimiter, at, at + _STEP + len(delimiter) - 1)
        if found >= 0:
            return found
        yield
    return -1


def _is_end(body: bytes, at: int, delimiter: bytes) -> Cooperative[bool]:
    """Whether the boundary before this offset is the last one. Parsers ignore text after it (RFC 2046, 5.1.1)."""
    if not body.startswith(b"--", at):
        return False
    blanks_end = at + 2
    while (match := _BLANKS.match(body, blanks_end, blanks_end + _STEP)) and match.end() > blanks_end:
        if match.end() == blanks_end + _STEP:
            yield
        blanks_end = match.end()
    if blanks_end == len(body):
        return True
    if len(body) - at > _MAX_TEXT or not _BEFORE_TEXT.match(body, at):
        return False
    return body.find(delimiter, at) < 0 and not _LOOKS_LIKE_PART.search(body, at)


def _invalid_start() -> BadRequest:
    return BadRequest(f"Invalid form: it does not start with its boundary, or has more than {_MAX_PARTS} fields.")


def _is_preamble(text: bytes) -> bool:
    """Whether every parser ignores the text before the first boundary (RFC 2046, 5.1.1), or rejects the form.

    A text that looks like a field could be read as one.
    """
    return not text or (text.endswith(b"\r\n") and not _LOOKS_LIKE_PART.search(text))


def _part(head: bytes, span: Span) -> _Part:
    lines = head.split(b"\r\n")
    others = [line for line in lines if not _DISPOSITION.fullmatch(line)]
    named = [match for line in lines if (match := _DISPOSITION.fullmatch(line)) and _names_once(line)]
    if len(named) != 1 or len(others) != len(lines) - 1 or not all(_PART_HEADER.fullmatch(line) for line in others):
        raise BadRequest('Invalid form: each field must have one `Content-Disposition: form-data; name="..."` header.')
    quoted, token, file, extended_file = named[0].groups()
    name = (token if quoted is None else quoted).decode("utf-8", "replace")
    return _Part(name, span, "" if file or extended_file else _encoding(others))


def _encoding(headers: Sequence[bytes]) -> str:
    """The first of `_CHARSETS` that the headers of a field allow, "" without any."""
    allowed = (name for name, other in _CHARSETS if not any(other.search(line) for line in headers))
    return next(allowed, "")


def _names_once(line: bytes) -> bool:
    return len(_NAME_PARAMETER.findall(line)) == 1


def _with_model(body: bytes, delimiter: bytes, model: str) -> bytes:
    """Return a form with `model` as its first field."""
    start, view = body.index(delimiter), memoryview(body)
    field = b'%b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % (delimiter, model.encode())
    return b"".join((view[:start], field, view[start:]))


def _model_field(guarded: Sequence[_Part]) -> _Part:
    """Return the only guarded field of a form, which must be `model`. Raises BadRequest."""
    if not guarded:
        raise missing_model()
    if [part.name for part in guarded] != [MODEL]:
        names = ", ".join(sorted({part.name[:40] for part in guarded}))
        raise BadRequest(f"The form must have one `model` field and no other field that selects models; found {names}.")
    return guarded[0]


def _model_id(part: _Part, body: bytes) -> str:
    """Return the content of the field `model`. Raises BadRequest."""
    start, end = part.span
    try:
        model = body[start:end].decode(part.encoding) if part.encoding and end - start <= MAX_MODEL_ID else ""
    except UnicodeDecodeError:
        model = ""
    if not model:
        raise BadRequest("The form field `model` must be a model id (UTF-8 text, not a file).", param=MODEL)
    return model


def _field_name(name: str) -> str:
    """Return the name of a field as frameworks with nested fields can read it: `models[0]` is `models`."""
    return fold_name(re.split(r"[\[.]", unquote(name), maxsplit=1)[0].strip())
