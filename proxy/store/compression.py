"""The gzip form of an encoded list, compressed when a client accepts it for the first time."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable


class Compressed:
    """The gzip form of a body."""

    def __init__(self, body: Callable[[], bytes]) -> None:
        self._body = body
        self.gzip: bytes | None = None
        """None before `compressed`."""
        self._compressing: asyncio.Task[bytes] | None = None

    async def compressed(self) -> bytes:
        """Return the gzip bytes, compressed once in a thread, at the first request."""
        if self.gzip is None:
            if self._compressing is None:
                self._compressing = asyncio.create_task(asyncio.to_thread(self._compress), name="compress a list")
            # Shielded: one canceled waiter must not cancel the others.
            self.gzip = await asyncio.shield(self._compressing)
        return self.gzip

    def _compress(self) -> bytes:
        return gzip.compress(self._body(), 6, mtime=0)
