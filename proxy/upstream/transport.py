"""httpx transports for untrusted responses: they limit the size of bodies and close every socket."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx

from proxy.config import Provider
from proxy.config.auth import JwtIssuer
from proxy.config.notify import Webhook
from proxy.errors import UpstreamError
from proxy.upstream.credentials import egress_of

_CHUNK = 64 * 1024
_MIN_INFLATED = 512 * 1024
_MAX_RATIO = 20
_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_CHUNKS_PER_YIELD = 100  # chunks of a body after which other tasks may run
HTTP_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")


def disable_http_logging() -> None:
    """Disable the loggers of httpx and httpcore. Call once per process, before the first fetch.

    At DEBUG they log all response headers, including login tokens, and at INFO complete URLs.
    """
    for name in HTTP_LOGGERS:
        logging.getLogger(name).disabled = True


def egress_proxy(settings: Provider | JwtIssuer | Webhook, tls: ssl.SSLContext) -> httpx.Proxy | None:
    """Return the HTTP proxy in a setting `proxy`, None if it is not set."""
    egress = egress_of(settings)
    if egress is None:
        return None
    return httpx.Proxy(egress.url, auth=egress.login, ssl_context=tls if egress.url.startswith("https:") else None)


class TrackedSockets(httpx.AsyncBaseTransport):
    """A transport with an idle timeout that closes every socket it opened.

    httpcore 1.0 loses track of a connection that is canceled during its TLS handshake; the event loop then keeps the
    socket open until the peer closes it.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, idle_timeout: float) -> None:
        """`idle_timeout`: seconds without data after which a request fails."""
        self._inner = inner
        self._limits = httpx.Timeout(idle_timeout).as_dict()
        self._sockets = AsyncExitStack()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {"timeout": self._limits, "trace": self._on_trace}
        return await self._inner.handle_async_request(request)

    async def _on_trace(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._sockets.push_async_callback(info["return_value"].aclose)

    async def aclose(self) -> None:
        async with self._sockets:
            await self._inner.aclose()


class DecodedBodies(httpx.AsyncBaseTransport):
    """A transport that decompresses bodies and enforces `max_body` bytes while they are read.

    Requests are sent with `Accept-Encoding: identity`. A gzip body is decompressed nevertheless, 64 KiB at a time:
    httpx would expand 300 KB to 300 MiB before the limit applies. Any other compression is an error. Whether a body is
    gzip is decided by its first byte: no list begins with it.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, max_body: int) -> None:
        self._inner = inner
        self._max_body = max_body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        headers = [(n, v) for n, v in response.headers.raw if n.lower() not in (b"content-encoding", b"content-length")]
        stream = _DecodedStream(response, self._max_body)
        return httpx.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _DecodedStream(httpx.AsyncByteStream):
    """Raises errors only when the body is read, because often only the status is needed."""

    def __init__(self, response: httpx.Response, max_body: int) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream), "an async transport returns an async stream"
        self._raw = response.stream
        self._coding = content_coding(response.headers.get("content-encoding", ""))
        self._length = response.headers.get("content-length", "")
        self._max_body = max_body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._coding not in ("", "gzip", "x-gzip"):
            raise UpstreamError("invalid_response", "returned an unusable response (unexpected content-encoding)")
        if self._length.isdecimal() and int(self._length) > self._max_body:
            raise self._too_large()
        unpacker: Gunzip | None = None
        size = chunks = 0
        has_begun = False
        async for raw in self._raw:
            if raw and not has_begun:
                has_begun = True
                unpacker = Gunzip() if is_gzip(raw) else None  # whatever its header says
            for chunk in unpacker.chunks(raw) if unpacker else (raw,):
                size += len(chunk)
                if size > self._max_body:
                    raise self._too_large()
                yield chunk
                chunks += 1
                if chunks % _CHUNKS_PER_YIELD == 0:
                    await asyncio.sleep(0)
        if (unpacker and not unpacker.complete) or (self._coding and not has_begun):
            reason = "returned an unusable response (truncated gzip body)"
            raise UpstreamError("invalid_response", reason, retryable=True)

    async def aclose(self) -> None:
        await self._raw.aclose()

    def _too_large(self) -> UpstreamError:
        return UpstreamError("too_large", f"returned more than {self._max_body:,} bytes (max_body)")


def content_coding(header: str) -> str:
    """The content-encoding in lower case; "" for none, and for a name of anything else, such as a character set."""
    coding = header.strip().lower()
    return "" if _COMPRESSIONS.isdisjoint(re.split(r"[\s,]+", coding)) else coding


def is_gzip(raw: bytes) -> bool:
    """Whether bytes are the beginning of a gzip body, not of a text."""
    return raw[:1] == b"\x1f"


class Gunzip:
    """Decompress a gzip body incrementally. Bodies of several gzip members are supported."""

    def __init__(self) -> None:
        self.has_begun = False
        self._read = self._unpacked = 0  # bytes
        self._unpack = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:
        return self._unpack.eof

    @property
    def is_inflated(self) -> bool:
        """Whether the body is long, and many times longer than texts usually are after their decompression."""
        return self._unpacked > max(_MIN_INFLATED, _MAX_RATIO * self._read)

    def chunks(self, raw: bytes) -> Iterator[bytes]:
        """Yield the decompressed bytes, at most 64 KiB at a time; b"" between members. Raises UpstreamError."""
        self.has_begun = True
        while raw:
            if self._unpack.eof:
                if not is_gzip(raw):
                    raise UpstreamError("invalid_response", "returned an unusable response (data after the gzip body)")
                self._unpack = zlib.decompressobj(wbits=31)
            try:
                plain = self._unpack.decompress(raw, _CHUNK)
            except zlib.error as error:
                reason = "returned an unusable response (invalid gzip data)"
                raise UpstreamError("invalid_response", reason) from error
            rest = self._unpack.unconsumed_tail or self._unpack.unused_data
            self._read += len(raw) - len(rest)
            self._unpacked += len(plain)
            raw = rest
            yield plain
