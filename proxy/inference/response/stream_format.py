"""How the streams of a path are written and end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from proxy.calls import COMMON_APIS, Api, CallPath
from proxy.errors import ApiError
from proxy.inference.response.fields import COMMON, FIELDS, ResponseFields
from proxy.wire import Format

Items = Literal["", "array", "lines"]
_WITHOUT_TEXT = (":countTokens", ":embedContent", ":batchEmbedContents", "/embed", "/api/embeddings")
"""Ends of the paths of native calls whose response is no text."""
_ITEMS: Mapping[Api, Items] = {"gemini": "array", "ollama": "lines"}


class StreamFormat(Struct, frozen=True):
    """How streams of a path are written and end."""

    has_last_event: bool
    """As in `CallPath`."""
    format: Format
    """The API format of the path."""
    is_stored: bool = False
    """Whether streams repeat a stored response: an error event in it does not reject the call."""
    generates: bool = True
    """Whether the response is text that a model generates."""
    has_comments: bool = True
    """Whether clients ignore comments between events."""
    fields: ResponseFields = COMMON
    items: Items = ""
    """How the objects of a stream without events are separated: items of an array, or lines; "" for no such streams."""

    def error_end(self, error: ApiError, before: bytes) -> bytes:
        """Return the end of a stream of items with an error. `before`: what separates it from the last object."""
        return before + self.format.error(error) + (b"]" if self.items == "array" else b"\n")


def stream_format_of(call: CallPath, row: Format) -> StreamFormat:
    """Return how streams of a call are written. `row`: the format of its path."""
    return StreamFormat(
        call.has_last_event,
        row,
        generates=call.has_last_event or (call.api not in COMMON_APIS and not call.path.endswith(_WITHOUT_TEXT)),
        has_comments=call.api in COMMON_APIS,
        fields=FIELDS[call.api],
        items=_ITEMS.get(call.api, "") if call.is_stream else "",
    )
