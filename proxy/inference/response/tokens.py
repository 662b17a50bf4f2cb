"""Token counts that a response reports in `usage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from proxy.inference.request.json_spans import Span, members
from proxy.telemetry import Tokens

_WRAPPED = ("response", "message")
"""Members of events that hold what an answer holds: OpenAI's responses, Anthropic's messages."""


Count = Annotated[int, Meta(lt=2**53)]
"""More than this has been made up."""


class _Usage(Struct):
    """`usage` in the words of chat completions and embeddings, and in those of responses and messages."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None


_usage = msgspec.json.Decoder(_Usage, strict=False).decode  # `3.0` is 3, too


def _members(answer: bytes) -> Mapping[str, Span]:
    try:
        return members(answer)
    except ValueError:
        return {}


def _tokens(answer: bytes, spans: Mapping[str, Span]) -> Tokens:
    """What is said in `usage`, also in that of a wrapped answer."""
    found = Tokens()
    for name in ("usage", *_WRAPPED):
        start, end = spans.get(name, (0, 0))
        if not answer.startswith(b"{", start, end):
            continue
        value = answer[start:end]
        found = found.and_then(_counted(value) if name == "usage" else _tokens(value, _members(value)))
    return found


def _counted(usage: bytes) -> Tokens:
    try:
        payload = _usage(usage)
    except (ValueError, RecursionError):
        return Tokens()
    return _counts(payload)


def _counts(payload: _Usage | None) -> Tokens:
    if payload is None:
        return Tokens()
    return Tokens(
        max(0, payload.prompt_tokens or payload.input_tokens or 0),
        max(0, payload.completion_tokens or payload.output_tokens or 0),
    )


def _decoded(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return None
