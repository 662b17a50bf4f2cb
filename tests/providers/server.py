"""An HTTP/1.1 server on the loopback interface, shared by all fake providers. It stores requests byte for byte."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_LIMIT = 256 * 1024  # bytes of a head

# Bound, so that no other process gets its port, but not listening. Opened at import, so that it does not affect tests
# that count file descriptors.
_BOUND = socket.socket()
_BOUND.bind(("127.0.0.1", 0))


def closed_port() -> int:
    """A loopback port that refuses connections while this process is running."""
    port: int = _BOUND.getsockname()[1]
    return port


@dataclass(frozen=True)
class Request:
    """One request, byte for byte."""

    head: bytes
    """The request line and the headers, without the empty line."""
    body: bytes
    at: float = field(default_factory=time.monotonic, compare=False)
    """Time of arrival in monotonic seconds."""

    @property
    def line(self) -> str:
        return self._lines[0]

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        """The path and the query, as sent."""
        return self.line.split(" ")[1]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    @property
    def headers(self) -> dict[str, str]:
        """Values by lower-case name. Fails if a header is repeated."""
        headers = dict(self._fields)
        assert len(headers) == len(self._fields), f"repeated header: {self._fields}"
        return headers

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for field, value in self._fields if field == name.lower()]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def _lines(self) -> Sequence[str]:
        return self.head.decode("latin-1").split("\r\n")

    @property
    def _fields(self) -> Sequence[tuple[str, str]]:
        fields = (line.partition(":") for line in self._lines[1:])
        return [(name.lower(), value.strip()) for name, _, value in fields]


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read the next request. Raises `IncompleteReadError` if the connection is closed first."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = CONTENT_LENGTH.search(head)
    return Request(head[:-4], await reader.readexactly(int(length[1])) if length else b"")


class Server:
    """A listening socket with one task per connection."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        """Number of connections accepted so far."""
        self.port = 0
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Number of open connections."""
        return len(self._tasks)

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection. It is closed afterwards."""
        raise NotImplementedError

    async def start(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=_LIMIT, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{self.address}"

    async def stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer), name="fake provider")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client closed the connection
        finally:
            writer.close()
            if reader.exception():  # retrieve it, so that the event loop does not log it
                with suppress(ConnectionError):
                    await writer.wait_closed()


def response_head(status: int, headers: Mapping[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Odd"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body. Empty data ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with an RST."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
