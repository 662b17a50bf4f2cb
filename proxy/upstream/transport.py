"""httpx transports for untrusted responses: bodies decoded and counted here, every socket closed."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx

from proxy.errors import UpstreamError

_CHUNK = 64 * 1024
_PIECES_PER_TURN = 100  # pieces of a body after which the event loop may run something else
HTTP_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")


def disable_http_logging() -> None:
    """Switch off the loggers of httpx and httpcore, once for the process, before the first fetch.

    At DEBUG they write whole response headers, one of which holds the token of a login, and at INFO whole URLs.
    """
    for name in HTTP_LOGGERS:
        logging.getLogger(name).disabled = True


class OwnSockets(httpx.AsyncBaseTransport):
    """A transport with a limit on silence, which on closing closes every socket ever opened for it.

    httpcore 1.0 forgets a connection that is cut off during its TLS handshake; the event loop then keeps that
    socket open until the other side goes away.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, silence: float) -> None:
        """`silence`: seconds without any data after which a request fails."""
        self._inner = inner
        self._limits = httpx.Timeout(silence).as_dict()
        self._sockets = AsyncExitStack()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {"timeout": self._limits, "trace": self._note}
        return await self._inner.handle_async_request(request)

    async def _note(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._sockets.push_async_callback(info["return_value"].aclose)

    async def aclose(self) -> None:
        async with self._sockets:
            await self._inner.aclose()


class PlainBodies(httpx.AsyncBaseTransport):
    """A transport whose bodies are decoded and counted while they are read.

    Requests are sent with `Accept-Encoding: identity`. A body that is gzip all the same is decompressed here, 64 KiB
    at a time (httpx itself makes 300 MiB of 300 KB before it can be counted); any other coding is an error.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, max_body: int) -> None:
        self._inner = inner
        self._max_body = max_body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        headers = [(n, v) for n, v in response.headers.raw if n.lower() not in (b"content-encoding", b"content-length")]
        stream = _PlainStream(response, self._max_body)
        return httpx.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _PlainStream(httpx.AsyncByteStream):
    """Errors of a body are raised when it is read: where only the status matters, they do not."""

    def __init__(self, response: httpx.Response, max_body: int) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream), "an async transport returns an async stream"
        self._raw = response.stream
        self._coding = response.headers.get("content-encoding", "").strip().lower()
        self._length = response.headers.get("content-length", "")
        self._max_body = max_body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._coding not in ("", "identity", "gzip", "x-gzip"):
            raise UpstreamError("invalid_response", "answered in a content-encoding that was not asked for")
        if self._length.isdecimal() and int(self._length) > self._max_body:
            raise self._too_large()
        unpacker = Gunzip() if self._coding.endswith("gzip") else None
        size = pieces = 0
        async for raw in self._raw:
            for chunk in unpacker.chunks(raw) if unpacker else (raw,):
                size += len(chunk)
                if size > self._max_body:
                    raise self._too_large()
                yield chunk
                pieces += 1
                if pieces % _PIECES_PER_TURN == 0:
                    await asyncio.sleep(0)
        if unpacker and not unpacker.complete:
            raise UpstreamError("invalid_response", "the gzip body was cut off", retryable=True)

    async def aclose(self) -> None:
        await self._raw.aclose()

    def _too_large(self) -> UpstreamError:
        return UpstreamError("too_large", f"the body is larger than {self._max_body:,} bytes (max_body)")


class Gunzip:
    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:
        return self._unpack.eof

    def chunks(self, raw: bytes) -> Iterator[bytes]:
        while raw:
            if self._unpack.eof:
                raise UpstreamError("invalid_response", "something stands behind the end of the gzip body")
            try:
                yield self._unpack.decompress(raw, _CHUNK)
            except zlib.error as error:
                raise UpstreamError("invalid_response", "said gzip and sent something else") from error
            raw = self._unpack.unconsumed_tail or self._unpack.unused_data
