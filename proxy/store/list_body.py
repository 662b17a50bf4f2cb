"""An encoded list, its gzip form, and the responses that consist of them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from typing import NamedTuple

from proxy.asgi import Header
from proxy.wire import JSON

ETags = tuple[bytes, bytes]
"""Those of the plain and of the compressed form."""


def etags_of(digest: str) -> ETags:
    """`digest`: hexadecimal digits that differ between bodies."""
    digest = digest[:32]
    return f'"{digest}"'.encode(), f'"{digest}-gzip"'.encode()


class ReadyList(NamedTuple):
    """The response to requests for a list, without the headers that differ between requests."""

    etag: bytes
    headers: Sequence[Header]
    body: bytes
    rest: Sequence[bytes]
    """As in `RawResponse`."""


class ListBody:
    """An encoded list, and its gzip form, which is compressed when a client accepts it for the first time."""

    def __init__(self, body: bytes, etags: ETags) -> None:
        self.body = body
        """Empty if the list consists of `entries`."""
        self.entries: Sequence[bytes] = ()
        """The parts of the list, if it shares them with other lists."""
        self.etags = etags
        self.gzip: bytes | None = None
        """None before `compressed`."""
        self.length = len(body)
        """Bytes of the list."""
        self._compressing: asyncio.Task[bytes] | None = None

    @property
    def identity(self) -> bytes:
        """The list, joined if it consists of entries."""
        return b"".join(self.entries) if self.entries else self.body

    @property
    def compressed_length(self) -> int:
        """Bytes of the gzip form; before it is compressed, an estimate."""
        return self.length // 8 if self.gzip is None else len(self.gzip)

    async def compressed(self) -> bytes:
        """Return the gzip bytes, compressed once in a thread, at the first request."""
        if self.gzip is None:
            if self._compressing is None:
                self._compressing = asyncio.create_task(asyncio.to_thread(self._compress), name="compress a list")
            # Shielded: one canceled waiter must not cancel the others.
            self.gzip = await asyncio.shield(self._compressing)
        return self.gzip

    def _compress(self) -> bytes:
        return gzip.compress(self.identity, 6, mtime=0)

    def ready(self, of_status: Sequence[Header], *, packed: bool) -> ReadyList | None:
        """Return the response, None if the list must be compressed first. `of_status`: the headers of a `Status`."""
        etag = self.etags[packed]
        if not packed:
            length = (b"content-length", b"%d" % self.length)
            return ReadyList(etag, [JSON, length, (b"etag", etag), *of_status], self.body, self.entries)
        if self.gzip is None:
            return None
        length = (b"content-length", b"%d" % len(self.gzip))
        headers = [JSON, length, (b"etag", etag), *of_status, (b"content-encoding", b"gzip")]
        return ReadyList(etag, headers, self.gzip, ())
