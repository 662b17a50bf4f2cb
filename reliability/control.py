"""A well-behaved client in a process of its own: `python -m reliability.control PORT SECONDS` prints its `Result`.

It lists the models 100 times a second over one connection, and calls a model every 20th time, and measures what it
waits. Whatever others do, its requests must succeed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from contextlib import suppress

from msgspec import Struct, field

from benchmarks.harness import percentile
from reliability.canaries import CONTROL_KEY, found_in
from reliability.http import Reply, call, request

INTERVAL = 0.01
"""Seconds between two lists."""
_CALL_EVERY = 20
_TIMEOUT = 5.0


class Result(Struct):
    """Times are in milliseconds."""

    list_p50: float = 0.0
    list_p99: float = 0.0
    call_p99: float = 0.0
    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """Requests by the status or exception with which they failed."""
    canaries: int = 0


class Connection:
    """A connection that is opened again when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, data: bytes) -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        reader, writer = self._streams
        try:
            writer.write(data)
            reply = await Reply.read(reader)
        except BaseException:
            self.close()
            raise
        if reply.closes:
            self.close()
        return reply

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def measure(port: int, seconds: float) -> Result:
    lists, calls = Connection(port), Connection(port)
    listed = request("GET", "/v1/models", CONTROL_KEY, {"Accept-Encoding": "gzip"})
    called = call("good/openai/model-0-0", CONTROL_KEY)
    waits: dict[str, list[float]] = {"list": [0.0], "call": [0.0]}
    failed: Counter[str] = Counter()
    canaries = number = 0
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        number += 1
        kind = "list" if number % _CALL_EVERY else "call"
        try:
            async with asyncio.timeout(_TIMEOUT):
                reply = await (lists.send(listed) if kind == "list" else calls.send(called))
            canaries += found_in(reply.whole)
            if reply.status != 200:
                failed[f"{kind} {reply.status}"] += 1
        except (OSError, EOFError, TimeoutError) as error:
            failed[f"{kind} {type(error).__name__}"] += 1
        waits[kind].append((time.monotonic() - began) * 1000)
        await asyncio.sleep(max(0.0, began + INTERVAL - time.monotonic()))
    lists.close()
    calls.close()
    return Result(
        percentile(waits["list"], 50),
        percentile(waits["list"], 99),
        percentile(waits["call"], 99),
        number,
        dict(failed),
        canaries,
    )


if __name__ == "__main__":
    with suppress(PermissionError):
        os.nice(-15)  # the attackers share its core, and must not delay its measurements
    result = asyncio.run(measure(int(sys.argv[1]), float(sys.argv[2])))
    print(json.dumps({name: getattr(result, name) for name in Result.__struct_fields__}))
