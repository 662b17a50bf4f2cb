"""Clients of the replicas: lists, calls and streams through nginx, each request on a connection of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from reliability.canaries import CONTROL_KEY
from reliability.http import Reply, call, request
from reliability.replicas.provider import MODELS

Kind = Literal["list", "call", "stream"]
CLIENTS: Sequence[Kind] = ("list", "list", "call", "call", "stream", "stream", "stream", "stream")
_PAUSE = 0.02
_TIMEOUT = 30.0
_CLOSE = {"Connection": "close"}


class Request(NamedTuple):
    """One request and what became of it. Times are monotonic seconds."""

    kind: Kind
    began: float
    ended: float
    failure: str
    """What went wrong, "" if nothing did."""


@dataclass
class Load:
    """Clients that send requests until they are stopped."""

    port: int
    requests: list[Request] = field(default_factory=list)
    """Since the last `take`."""
    expected: bytes = b""
    """The list, as the first client got it: all replicas must return the same bytes."""

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._client(kind, number)) for number, kind in enumerate(CLIENTS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self) -> Sequence[Request]:
        taken, self.requests = self.requests, []
        return taken

    async def _client(self, kind: Kind, number: int) -> None:
        while True:
            began = time.monotonic()
            failure = await self._failure(kind, MODELS[number])
            self.requests.append(Request(kind, began, time.monotonic(), failure))
            await asyncio.sleep(_PAUSE)

    async def _failure(self, kind: Kind, model: str) -> str:
        match kind:
            case "list":
                sent = request("GET", "/v1/models", CONTROL_KEY, _CLOSE)
            case "call":
                sent = call(model, CONTROL_KEY)
            case "stream":
                sent = call(model, CONTROL_KEY, stream=True)
        try:
            reply = await _within(_TIMEOUT, exchanged(self.port, sent))
        except (OSError, EOFError) as error:
            return type(error).__name__
        if reply.status != 200:
            return f"{reply.status} {reply.body[:200].decode(errors='replace')}"
        if kind == "list":
            self.expected = self.expected or reply.body
            return "" if reply.body == self.expected else "another list"
        end = b"[DONE]" if kind == "stream" else b'"choices"'
        return "" if end in reply.body else "without its end"


async def exchanged(port: int, data: bytes) -> Reply:
    """Send one request on a connection of its own. Raises EOFError and OSError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        writer.write(data)
        return await Reply.read(reader)
    finally:
        writer.close()


async def _within(seconds: float, work: Coroutine[Any, Any, Reply]) -> Reply:
    async with asyncio.timeout(seconds):
        return await work
