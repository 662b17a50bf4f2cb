"""The signals of the supervisor, which interrupt its wait for events."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

from proxy.server.workers.fork import SIGNALS


class Signals:
    """Collects signals from its creation on. Its descriptor is readable when one arrives."""

    def __init__(self) -> None:
        self._arrived: list[int] = []
        self._receiver, self._sender = socket.socketpair()
        for end in (self._receiver, self._sender):
            end.setblocking(False)
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def arrived(self) -> Iterator[int]:
        """The signals that have arrived, each once."""
        with suppress(BlockingIOError):
            while self._receiver.recv(4096):
                pass
        while self._arrived:
            yield self._arrived.pop(0)

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append(number)
