"""Errors in streams that are too long to be redacted are replaced: they can contain the ids of the provider."""

from __future__ import annotations

import re

from proxy.telemetry import Tokens

REPLACEMENT = (
    b'{"type":"error","error":{"type":"upstream_error","code":"provider_failed","param":null,'
    b'"message":"The provider sent an error that is too long to be passed on."}}'
)
"""An error for clients of all APIs."""
_ERROR = re.compile(
    rb'\{\s*(?:"[^"\\]{0,100}"\s*:\s*(?:"[^"\\]{0,1000}"|[-+.0-9A-Za-z]{1,40})\s*,\s*){0,20}'
    rb'"(?:errors?"\s*:\s*[\[{"]|type"\s*:\s*"error")'
)
"""The beginning of an object with an error, after members that are no objects."""


class LongError:
    """The rest of an error that was replaced, in the place of a `JsonStreamRenamer`."""

    type = "error"

    def __init__(self) -> None:
        self.tokens = Tokens()

    def feed(self, part: bytes) -> bytes:
        return b""

    def rest(self) -> bytes:
        return b""


def is_error(name: str, beginning: bytes) -> bool:
    """Whether an event is an error. `name`: of the event; `beginning`: of its data."""
    return name == LongError.type or _ERROR.match(beginning) is not None
