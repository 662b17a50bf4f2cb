"""Connect to providers that could not be reached: calls need not wait until an open circuit breaker allows one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from proxy.clock import Clock
from proxy.inference.circuit import Circuit
from proxy.upstream.calls import Endpoint

CONNECT_SECONDS = 1.0
"""Seconds between two attempts to connect."""


class Reconnects:
    """Attempts to connect, while calls are rejected because a provider could not be reached."""

    def __init__(self, endpoints: Mapping[str, Endpoint], circuits: Mapping[str, Circuit], clock: Clock) -> None:
        self._endpoints = endpoints
        self._circuits = circuits
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By provider."""

    def begin(self, provider: str) -> None:
        """A call was rejected: attempt to connect if that is why, and if nothing does already."""
        if provider in self._tasks or not self._circuits[provider].is_unreachable:
            return
        task = asyncio.create_task(self._connect(provider), name=f"connect to {provider}")
        self._tasks[provider] = task
        task.add_done_callback(lambda _: self._tasks.pop(provider))

    async def close(self) -> None:
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, provider: str) -> None:
        circuit, endpoint = self._circuits[provider], self._endpoints[provider]
        await self._clock.sleep(CONNECT_SECONDS)
        while circuit.is_unreachable:
            if await endpoint.can_connect():
                circuit.reached("it was connected again")
                return
            await self._clock.sleep(CONNECT_SECONDS)
