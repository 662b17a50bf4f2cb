"""The HTTP protocol of the server."""

from __future__ import annotations

import asyncio

from proxy.seams import plain_http
from proxy.server.protocol import Protocol


def http_protocol() -> type[asyncio.Protocol]:
    """Return the HTTP protocol of the server: `Protocol`, or the unmodified h11 protocol of uvicorn.

    h11, not httptools, because it reads the body of a request with `Upgrade`.
    """
    if not plain_http():
        return Protocol
    from uvicorn.protocols.http.h11_impl import H11Protocol

    return H11Protocol
