"""Response headers that all formats share."""

from __future__ import annotations

import math

from proxy.access.keys import KEY_HEADERS
from proxy.asgi import Header
from proxy.errors import ApiError, InvalidKey, MethodNotAllowed

JSON: Header = (b"content-type", b"application/json")
PRIVATE: tuple[Header, ...] = (
    # What one key may see is nobody else's: a cache in between must ask again (RFC 9111, 3.5).
    (b"cache-control", b"private, no-cache"),
    (b"vary", b", ".join([*map(bytes.title, KEY_HEADERS), b"Accept-Encoding"])),
)


def error_headers(error: ApiError) -> list[Header]:
    """What goes with an error beside its body."""
    headers = [JSON, *PRIVATE]
    if isinstance(error, InvalidKey):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    return headers
