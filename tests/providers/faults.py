"""A server that plays faults from data files (`tests/faults`): asyncio streams and bytes, no HTTP library.

A file holds one answer, or several between lines of `----`: the first request gets the first one, and so on; the
last one is for all further requests. An answer is played from top to bottom:

    # a comment
    HTTP/1.1 200 OK             lines of the head are sent with CRLF, up to and with the first empty line
    Content-Length: auto        the number of bytes that the body below sends
                                the lines of the body are sent without their line ends
    {"data":[]}
    @pause 0.1                  seconds in which nothing is sent
    @hang                       nothing more, until the other side leaves
    @close, @reset              the connection ends: as it should, or with an RST
    @send TEXT                  these bytes, also in the head, without CRLF
    @drip 0.02 TEXT             one byte every so many seconds
    @repeat 1000 TEXT           so many times; `forever`: until the other side leaves
    @each 1 100 {"id":"m-$i"}   JSON for each number, with commas between
    @gzip TEXT, @half-gzip TEXT packed; and packed, of which the second half is missing
    @bomb 300                   so many MiB of blanks, packed
    @tls                        from here on TLS, as after a CONNECT

`\\xNN` is one byte; `$name` is filled in by the test, `$n` is the number of the request. A connection is kept for
the next request unless the head says `Connection: close` or has no length.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import socket
import ssl
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from string import Template

from tests.paths import FAULTS

_AT_ONCE = 64 * 1024  # bytes of a repeated text that are held and written together
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Request:
    """What came in: the head as it was sent, and the body."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.decode("latin-1").split("\r\n")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def values(self, name: str) -> list[str]:
        """All values of a header, in the order in which they came."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        fields = [line.partition(":") for line in lines if ":" in line]
        return [value.strip() for field, _, value in fields if field.lower() == name.lower()]


@dataclass(frozen=True)
class _Step:
    """One thing to do; `size` is the number of bytes that it sends, None where there is no end to it."""

    do: str
    data: bytes = b""
    seconds: float = 0.0
    times: int | None = 1

    @property
    def size(self) -> int | None:
        return None if self.times is None else len(self.data) * self.times


class FaultServer:
    """One listening socket on loopback, and all that it was sent."""

    def __init__(self, script: str, names: Mapping[str, str], upgrade: ssl.SSLContext | None, unasked: bool) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        without_comments = re.sub(r"^#.*\n", "", script, flags=re.MULTILINE)
        self._answers = re.split(r"^----\n", without_comments, flags=re.MULTILINE)
        self._names = names
        self._upgrade = upgrade
        self._unasked = unasked
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None) -> AsyncIterator[FaultServer]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._unasked:
                await self._play(self._steps(), reader, writer)
                return
            self.requests.append(await _receive(reader))
            while await self._play(self._steps(), reader, writer):
                self.requests.append(await _receive(reader))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has seen enough
        finally:
            writer.close()

    def _steps(self) -> list[_Step]:
        number = len(self.requests)
        answer = self._answers[min(max(number, 1), len(self._answers)) - 1]
        return _parse(Template(answer).safe_substitute(self._names, n=number))

    async def _play(self, steps: Sequence[_Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        for step in steps:
            match step.do:
                case "pause":
                    await asyncio.sleep(step.seconds)
                case "hang":
                    await reader.read()
                    return False
                case "close":
                    return False
                case "reset":
                    await writer.drain()
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                    return False
                case "tls":
                    assert self._upgrade is not None, "the test gives a context for @tls"
                    await writer.start_tls(self._upgrade)
                case "drip":
                    for byte in step.data:
                        await _send(writer, bytes([byte]))
                        await asyncio.sleep(step.seconds)
                case _:
                    await _repeat(writer, step.data, step.times)
        return not any(step.do == "send" and b"connection: close" in step.data.lower() for step in steps)


@asynccontextmanager
async def playing(
    name: str,
    *,
    tls: ssl.SSLContext | None = None,
    upgrade: ssl.SSLContext | None = None,
    unasked: bool = False,
    **names: str,
) -> AsyncIterator[FaultServer]:
    """A server that plays the file of this name while this is entered, over TLS if a context is given.

    `unasked`: it plays to whoever connects, without reading a request first.
    """
    script = (FAULTS / f"{name}.txt").read_text(encoding="utf-8")
    async with FaultServer(script, names, upgrade, unasked).listening(tls) as server:
        yield server


# Bound, so that no other process gets its port, but not listening. Open from the start, so that no test that counts
# descriptors sees it come.
_BOUND = socket.socket()
_BOUND.bind(("127.0.0.1", 0))


def closed_port() -> int:
    """A port on loopback that refuses connections as long as this process lives."""
    port: int = _BOUND.getsockname()[1]
    return port


@dataclass(frozen=True)
class Held:
    """What a process holds that an exchange could leave behind."""

    descriptors: frozenset[str] = frozenset()
    tasks: frozenset[asyncio.Task[object]] = frozenset()

    @classmethod
    def now(cls) -> Held:
        # The directory itself is open while it is listed; its number is the next free one each time.
        # anyio runs every fixture and every test in a task of its own.
        tasks = (task for task in asyncio.all_tasks() if "TestRunner." not in repr(task.get_coro()))
        return cls(frozenset(os.listdir("/dev/fd")), frozenset(tasks))

    async def left(self) -> Held:
        """What is held beside this, once what is closing has closed."""
        for _ in range(100):
            now = Held.now()
            left = Held(now.descriptors - self.descriptors, now.tasks - self.tasks)
            if left == Held():
                break
            await asyncio.sleep(0.005)
        return left


class HastyClock:
    """Whoever sleeps is woken at once and finds that so much time has passed; how long, is remembered."""

    def __init__(self, time: float = 1_800_000_000.0) -> None:
        self.slept: list[float] = []
        self._start = time

    def monotonic(self) -> float:
        return sum(self.slept)

    def time(self) -> float:
        return self._start + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def _receive(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
    return Request(head, await reader.readexactly(int(length[1])) if length else b"")


async def _repeat(writer: asyncio.StreamWriter, data: bytes, times: int | None) -> None:
    together = max(1, _AT_ONCE // max(1, len(data)))
    left = sys.maxsize if times is None else times
    while left > 0:
        await _send(writer, data * min(left, together))
        left -= together


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _parse(answer: str) -> list[_Step]:
    head: list[_Step] = []
    body: list[_Step] = []
    steps = head
    for line in answer.splitlines():
        if line.startswith("@"):
            steps.append(_directive(line))
        elif steps is body:
            steps.append(_Step("send", _bytes(line)))
        else:
            head.append(_Step("send", _bytes(line) + b"\r\n"))
            steps = head if line else body
    length = sum(step.size or 0 for step in body)
    auto, told = b"Content-Length: auto", b"Content-Length: %d" % length
    return [_Step(s.do, s.data.replace(auto, told), s.seconds, s.times) for s in head] + body


def _directive(line: str) -> _Step:
    name, _, rest = line[1:].partition(" ")
    first, _, text = rest.partition(" ")
    match name:
        case "pause":
            return _Step("pause", seconds=float(first))
        case "hang" | "close" | "reset" | "tls":
            return _Step(name)
        case "send":
            return _Step("send", _bytes(rest))
        case "drip":
            return _Step("drip", _bytes(text), float(first))
        case "repeat":
            return _Step("send", _bytes(text), times=None if first == "forever" else int(first))
        case "each":
            last, _, template = text.partition(" ")
            numbers = range(int(first), int(last) + 1)
            return _Step("send", _bytes(",".join(Template(template).safe_substitute(i=number) for number in numbers)))
        case "gzip":
            return _Step("send", gzip.compress(_bytes(rest)))
        case "half-gzip":
            packed = gzip.compress(_bytes(rest))
            return _Step("send", packed[: len(packed) // 2])
        case "bomb":
            return _Step("send", _bomb(int(first)))
    raise ValueError(f"no such directive: {line}")


def _bomb(mebibytes: int) -> bytes:
    """A gzip body of about a thousandth of what it unpacks to, made without ever holding that."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    # A block that is flushed in full stands for itself, so it may be sent again and again.
    block = pack.compress(b" " * _MIB) + pack.flush(zlib.Z_FULL_FLUSH)
    checksum = 0  # a wrong one: the true one takes a while, and nobody should get that far
    trailer = struct.pack("<LL", checksum, mebibytes * _MIB)
    return b"\x1f\x8b\x08" + b"\0" * 7 + block * mebibytes + b"\x03\x00" + trailer


def _bytes(text: str) -> bytes:
    return re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
