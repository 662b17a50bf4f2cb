"""Read the body of a call, within the memory for bodies."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from proxy.api.request import RequestHead
from proxy.asgi import Receive
from proxy.errors import BodyTooLarge
from proxy.inference.body_memory import Lease
from proxy.inference.deadline import ClientDisconnected

_FIRST_PART = 64 * 1024
"""Bytes that are reserved for a body of unknown length before it is read."""


async def read_body(
    head: RequestHead, headers: Mapping[bytes, bytes], receive: Receive, lease: Lease, limit: int
) -> bytes:
    """Return the body of a request. `limit`: bytes; `lease` gets its bytes.

    Raises BodyTooLarge, ServerBusy and ClientDisconnected.
    """
    whole = head.connection.whole_body() if head.connection else None
    if whole is None:
        return await _receive_body(headers, receive, lease, limit)
    if len(whole) > limit:
        raise BodyTooLarge(limit)
    if not lease.take(len(whole)):
        await lease.reserve(len(whole))
    return whole


async def _receive_body(headers: Mapping[bytes, bytes], receive: Receive, lease: Lease, limit: int) -> bytes:
    announced = int(headers.get(b"content-length", _FIRST_PART))
    if announced > limit:
        raise BodyTooLarge(limit)
    if not lease.take(announced):
        await lease.reserve(announced)
    content: BytesIO | None = None
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        part = message.get("body", b"")
        size = len(part) + (content.tell() if content else 0)
        if size > limit:
            raise BodyTooLarge(limit)
        if size > lease.size:
            lease.grow(size - lease.size)
        more = message.get("more_body", False)
        if content is None:
            if not more:
                return bytes(part)
            content = BytesIO()
        content.write(part)
        if not more:
            return content.getvalue()  # without a copy, unlike a join of all parts
