"""When the shared store is used again: with a client whose commands take a given time."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.sharing.client import Client, Unavailable
from proxy.sharing.connection import Connection
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio


class SlowClient:
    """Each command takes `takes` seconds, or fails when its time limit is shorter."""

    def __init__(self, takes: float) -> None:
        self.takes = takes
        self.limits: list[float] = []

    async def command(self, *parts: str | bytes | int, seconds: float) -> bytes:
        self.limits.append(seconds)
        if seconds < self.takes:
            raise Unavailable("timed out")
        return b"OK"

    async def disconnect(self) -> None:
        """The next command opens a connection."""


async def test_a_store_that_is_slower_than_requests_wait_delays_only_the_first_one(clock: FakeClock) -> None:
    client = SlowClient(takes=0.3)
    connection = Connection(cast("Client", client), clock, "probe")
    keeping = asyncio.create_task(connection.keep())

    async def hit(seconds: float) -> bytes:
        return await client.command("GET", "key", seconds=seconds)

    assert await connection.run(hit) is None
    for _ in range(60):
        await clock.advance(1.0)
        assert (connection.is_up, connection.state.reason) == (False, "timed out")
        assert await connection.run(hit) is None
    assert connection.state.failures == 1, "no other request has waited"

    client.takes = 0.1
    await clock.advance(10.0)
    assert connection.is_up
    assert await connection.run(hit) == b"OK"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
