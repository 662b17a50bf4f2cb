"""The response to a request that the application does not see, because it cannot be read: the connection is closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.api.headers import error_headers
from proxy.asgi import Header
from proxy.errors import ApiError
from proxy.server.cors import Cors
from proxy.server.cycle import head_bytes
from proxy.wire.openai import openai_error


def error_response(
    error: ApiError, own_id: bytes, default_headers: Sequence[Header], request: Iterable[Header], cors: Cors | None
) -> bytes:
    """`request`: the headers that were read before the error, possibly none. One of them is the origin for `cors`."""
    body = openai_error(error)
    headers = [
        *error_headers(error),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", own_id),
        (b"connection", b"close"),
    ]
    if cors:
        headers = cors.add(request, headers)
    return head_bytes(error.status, (*default_headers, *headers)) + body
