"""A server that plays faults from data files (`recorded_faults/`).

A file contains one response, or several separated by lines of `----`, one for each request; the last one is repeated
for all further requests. A response is played from top to bottom:

    # a comment
    HTTP/1.1 200 OK             lines of the head are sent with CRLF, up to the first empty line
    Content-Length: auto        the length of the body below
                                lines of the body are sent without line breaks
    {"data":[]}
    @pause 0.1                  wait for so many seconds
    @hang                       wait until the client closes the connection
    @close, @reset              close the connection normally, or with an RST
    @send TEXT                  send these bytes without CRLF, also in the head
    @drip 0.02 TEXT             send one byte every so many seconds
    @repeat 1000 TEXT           send a number of times, or until the client disconnects
    @each 1 100 {"id":"m-$i"}   send JSON for each number, separated with commas
    @gzip TEXT, @half-gzip TEXT compressed; the latter without its second half
    @bomb 300                   so many MiB of spaces, compressed
    @tls                        switch to TLS, as after a CONNECT

`\\xNN` is one byte; `$name` is replaced by the test, `$n` is the number of the request. A connection is kept open for
the next request unless the head contains `Connection: close` or no length.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import ssl
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from string import Template

from tests.paths import FAULTS
from tests.providers.server import Server, read_request, reset, send

_BATCH = 64 * 1024  # bytes of a repeated text that are written together
_MIB = 1024 * 1024


@dataclass(frozen=True)
class _Step:
    """One step of a script. `size` is the number of bytes that it sends, None if endless."""

    do: str
    data: bytes = b""
    seconds: float = 0.0
    times: int | None = 1

    @property
    def size(self) -> int | None:
        return None if self.times is None else len(self.data) * self.times


class FaultServer(Server):
    """A server that plays a script of recorded responses."""

    def __init__(
        self, script: str, names: Mapping[str, str], upgrade: ssl.SSLContext | None, unsolicited: bool
    ) -> None:
        super().__init__()
        without_comments = re.sub(r"^#.*\n", "", script, flags=re.MULTILINE)
        self._responses = re.split(r"^----\n", without_comments, flags=re.MULTILINE)
        self._names = names
        self._upgrade = upgrade
        self._unsolicited = unsolicited

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._unsolicited:
            await self._play(self._steps(), reader, writer)
            return
        self.requests.append(await read_request(reader))
        while await self._play(self._steps(), reader, writer):
            self.requests.append(await read_request(reader))

    def _steps(self) -> list[_Step]:
        number = len(self.requests)
        response = self._responses[min(max(number, 1), len(self._responses)) - 1]
        return _parse(Template(response).safe_substitute(self._names, n=number))

    async def _play(self, steps: Sequence[_Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Play the steps. Returns whether the connection stays open."""
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
                    reset(writer)
                    return False
                case "tls":
                    assert self._upgrade is not None, "@tls requires `upgrade`"
                    await writer.start_tls(self._upgrade)
                case "drip":
                    for byte in step.data:
                        await send(writer, bytes([byte]))
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
    unsolicited: bool = False,
    **names: str,
) -> AsyncIterator[FaultServer]:
    """Run a server that plays the file of this name, with TLS if a context is given.

    `unsolicited`: it plays on every connection without reading a request first.
    """
    script = (FAULTS / f"{name}.txt").read_text(encoding="utf-8")
    server = FaultServer(script, names, upgrade, unsolicited)
    await server.start(tls)
    try:
        yield server
    finally:
        await server.stop()


async def _repeat(writer: asyncio.StreamWriter, data: bytes, times: int | None) -> None:
    batch = max(1, _BATCH // max(1, len(data)))
    remaining = sys.maxsize if times is None else times
    while remaining > 0:
        await send(writer, data * min(remaining, batch))
        remaining -= batch


def _parse(response: str) -> list[_Step]:
    head: list[_Step] = []
    body: list[_Step] = []
    steps = head
    for line in response.splitlines():
        if line.startswith("@"):
            steps.append(_directive(line))
        elif steps is body:
            steps.append(_Step("send", _bytes(line)))
        else:
            head.append(_Step("send", _bytes(line) + b"\r\n"))
            steps = head if line else body
    length = sum(step.size or 0 for step in body)
    auto, actual = b"Content-Length: auto", b"Content-Length: %d" % length
    return [_Step(s.do, s.data.replace(auto, actual), s.seconds, s.times) for s in head] + body


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
            compressed = gzip.compress(_bytes(rest))
            return _Step("send", compressed[: len(compressed) // 2])
        case "bomb":
            return _Step("send", _bomb(int(first)))
    raise ValueError(f"unknown directive: {line}")


def _bomb(mebibytes: int) -> bytes:
    """A gzip body that expands to 1,000 times its size, created without holding the expanded data."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    # A fully flushed block is independent of others, so it can be repeated.
    block = pack.compress(b" " * _MIB) + pack.flush(zlib.Z_FULL_FLUSH)
    checksum = 0  # wrong, because computing it is slow and no reader should reach it
    trailer = struct.pack("<LL", checksum, mebibytes * _MIB)
    return b"\x1f\x8b\x08" + b"\0" * 7 + block * mebibytes + b"\x03\x00" + trailer


def _bytes(text: str) -> bytes:
    return re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
