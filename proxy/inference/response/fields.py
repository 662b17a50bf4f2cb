"""The names of the fields that the proxy reads in responses, which differ between the APIs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from proxy.calls import Api


@dataclass(frozen=True)
class ResponseFields:
    """The fields of a response, or of an event or a line of a stream."""

    model: str = "model"
    further_model: str = ""
    """A further field with an id of the model: that of the server which has generated the response. "" for none."""
    usage: str = "usage"
    """An object with the counts of tokens; "" if they are fields of the response itself."""
    count: str = ""
    """The end of the names of such fields."""

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The names of all fields with an id of the model."""
        return (self.model, self.further_model) if self.further_model else (self.model,)

    @cached_property
    def model_name(self) -> bytes:
        """The name of the model in quotes."""
        return b'"%b"' % self.model.encode()

    @cached_property
    def usage_mark(self) -> bytes:
        """Bytes that every response with counts contains."""
        return b'"%b"' % self.usage.encode() if self.usage else b'%b"' % self.count.encode()

    @cached_property
    def has_usage(self) -> re.Pattern[bytes]:
        """Matches in every event with counts, and in few others."""
        return re.compile(rb'"%b"\s*:\s*\{' % self.usage.encode()) if self.usage else re.compile(self.usage_mark)


COMMON = ResponseFields()
"""The fields of the OpenAI and the Anthropic API."""
FIELDS: Mapping[Api, ResponseFields] = {
    "openai": COMMON,
    "anthropic": COMMON,
    "gemini": ResponseFields("modelVersion", usage="usageMetadata"),
    "ollama": ResponseFields("model", "remote_model", usage="", count="eval_count"),
}
