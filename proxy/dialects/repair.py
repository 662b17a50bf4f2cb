"""Replace invalid values in JSON whose structure is valid, so that one of them does not make a whole list unusable.

| In the JSON | Written by | Replaced with |
|---|---|---|
| `NaN`, `Infinity`, `nan`, `inf` | Python's `json`; numbers that are printed | `null` |
| a lone surrogate, escaped | JavaScript and Python, if a text is cut within a character | U+FFFD |
| invalid UTF-8 | servers that cut texts within a character, or use another encoding | U+FFFD |
| a control character in a text | servers that do not escape it | its escape sequence |

All other errors, such as a missing bracket, are ambiguous, and remain errors.
"""

from __future__ import annotations

import codecs
import re

from proxy.cooperative import Cooperative

MAX_BYTES = 2 * 1024 * 1024
"""A longer response is not repaired."""
REPLACEMENT = "\ufffd"
_STEP = 16 * 1024
"""Bytes that are repaired in one step of the event loop. A longer text that may be invalid is replaced with `null`."""
_TOKEN = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?\b(?:[Nn]a[Nn]|[Ii]nf(?:inity)?)\b|[^"NnIi-]{1,%d}+' % _STEP, re.DOTALL
)
"""A text, a number that is invalid in JSON, or anything else."""
_HEX = rb"[0-9a-fA-F]"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}|(?P<half>u[dD][89a-fA-F]%b{2})|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)
_CONTROLS = bytes(range(0x20))
_CONTROL = re.compile(rb"[\x00-\x1f]")
_MAY_BE_INVALID = re.compile(rb"[\x00-\x1f]|\\u[dD][89a-fA-F]")


def repairing(text: bytes) -> Cooperative[bytes | None]:
    """Return a JSON text with invalid values and characters replaced; None if there are none, or if it is too long."""
    if len(text) > MAX_BYTES:
        return None
    source = yield from _valid_utf_8(text)
    repaired = bytearray()
    end = next_step = 0
    for token in _TOKEN.finditer(source):
        if token.start() >= next_step:
            next_step = token.start() + _STEP
            yield
        repaired += source[end : token.start()]
        repaired += _valid(token[0])
        end = token.end()
    repaired += source[end:]
    return None if repaired == text else bytes(repaired)


def _valid_utf_8(text: bytes) -> Cooperative[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts = []
    for start in range(0, len(text), _STEP):
        parts.append(decoder.decode(text[start : start + _STEP], final=start + _STEP >= len(text)).encode())
        yield
    return b"".join(parts)


def _valid(token: bytes) -> bytes:
    if not token.startswith(b'"'):
        return b"null" if token[:1] in b"-NnIi" else token
    if len(token) > _STEP:
        is_valid = b"\\u" not in token and len(token.translate(None, _CONTROLS)) == len(token)
        return token if is_valid else b"null"
    return _CONTROL.sub(_escaped, _ESCAPE.sub(_whole_character, token)) if _MAY_BE_INVALID.search(token) else token


def _whole_character(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape["half"] else escape[0]


def _escaped(control: re.Match[bytes]) -> bytes:
    return rb"\u%04x" % control[0][0]
