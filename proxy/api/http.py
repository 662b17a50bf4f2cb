"""Read bodies, and build complete responses: JSON, and errors in the API format of the request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from proxy.api.headers import error_headers
from proxy.api.request import RequestHead
from proxy.asgi import Header, RawResponse, Receive
from proxy.errors import ApiError, BadRequest, BodyTooLarge, InvalidKey, KeyInQuery, RelayedError
from proxy.wire import JSON, Format, format_of


def json_response(head: RequestHead, body: bytes, headers: Iterable[Header], status: int = 200) -> RawResponse:
    """Return a JSON response with the headers that all responses have."""
    return RawResponse(
        status,
        [
            JSON,
            *headers,
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", head.request_id),
            *head.connection_close,
        ],
        body,
    )


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the body of a request, "" if the client has disconnected. Raises BodyTooLarge."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body", False):
            return b"".join(parts)


def key_in_query(head: RequestHead, error: KeyInQuery) -> ApiError:
    """Return the error for a key in the URL: one that names the header, in formats whose clients send it there."""
    header = format_of(head.path, head.list_headers).key_header
    return BadRequest(f"Send the API key in the header {header}, not in the URL, which is logged.") if header else error


def error_response(head: RequestHead, error: ApiError) -> RawResponse:
    """Return an error in the API format of the request."""
    row = format_of(head.path, head.list_headers, is_served=bool(head.route))
    if isinstance(error, InvalidKey):
        body, common = _invalid_key(row)
    else:
        body = row.relayed_error(error) if isinstance(error, RelayedError) and error.body else row.error(error)
        common = error_headers(error)
    headers = [
        *common,
        (b"content-length", b"%d" % len(body)),
        *((name, head.request_id) for name in row.request_id_headers),
        *head.connection_close,
    ]
    return RawResponse(error.status, headers, body)


@cache
def _invalid_key(row: Format) -> tuple[bytes, Sequence[Header]]:
    """The body and headers of the response to a wrong key: always equal, and any client can cause it at will."""
    error = InvalidKey()
    return row.error(error), error_headers(error)
