"""Errors as the Anthropic SDKs read them."""

from __future__ import annotations

from proxy.errors import ApiError
from proxy.wire.openai import _encode


def anthropic_error(error: ApiError) -> bytes:
    """The body of an error as the Anthropic SDK reads it."""
    return _encode(
        {"type": "error", "error": {"type": _ANTHROPIC_TYPES.get(error.status, "api_error"), "message": error.message}}
    )


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
