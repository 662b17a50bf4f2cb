"""OpenAI's Responses API: errors in a stream. All other errors are as in OpenAI's other APIs."""

from __future__ import annotations

from proxy.errors import ApiError
from proxy.wire.encoder import encode
from proxy.wire.format import BASE_PATHS, Format
from proxy.wire.openai import openai_error

_PATHS = frozenset(base + "/responses" for base in BASE_PATHS)


def error_event_data(error: ApiError, number: int) -> bytes:
    """Return the data of the event `error`.

    The documented event has the fields of an error itself. OpenAI sends, and its SDKs raise, an object `error`.
    """
    fields = {"message": error.message, "param": error.param, "code": error.code, "status": error.status}
    return encode({"type": "error", **fields, "sequence_number": number, "error": {**fields, "type": error.type}})


FORMAT = Format(
    "responses",
    recognizes=_PATHS.__contains__,
    error=openai_error,
    error_event_name=b"error",
    error_event_data=error_event_data,
)
