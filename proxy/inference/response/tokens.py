"""Token counts that a response reports in `usage`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from proxy.inference.request.json_spans import Span, member_spans_or_empty
from proxy.inference.response.fields import COMMON, ResponseFields
from proxy.telemetry import Tokens

WRAPPERS = ("response", "message")
"""Members of stream events that wrap a response: OpenAI's responses and Anthropic's messages."""

MAX_COUNT = 100_000_000
"""Larger numbers are not token counts: a provider must not be able to block a caller by one of them."""
Count = Annotated[int, Meta(le=MAX_COUNT)]


class _UsageReport(Struct):
    """`usage` with the field names of chat completions and embeddings, and of responses and messages."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    """Messages: `input_tokens` has only what was not written to or read from the provider's prompt cache."""
    total_tokens: Count | None = None
    """The only count in embeddings of some providers."""

    @property
    def tokens(self) -> Tokens:
        counted_input = max(0, self.prompt_tokens or 0) or self._input_tokens
        output = max(0, self.completion_tokens or self.output_tokens or 0)
        return Tokens(counted_input if counted_input or output else max(0, self.total_tokens or 0), output)

    @property
    def _input_tokens(self) -> int:
        parts = (self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens)
        return sum(max(0, part or 0) for part in parts)


class _GeminiUsage(Struct, rename="camel"):
    """`usageMetadata`. Thoughts and results of tools are counted separately from the answer and the prompt."""

    prompt_token_count: Count = 0
    tool_use_prompt_token_count: Count = 0
    candidates_token_count: Count = 0
    thoughts_token_count: Count = 0

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            max(0, self.prompt_token_count + self.tool_use_prompt_token_count),
            max(0, self.candidates_token_count + self.thoughts_token_count),
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
        if self.response and self.response.usage:
            tokens = tokens.merge(self.response.usage.tokens)
        if self.message and self.message.usage:
            tokens = tokens.merge(_without_output(self.message.usage.tokens))
        return tokens


def _without_output(begun: Tokens) -> Tokens:
    """Return the counts at the start of a message: its output is a placeholder, that of later events is the total."""
    return Tokens(begun.input)


_decode_usage = msgspec.json.Decoder(_UsageReport, strict=False).decode  # not strict: accepts `3.0` and "3"


_decode_gemini_usage = msgspec.json.Decoder(_GeminiUsage, strict=False).decode
_OLLAMA_COUNT = re.compile(rb'"(prompt_)?eval_count"\s*:\s*(\d{1,15})\b')
"""Does not match in a string: its quotes are escaped. The counts are after the generated text."""


def usage_tokens(usage: bytes, fields: ResponseFields = COMMON) -> Tokens:
    """Return the counts in the object with these fields; zeros if it is not one."""
    if not fields.usage:
        counts = {
            bool(match[1]): count for match in _OLLAMA_COUNT.finditer(usage) if (count := int(match[2])) <= MAX_COUNT
        }
        return Tokens(counts.get(True, 0), counts.get(False, 0))
    try:
        return _decode_usage(usage).tokens if fields is COMMON else _decode_gemini_usage(usage).tokens
    except (ValueError, RecursionError):
        return Tokens()


def reported_tokens(response: bytes, spans: Mapping[str, Span], fields: ResponseFields = COMMON) -> Tokens:
    """Return the counts that a response, or a response wrapped in an event, reports. `spans` are its members."""
    if not fields.usage:
        return usage_tokens(response, fields)
    tokens = Tokens()
    for name in (fields.usage, *(WRAPPERS if fields is COMMON else ())):
        start, end = spans.get(name, (0, 0))
        if not response.startswith(b"{", start, end):
            continue
        value = response[start:end]
        is_usage = name == fields.usage
        reported = usage_tokens(value, fields) if is_usage else reported_tokens(value, member_spans_or_empty(value))
        tokens = tokens.merge(_without_output(reported) if name == "message" else reported)
    return tokens
