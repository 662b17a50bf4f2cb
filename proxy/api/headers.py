"""Response headers of errors."""

from __future__ import annotations

from proxy.access.keys import PRIVATE
from proxy.asgi import Header
from proxy.errors import (
    ApiError,
    InvalidKey,
    MethodNotAllowed,
    UnsupportedMediaType,
    WebsocketNotSupported,
    whole_seconds,
)
from proxy.wire import JSON

_RETRY_AFTER = (b"retry-after", b"retry-after-ms")


def error_headers(error: ApiError) -> list[Header]:
    """Return the headers of an error response."""
    headers = [JSON, *PRIVATE]
    if isinstance(error, InvalidKey):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, UnsupportedMediaType):
        headers.append((b"accept-encoding", error.accept_encoding.encode()))
    if isinstance(error, WebsocketNotSupported):
        headers += ((b"upgrade", b"HTTP/1.1"), (b"connection", b"Upgrade"))  # RFC 9110, 15.5.22
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    headers += error.headers
    if error.retry_after is not None and not any(name in _RETRY_AFTER for name, _ in error.headers):
        headers.append((b"retry-after", b"%d" % whole_seconds(error.retry_after)))
    return headers
