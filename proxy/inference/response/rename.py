"""Answers of calls, passed on as they are: the id of the model becomes the one that was asked for, `usage` is counted.

Nothing is encoded anew. A dated snapshot (`gpt-4o-2024-08-06` for `gpt-4o`) stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from proxy.inference.request.json_spans import STRING, Span
from proxy.inference.response.tokens import _counts, _decoded, _members, _tokens, _Usage
from proxy.telemetry import Tokens

_MODEL = re.compile(rb'"model"\s*:\s*(%b)' % STRING)


class _Wrapped(Struct):
    usage: _Usage | None = None


class _Said(Struct):
    """What an answer says that matters here."""

    model: str = ""
    usage: _Usage | None = None
    response: _Wrapped | None = None
    message: _Wrapped | None = None

    @property
    def tokens(self) -> Tokens:
        tokens = _counts(self.usage)
        for wrapped in (self.response, self.message):
            if wrapped:
                tokens = tokens.and_then(_counts(wrapped.usage))
        return tokens


_as_said = msgspec.json.Decoder(_Said, strict=False).decode


def rename_model(answer: bytes, own_id: str, public_id: str) -> tuple[bytes, Tokens]:
    """A whole JSON answer, with `model` replaced if that is exactly `own_id`, and what it says that it used.

    What cannot be read stays as it is.
    """
    if own_id == public_id and b'"usage"' not in answer:
        return answer, Tokens()
    try:
        payload = _as_said(answer)
    except (ValueError, RecursionError):
        payload = None
    if payload and (own_id == public_id or payload.model != own_id):
        return answer, payload.tokens
    if payload and answer.count(b'"model"') == 1 and rb"\u" not in answer and (found := _MODEL.search(answer)):
        # There is one `model`, so it is that one: a name can be hidden only by an escape.
        return answer[: found.start(1)] + msgspec.json.encode(public_id) + answer[found.end() :], payload.tokens
    spans = _members(answer)
    tokens = _tokens(answer, spans)
    span = None if own_id == public_id else _span_of_model(answer, spans, own_id)
    if span is None:
        return answer, tokens
    return answer[: span[0]] + msgspec.json.encode(public_id) + answer[span[1] :], tokens


def _span_of_model(answer: bytes, spans: Mapping[str, Span], own_id: str, wrapped: Sequence[str] = ()) -> Span | None:
    """Where `model` says `own_id`: in the object, or in one of its members that are `wrapped`."""
    if "model" in spans and _decoded(answer[slice(*spans["model"])]) == own_id:
        return spans["model"]
    for name in wrapped:
        start, end = spans.get(name, (0, 0))
        value = answer[start:end]
        inner = _span_of_model(value, _members(value), own_id) if value.startswith(b"{") else None
        if inner:
            return start + inner[0], start + inner[1]
    return None
