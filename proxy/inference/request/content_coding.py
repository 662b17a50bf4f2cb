"""Decompress request bodies (`Content-Encoding`), within limits: they can expand to a thousand times their size."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Protocol

from proxy.cooperative import Cooperative
from proxy.errors import BadRequest, BodyTooLarge, UnsupportedMediaType

_PIECE = 64 * 1024  # compressed bytes that are fed at once
_STEP = 256 * 1024  # decompressed bytes after which other tasks may run: about 1 ms
_MAX_FRAMES = 1000  # members of gzip, frames of zstd; tools that split a body write larger ones than 64 KiB
_MAX_WINDOW_LOG = 23  # 8 MiB of memory for zstd: more is not allowed over HTTP (RFC 9659)


def decompress(
    body: bytes, content_encoding: bytes, limit: int, reserve: Callable[[int], None] = lambda size: None
) -> Cooperative[bytes]:
    """Return the body without its content-encoding. It yields after at most 256 KiB of output.

    `reserve` is called with the bytes of each part of the output before it is kept; it can raise an exception.

    Raises UnsupportedMediaType, BodyTooLarge above `limit` bytes of output, and BadRequest for invalid data.
    """
    coding = content_encoding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in _STREAMS:
        raise UnsupportedMediaType
    content = BytesIO()
    for part in _decompressed(body, _STREAMS[coding]):
        if content.tell() + len(part) > limit:
            raise BodyTooLarge(limit)
        reserve(len(part))
        content.write(part)
        yield
    return content.getvalue()  # without a copy, unlike a join of all parts


class _Stream(Protocol):
    """One member of gzip, or one frame of zstd."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes:
        """What was fed beyond the end."""
        ...

    def feed(self, data: memoryview) -> Iterator[bytes]:
        """Yield output in pieces of at most `_STEP` bytes. Raises BadRequest."""
        ...


def _decompressed(body: bytes, new_stream: Callable[[], _Stream]) -> Iterator[bytes]:
    """Yield the output of all members or frames. Raises BadRequest."""
    view, at = memoryview(body), 0
    for _ in range(_MAX_FRAMES):
        stream = new_stream()
        while not stream.eof:
            if at == len(view):
                raise BadRequest("The compressed request body is truncated.")
            piece = view[at : at + _PIECE]
            at += len(piece)
            yield from stream.feed(piece)
        at -= len(stream.unused_data)
        if at == len(view):
            return
    raise BadRequest(f"The compressed request body has more than {_MAX_FRAMES} members or frames.")


class _Gzip:
    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def feed(self, data: memoryview | bytes) -> Iterator[bytes]:
        part = b""
        # zlib can hold back output of consumed input when a step is full.
        while (data or len(part) == _STEP) and not self._zlib.eof:
            try:
                part = self._zlib.decompress(data, _STEP)
            except zlib.error as error:
                raise BadRequest("The request body is not valid gzip data.") from error
            data = self._zlib.unconsumed_tail
            yield part


class _Zstd:
    def __init__(self) -> None:
        # Imported by the first such body: most servers never get one.
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        self._error = zstd.ZstdError
        self._zstd = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})

    @property
    def eof(self) -> bool:
        return self._zstd.eof

    @property
    def unused_data(self) -> bytes:
        return self._zstd.unused_data

    def feed(self, data: memoryview | bytes) -> Iterator[bytes]:
        while data or not (self._zstd.eof or self._zstd.needs_input):
            try:
                part = self._zstd.decompress(data, _STEP)
            except self._error as error:
                raise BadRequest(
                    "The request body is not valid zstd data, or needs a window of more than 8 MiB."
                ) from error
            data = b""
            yield part


_STREAMS: Mapping[bytes, Callable[[], _Stream]] = {b"gzip": _Gzip, b"x-gzip": _Gzip, b"zstd": _Zstd}
