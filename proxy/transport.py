"""An httpx transport that hands out plain bodies, counted while they are read."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

import httpx

from proxy.errors import UpstreamError

_CHUNK = 64 * 1024


class PlainBodies(httpx.AsyncBaseTransport):
    """A transport whose bodies are plain and counted while they are read.

    `Accept-Encoding: identity` was asked for. A gzip body that comes all the same is unpacked here, 64 KiB at a
    time (httpx itself makes 300 MiB of 300 KB before anybody can count); any other coding is refused.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, max_body: int) -> None:
        self._inner = inner
        self._max_body = max_body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        length = response.headers.get("content-length", "")
        try:
            if coding not in ("", "identity", "gzip", "x-gzip"):
                raise UpstreamError("garbled", "answered in a content-encoding that was not asked for")
            if length.isdecimal() and int(length) > self._max_body:
                raise _too_large(self._max_body)
        except UpstreamError:
            await response.aclose()
            raise
        headers = [(n, v) for n, v in response.headers.raw if n.lower() not in (b"content-encoding", b"content-length")]
        assert isinstance(response.stream, httpx.AsyncByteStream), "an async transport answers with an async stream"
        stream = _PlainStream(response.stream, self._max_body, gzip=coding.endswith("gzip"))
        return httpx.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _PlainStream(httpx.AsyncByteStream):
    def __init__(self, raw: httpx.AsyncByteStream, max_body: int, *, gzip: bool) -> None:
        self._raw = raw
        self._max_body = max_body
        self._gzip = gzip

    async def __aiter__(self) -> AsyncIterator[bytes]:
        unpacker = _Gunzip() if self._gzip else None
        count = 0
        async for raw in self._raw:
            for chunk in unpacker.chunks(raw) if unpacker else (raw,):
                count += len(chunk)
                if count > self._max_body:
                    raise _too_large(self._max_body)
                yield chunk
        if unpacker and not unpacker.complete:
            raise UpstreamError("garbled", "the gzip body was cut off", retryable=True)

    async def aclose(self) -> None:
        await self._raw.aclose()


class _Gunzip:
    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:
        return self._unpack.eof

    def chunks(self, raw: bytes) -> Iterator[bytes]:
        while raw:
            if self._unpack.eof:
                raise UpstreamError("garbled", "something stands behind the end of the gzip body")
            try:
                yield self._unpack.decompress(raw, _CHUNK)
            except zlib.error as error:
                raise UpstreamError("garbled", "said gzip and sent something else") from error
            raw = self._unpack.unconsumed_tail or self._unpack.unused_data


def _too_large(max_body: int) -> UpstreamError:
    return UpstreamError("too_large", f"the body is larger than {max_body:,} bytes (max_body)")
