"""Recognize the content of a response by its first bytes: providers send many kinds under the wrong type, or none."""

from __future__ import annotations

import re
from typing import Literal

from proxy.decoding import is_json

Content = Literal["events", "json", "html", "blank", "other"]

BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_JSON = re.compile(rb"\{\s*[\"}]|\[\s*[\[{\"\d\]-]")
_UNDECIDED_JSON = re.compile(rb"[\[{]\s*\Z")
_HTML = re.compile(
    rb"(?:(?><!--.*?-->|<\?xml.*?\?>)\s*+)*+<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE | re.DOTALL
)
_MAX_UNDECIDED = 64 * 1024
"""Bytes of blanks after a bracket. They are read again with each piece."""
_MAX_BEFORE_HTML = 512
"""Bytes of comments before a page."""
_MAX_FIRST_LINE = 1024**2
"""Bytes of the first of several JSON values in lines."""


def content_of(head: bytes, *, is_whole: bool) -> Content | None:
    """Return what a response contains that begins with these bytes, None if it depends on the next ones.

    `blank`: only white space has arrived, and more follows. `is_whole`: nothing follows. Only objects and arrays are
    `json`: nothing has to be read in other values.
    """
    text = head.removeprefix(BOM).lstrip()
    if _JSON.match(text) or (len(text) > _MAX_UNDECIDED and _UNDECIDED_JSON.match(text)):
        return "json"
    if text.startswith(_FIELDS):
        return "events"
    if _HTML.match(text):
        return "html"
    if is_whole:
        return "json" if _UNDECIDED_JSON.match(text) else "other"
    if not text and head and head != BOM:
        return "blank"
    return None if _is_undecided(text) or BOM.startswith(head) else "other"


def _is_undecided(text: bytes) -> bool:
    if _UNDECIDED_JSON.match(text) or (text[:1] == b"<" and len(text) < _MAX_BEFORE_HTML):
        return True
    return any(field.startswith(text) for field in _FIELDS)


def first_item(begin: bytes) -> bytes:
    """Return the first object of a stream of lines or of an array, if it is an error: nothing follows it."""
    text = begin.removeprefix(BOM).strip()
    return text[1:].rstrip(b"], \r\n\t") if text.startswith(b"[") else text.partition(b"\n")[0]


def has_lines(json: bytes) -> bool | None:
    """Return whether the first line is a complete value, as in JSON lines; None if the line is not complete."""
    line, line_end, _ = json.removeprefix(BOM).lstrip().partition(b"\n")
    if not line_end:
        return None
    return len(line) <= _MAX_FIRST_LINE and is_json(line)
