"""What one API format needs to say about itself, and the paths that all formats share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.errors import ApiError

BASE_PATHS = ("/v1", "", "/v1/models", "/models")
"""The paths a client's `base_url` may end in. Calls are accepted below each of them, as lists are."""


@dataclass(frozen=True)
class Format:
    """One row of `wire.FORMATS`: which requests use the format, and how its errors are written."""

    name: str
    recognizes: Callable[[str], bool]
    """Whether a request with this path uses the format."""
    error: Callable[[ApiError], bytes]
    """The body of an error response."""
    error_event_name: bytes = b""
    """The `event` field of an error in a stream, where the format's clients expect one."""
    request_id_headers: tuple[bytes, ...] = (b"x-request-id",)
    """Headers in which its clients look for the request id."""

    def error_event(self, error: ApiError) -> bytes:
        """An event that the format's clients raise as an error, for a stream that has begun."""
        name = b"event: %b\n" % self.error_event_name if self.error_event_name else b""
        return name + b"data: %b\n\n" % self.error(error)
