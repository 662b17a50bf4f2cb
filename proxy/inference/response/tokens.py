"""Token counts that a response reports in `usage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from proxy.inference.request.json_spans import Span, member_spans_or_empty
from proxy.telemetry import Tokens

WRAPPERS = ("response", "message")
"""Members of stream events that wrap a response: OpenAI's responses and Anthropic's messages."""

Count = Annotated[int, Meta(lt=2**53)]
"""Larger numbers are not token counts."""


class _UsageReport(Struct):
    """`usage` with the field names of chat completions and embeddings, and of responses and messages."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            max(0, self.prompt_tokens or self.input_tokens or 0),
            max(0, self.completion_tokens or self.output_tokens or 0),
        )


class _Wrapped(Struct):
    usage: _UsageReport | None = None


class UsageFields(Struct):
    """The members of a response, or of a stream event, that report `usage`."""

    usage: _UsageReport | None = None
    response: _Wrapped | None = None
    message: _Wrapped | None = None

    @property
    def tokens(self) -> Tokens:
        tokens = self.usage.tokens if self.usage else Tokens()
        for wrapped in (self.response, self.message):
            if wrapped and wrapped.usage:
                tokens = tokens.merge(wrapped.usage.tokens)
        return tokens


_decode_usage = msgspec.json.Decoder(_UsageReport, strict=False).decode  # not strict: accepts `3.0` and "3"


def usage_tokens(usage: bytes) -> Tokens:
    """Return the counts in a `usage` object; zeros if it is not one."""
    try:
        return _decode_usage(usage).tokens
    except (ValueError, RecursionError):
        return Tokens()


def reported_tokens(response: bytes, spans: Mapping[str, Span]) -> Tokens:
    """Return the counts that a response, or a response wrapped in an event, reports. `spans` are its members."""
    tokens = Tokens()
    for name in ("usage", *WRAPPERS):
        start, end = spans.get(name, (0, 0))
        if not response.startswith(b"{", start, end):
            continue
        value = response[start:end]
        reported = usage_tokens(value) if name == "usage" else reported_tokens(value, member_spans_or_empty(value))
        tokens = tokens.merge(reported)
    return tokens
