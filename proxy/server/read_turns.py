"""Reads what is discarded: of one connection at a time, after a pause."""

from __future__ import annotations

import asyncio
from collections import deque

PAUSE = 0.005
"""Seconds between two reads. Each takes 0.1 ms, for up to 256 KiB."""


class ReadTurns:
    """Connections whose request was refused while the client is still sending it.

    It is read, so that the client can receive the error, but clients must not keep the event loop busy with it.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Transport] = deque()

    def add(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Pause reading, and resume it after the connections that were added before."""
        transport.pause_reading()
        self._waiting.append(transport)
        if len(self._waiting) == 1:
            loop.call_later(PAUSE, self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            transport = self._waiting.popleft()
            if not transport.is_closing():
                transport.resume_reading()
                break
        if self._waiting:
            loop.call_later(PAUSE, self._next, loop)
