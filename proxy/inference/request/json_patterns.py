"""Patterns for JSON texts. Their quantifiers are possessive, so that the time depends only on the length of a match."""

from __future__ import annotations

import re

from proxy.inference.request.json_spans import WHITESPACE

_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = rb"(?:[1-9][0-9]*+|0|-(?:[1-9][0-9]*+|0))(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR = rb"(?:%b|%b|true|false|null)" % (_STRING, _NUMBER)
_ITEM = _SCALAR + WHITESPACE
_MEMBER = rb"%b%b:%b%b%b" % (_STRING, WHITESPACE, WHITESPACE, _SCALAR, WHITESPACE)
_REST = rb"(?:%(end)b|%(each)b(?:,%(ws)b%(each)b)*+%(end)b)"
_FLAT = rb"(?:\[%(ws)b%(items)b|\{%(ws)b%(members)b)" % {
    b"ws": WHITESPACE,
    b"items": _REST % {b"each": _ITEM, b"ws": WHITESPACE, b"end": rb"\]"},
    b"members": _REST % {b"each": _MEMBER, b"ws": WHITESPACE, b"end": rb"\}"},
}
"""Matches a container that contains no other."""
_VALUE = rb"(?:%b|%b)%b" % (_FLAT, _SCALAR, WHITESPACE)
_NAME = rb"%b%b:%b" % (_STRING, WHITESPACE, WHITESPACE)
_RUN = rb"(?:%(each)b,%(ws)b)*+(?:%(each)b%(end)b)?+"
ITEMS = re.compile(_RUN % {b"each": _VALUE, b"ws": WHITESPACE, b"end": rb"\]"})
MEMBERS = re.compile(_RUN % {b"each": _NAME + _VALUE, b"ws": WHITESPACE, b"end": rb"\}"})
"""Match the next members of a container with their commas, and its end if it is reached."""
ONE_ITEM = re.compile(rb"%b,%b" % (_VALUE, WHITESPACE))
ONE_MEMBER = re.compile(
    rb"(%b)%b:%b((?:%b|%b))%b(?:,%b|(?=\}))" % (_STRING, WHITESPACE, WHITESPACE, _FLAT, _SCALAR, WHITESPACE, WHITESPACE)
)
FLAT_CONTAINER = re.compile(_FLAT)
NAME_AND_COLON = re.compile(rb"(%b)%b:%b" % (_STRING, WHITESPACE, WHITESPACE))
SHORT_SCALAR = re.compile(_SCALAR)
CHARACTERS = re.compile(_STRING[1:-1])
BLANKS = re.compile(WHITESPACE)
DIGITS = re.compile(rb"[0-9]*+")
NUMBERS = re.compile(rb"[-+.eE0-9, \t\r\n]*+")
FIRST_OF_NUMBER = frozenset(b"%c" % digit for digit in b"-0123456789")
