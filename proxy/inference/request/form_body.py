"""A form (multipart/form-data): the model it names, and the same bytes with another id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from proxy.errors import BadRequest
from proxy.inference.request.body import _GUARDED, _MAX_ID, MODEL, Body, _folded, _no_model
from proxy.inference.request.json_spans import Span

_BOUNDARY = re.compile(
    # RFC 2046's characters and those of tokens, which clients take too; no blank at the end.
    rb'(?i)multipart/form-data(?:[ \t]*;[ \t]*charset="?utf-8"?)?[ \t]*;[ \t]*boundary='
    rb"(?:\"([!#-'*+.0-9A-Z^-z|~/:=?(), -]{0,69}[!#-'*+.0-9A-Z^-z|~/:=?(),-])\"|([!#-'*+.0-9A-Z^-z|~/:=?()-]{1,70}))"
    rb'(?:[ \t]*;[ \t]*charset="?utf-8"?)?[ \t]*;?'
)
_TOKEN = rb"[!#$&+.0-9A-Z^-z|~-]++"
_DISPOSITION = re.compile(
    # .NET writes names without quotes; Go and curl write quotes in the names of files with a backslash.
    rb'(?i)content-disposition:[ \t]*form-data[ \t]*;[ \t]*name=(?:"([^"\\\x00-\x1f\x7f]*)"|(%b))'
    rb'([ \t]*;[ \t]*filename=(?:"(?:[^"\\\r\n\x00]|\\[^\r\n\x00])*+"|%b))?'
    rb"([ \t]*;[ \t]*filename\*=[^\s;\"\x00]*+)?[ \t]*" % (_TOKEN, _TOKEN)
)
_A_NAME = re.compile(rb"(?i)\bname[ \t]*\*?[ \t]*=")
_PART_HEADER = re.compile(
    rb"(?i)(?:(?:content-type|content-length|mime-version)[ \t]*:(?![ \t]*multipart/)[^\r\n\x00]*"
    rb"|content-transfer-encoding[ \t]*:[ \t]*(?:binary|8bit|7bit)[ \t]*)"
)
_OTHER_CHARSET = re.compile(rb'(?i)charset(?![ \t]*=[ \t]*"?(?:utf-8|us-ascii)"?[ \t]*(?:;|$))')
_ENDS = re.compile(rb"--[ \t]*(?:\r\n)?")
_MAX_PART_HEAD = 8 * 1024
_MAX_PARTS = 1000
_IN_FORMS = _GUARDED | {"_charset_"}
"""`_charset_` changes how a form's texts are read (HTML)."""


class FormBody(Body):
    """A form (multipart/form-data, RFC 7578), taken only as clients write it: every field with one plain name."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        """Raises BadRequest."""
        payload = _BOUNDARY.fullmatch(content_type.strip())
        if payload is None:
            raise BadRequest(
                "The content-type of a form must be multipart/form-data with one boundary and nothing else."
            )
        boundary = payload[1] or payload[2]
        self.content_type = b'multipart/form-data; boundary="%b"' % boundary
        self._body = body
        fields = [part for part in _parts(body, b"--" + boundary) if _field(part.name) in _IN_FORMS]
        if not fields:
            raise _no_model()
        if [part.name for part in fields] != [MODEL]:
            names = ", ".join(sorted({part.name[:40] for part in fields}))
            raise BadRequest(
                f"The form must name one `model`, once, and nothing that chooses otherwise; found {names}."
            )
        self._span = fields[0].span
        self.model = _text_of(fields[0], body)
        self.models = (self.model,)

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        if ids[self.model] == self.model:
            return self._body
        start, end = self._span
        return self._body[:start] + ids[self.model].encode() + self._body[end:]


class _Part(NamedTuple):
    """A field of a form."""

    name: str
    span: Span
    """Where in the body its content begins and ends."""
    is_text: bool
    """Whether every reader takes it for a text in UTF-8: no file, no other character set."""


def _parts(body: bytes, delimiter: bytes) -> Iterator[_Part]:
    """The fields of a form. Raises BadRequest.

    Readers differ in what a line is, so the boundary may stand nowhere but where a field really ends.
    """
    if not body.startswith(delimiter) or body.count(delimiter) > _MAX_PARTS:
        raise BadRequest("The form does not begin with its boundary, or has far too many fields.")
    at = len(delimiter)
    while not _ENDS.fullmatch(body, at):
        head_ends = body.find(b"\r\n\r\n", at, at + _MAX_PART_HEAD)
        begins, ends = head_ends + 4, body.find(delimiter, at) - 2
        if not body.startswith(b"\r\n", at) or not at < head_ends < begins <= ends or body[ends : ends + 2] != b"\r\n":
            raise BadRequest("The form cannot be read: a field has no head or no end, or the boundary stands in it.")
        yield _part(body[at + 2 : head_ends], (begins, ends))
        at = ends + 2 + len(delimiter)


def _part(head: bytes, span: Span) -> _Part:
    lines = head.split(b"\r\n")
    named = [payload for line in lines if (payload := _DISPOSITION.fullmatch(line)) and len(_A_NAME.findall(line)) == 1]
    others = [line for line in lines if not _DISPOSITION.fullmatch(line)]
    if len(named) != 1 or len(others) != len(lines) - 1 or not all(_PART_HEADER.fullmatch(line) for line in others):
        raise BadRequest('The form cannot be read: each field needs `Content-Disposition: form-data; name="..."`.')
    quoted, token, file, also_file = named[0].groups()
    name = (token if quoted is None else quoted).decode("utf-8", "replace")
    return _Part(name, span, not (file or also_file or any(_OTHER_CHARSET.search(line) for line in others)))


def _text_of(part: _Part, body: bytes) -> str:
    """The id that a form's `model` names. Raises BadRequest."""
    start, end = part.span
    try:
        model = body[start:end].decode() if part.is_text and end - start <= _MAX_ID else ""
    except UnicodeDecodeError:
        model = ""
    if not model:
        raise BadRequest("The form's `model` must be a model's id: a text in UTF-8, no file.", param=MODEL)
    return model


def _field(name: str) -> str:
    """What a field's name may mean to whoever reads the form: `models[0]` is `models`."""
    return _folded(re.split(r"[\[.]", unquote(name), maxsplit=1)[0].strip())
