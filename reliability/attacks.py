"""What hostile callers and providers do. Each attack goes on until it is canceled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from reliability.canaries import ATTACKER_KEY, WRONG_KEY, found_in
from reliability.http import Reply, call, head, request

_MIB = 1024 * 1024
_LIST = request("GET", "/v1/models", ATTACKER_KEY)
_SEVERAL = 8
"""Connections of an attack that sends as fast as it can."""


class Target(Struct):
    """The attacked process."""

    port: int
    pid: int
    canaries: int = 0
    """Secrets that were found in responses."""


Attack = Callable[[Target], Awaitable[None]]


def repeated(connections: int, once: Callable[[Target, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Attack:  # fmt: skip  # noqa: E501
    """An attack over several connections at a time. Each is opened again when it has ended."""

    async def one(target: Target) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=2**24)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            try:
                await once(target, reader, writer)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                await asyncio.sleep(0.01)
            finally:
                writer.close()

    async def all_of_them(target: Target) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(one(target))

    return all_of_them


async def read_on(target: Target, reader: asyncio.StreamReader) -> None:
    """Read until the end, and look for secrets."""
    last = b""
    while data := await reader.read(64 * 1024):
        target.canaries += found_in(last + data)
        last = data[-64:]


def answered(*requests: bytes) -> Attack:
    """Requests one after the other, each when the response to the one before has arrived."""

    async def once(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for each in requests:
                writer.write(each)
                target.canaries += found_in((await Reply.read(reader)).whole)

    return repeated(_SEVERAL, once)


def sent(data: Sequence[bytes], connections: int = _SEVERAL) -> Attack:
    """Bytes, whatever comes back; then the next connection."""

    async def once(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reading = asyncio.create_task(read_on(target, reader))
        try:
            for piece in data:
                writer.write(piece)
                await writer.drain()
            await reading
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await reading

    return repeated(connections, once)


def held(data: bytes, connections: int) -> Attack:
    """Connections that send a beginning and then wait."""

    async def once(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await read_on(target, reader)

    return repeated(connections, once)


def unread(data: bytes, connections: int) -> Attack:
    """Requests whose responses are never read."""

    async def once(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket
        writer.write(data)
        await asyncio.Event().wait()

    return repeated(connections, once)


def dripped(data: bytes, connections: int) -> Attack:
    """One byte every half second."""

    async def once(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.5)

    return repeated(connections, once)


async def hang_ups(target: Target) -> None:
    """SIGHUP ten times a second."""
    while True:
        os.kill(target.pid, signal.SIGHUP)
        await asyncio.sleep(0.1)


def stream_of(provider: str) -> Attack:
    """Streams of a hostile provider, read to their end."""
    return sent([call(f"{provider}/openai/model-0-0", ATTACKER_KEY, stream=True)])


def upload(length: int, body: bytes) -> bytes:
    fields = {"Content-Length": str(length), "Content-Type": "application/json"}
    return head("POST", "/v1/chat/completions", ATTACKER_KEY, fields) + body


def hostile_body(beginning: bytes, repeated_part: bytes, end: bytes = b"") -> bytes:
    content = beginning + repeated_part * ((31 * _MIB - len(beginning) - len(end)) // len(repeated_part)) + end
    return upload(len(content), content)


ATTACKS: dict[str, Attack] = {
    "pipelined lists": sent([_LIST * 400] * 50),
    "wrong keys": answered(request("GET", "/v1/models", WRONG_KEY)),
    "calls beyond the capacity": answered(call("good/openai/model-0-0", ATTACKER_KEY)),
    "50 silent streams": held(call("silent/openai/model-0-0", ATTACKER_KEY, stream=True), 50),
    "50 unfinished uploads": held(upload(32 * _MIB, b'{"model":"a","x":"' + b"x" * _MIB), 50),
    "1,100 silent sockets": held(b"", 1100),
    "300 slow heads": dripped(_LIST, 300),
    "100 clients that do not read": unread(_LIST * 16, 100),
    "60 MB header": sent([b"GET /v1/models HTTP/1.1\r\nX-A: ", *[b"a" * _MIB] * 60], 2),
    "400,000 headers": sent([b"GET /v1/models HTTP/1.1\r\n", *[b"X-A: a\r\n" * 10_000] * 40], 2),
    "2 MB URL": sent([b"GET /v1/models?" + b"a" * (2 * _MIB) + b" HTTP/1.1\r\n\r\n"], 2),
    "1 MB key": sent([request("GET", "/v1/models", "k" * _MIB)], 2),
    "body of brackets": sent([hostile_body(b'{"model":"a","file_id":', b"[")], 1),
    "body of deep tools": sent([hostile_body(b'{"model":"a","tools":[', b'{"a":[')], 1),
    "body of many messages": sent([hostile_body(b'{"model":"a","messages":[', b'{"role":"user"},', b"{}]}")], 1),
    "SIGHUP": hang_ups,
    "provider: one-byte chunks": stream_of("bytes"),
    "provider: wide events": stream_of("wide"),
    "provider: endless 1xx": stream_of("1xx"),
    "provider: gzip of 150 MB": answered(call("bomb/openai/model-0-0", ATTACKER_KEY)),
    "provider: returns our key": answered(call("tells/openai/model-0-0", ATTACKER_KEY)),
    "provider: resets and 502": answered(
        call("resets/openai/model-0-0", ATTACKER_KEY), call("fails/openai/model-0-0", ATTACKER_KEY)
    ),
}
