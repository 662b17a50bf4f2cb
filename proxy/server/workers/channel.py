"""Messages through a socket pair, each with its length before it. Never blocks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

MAX_MESSAGE = 64 * 1024**2
"""Bytes of one message, and of all that wait until the other process reads them."""
_LENGTH = 4  # bytes
_READ = 256 * 1024

M = TypeVar("M")


class ChannelClosed(Exception):
    """The other process has ended, does not read, or sends something else."""


class Channel(Generic[M]):
    """One end. The owner waits until the socket is readable, or writable while `is_writing`, and calls the methods."""

    def __init__(self, end: socket.socket, type_: Any) -> None:
        """`type_`: of the messages that are received."""
        end.setblocking(False)
        self._socket = end
        self._decode = msgspec.msgpack.Decoder(type_).decode
        self._received = bytearray()
        self._unsent = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def is_writing(self) -> bool:
        """Whether bytes wait until the socket is writable."""
        return bool(self._unsent)

    def send(self, message: msgspec.Struct) -> None:
        """Send a message soon. Raises ChannelClosed."""
        data = msgspec.msgpack.encode(message)
        if len(data) + len(self._unsent) > MAX_MESSAGE:
            raise ChannelClosed
        self._unsent += len(data).to_bytes(_LENGTH, "big") + data
        self.flush()

    def flush(self) -> None:
        """Write what fits into the socket. Raises ChannelClosed."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            raise ChannelClosed from error

    def receive(self) -> Iterator[M]:
        """The messages that have arrived. Raises ChannelClosed after the last one."""
        is_open = self._read()
        while (message := self._next()) is not None:
            yield message
        if not is_open:
            raise ChannelClosed

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> bool:
        """Read what is there. Returns False at the end."""
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._received += data
        return bool(data)

    def _next(self) -> M | None:
        if len(self._received) < _LENGTH:
            return None
        length = int.from_bytes(self._received[:_LENGTH], "big")
        if length > MAX_MESSAGE:
            raise ChannelClosed
        end = _LENGTH + length
        if len(self._received) < end:
            return None
        try:
            message: M = self._decode(self._received[_LENGTH:end])
        except msgspec.DecodeError as error:
            raise ChannelClosed from error
        del self._received[:end]
        return message
