"""Anthropic's Messages API: paths and errors."""

from __future__ import annotations

from proxy.calls import CALLS
from proxy.errors import ApiError
from proxy.wire.encoder import encode
from proxy.wire.format import BASE_PATHS, Format

_PATHS = frozenset(base + call.below_base for base in BASE_PATHS for call in CALLS.values() if call.api == "anthropic")
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic_error(error: ApiError) -> bytes:
    """Return the body of an error as Anthropic's SDKs read it."""
    return encode({"type": "error", "error": {"type": _error_type(error), "message": error.message}})


def error_event_data(error: ApiError, number: int) -> bytes:
    """Return the data of an error in a stream: that of an error response, with its status."""
    fields = {"type": _error_type(error), "message": error.message, "status": error.status}
    return encode({"type": "error", "error": fields})


def _error_type(error: ApiError) -> str:
    return _ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")


FORMAT = Format(
    "anthropic",
    recognizes=_PATHS.__contains__,
    error=anthropic_error,
    error_event_name=b"error",
    error_event_data=error_event_data,
    request_id_headers=(b"x-request-id", b"request-id"),
)
