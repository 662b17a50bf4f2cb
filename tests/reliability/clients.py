"""Clients that misbehave: raw sockets to a server in this event loop or in another process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from tests.listening import TIMEOUT, Served

OPEN = """
groups: {default: {models: ["*"], call: true}}
providers: [{name: lab, kind: static, models: [{id: m}]}]
"""
"""The configuration of a proxy without keys."""
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Refusal(NamedTuple):
    """An error response after which the server closed the connection."""

    status: int
    code: str
    closes: bool


def with_limits(limits: str, text: str = OPEN) -> str:
    return f"server: {{limits: {{{limits}}}}}\n{text}"


def refusal(received: bytes) -> Refusal:
    """Parse all data of a connection on which one error was sent."""
    head, _, body = received.partition(b"\r\n\r\n")
    closes = b"\r\nconnection: close" in head.lower()
    return Refusal(int(head[9:12]), json.loads(body)["error"]["code"], closes)


def protocols(served: Served) -> list[Any]:
    """The server's protocols of all connections."""
    return list(served.state.connections)


def use_only_explicit_sweeps(served: Served) -> None:
    """Check timeouts only when a test calls `sweep`, because it passes other times than those of the event loop.

    Must be called before the first connection.
    """
    served.app.connections._interval = 1e6


async def answer(served: Served, *segments: bytes) -> bytes:
    """Send these bytes and return everything until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    reading = asyncio.create_task(reader.read())
    with suppress(ConnectionError):  # it can close the connection before everything is sent
        for segment in segments:
            writer.write(segment)
            await writer.drain()
    async with asyncio.timeout(TIMEOUT):
        received = await reading
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return received


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A connection to a server in another process."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        yield connection


def received_until_close(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))
