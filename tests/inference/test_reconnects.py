"""A provider that could not be reached is connected again by the proxy itself, while calls are rejected."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.backoff import FAILURE_THRESHOLD
from proxy.inference.reconnects import CONNECT_SECONDS
from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, circuit_of, serving, until
from tests.providers.calls import completion
from tests.providers.scripted import FakeProvider, Script, replies
from tests.providers.server import Server

pytestmark = pytest.mark.anyio

FINE = replies(completion("m"))


class Restarted:
    """A provider that stops, and starts again on the same port."""

    def __init__(self, script: Script = FINE) -> None:
        self.running: Server = FakeProvider(script)
        self._script = script

    async def start(self) -> None:
        port = self.running.port
        self.running = FakeProvider(self._script)
        await self.running.start(port=port)

    async def stop(self) -> None:
        await self.running.stop()


@pytest.fixture
async def provider() -> AsyncIterator[Restarted]:
    provider = Restarted()
    await provider.start()
    yield provider
    await provider.stop()


def config(provider: Restarted, more: str = "") -> str:
    return (
        "groups: {default: {models: ['*'], call: true}}\n"
        f"providers: [{{name: a, base_url: 'http://{provider.running.address}/v1', {more}}}]"
    )


def rejected(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and "circuit breaker open" in answer.json()["error"]["message"]


async def open_circuit(served: Served) -> None:
    """Call the provider until it counts as unreachable, and once more."""
    for _ in range(FAILURE_THRESHOLD):
        assert (await served.call()).status_code == 502
    assert rejected(await served.call())
    assert circuit_of(served.app, "a").state == "open"


async def test_a_provider_that_can_be_connected_again_is_called_before_its_circuit_breaker_allows_one(
    fetch: FakeFetch, clock: FakeClock, provider: Restarted
) -> None:
    fetch.lists("a", "m")
    async with serving(config_of(config(provider)), fetch, clock) as served:
        await provider.stop()
        await open_circuit(served)
        await provider.start()
        assert rejected(await served.call())
        await clock.advance(CONNECT_SECONDS)
        await until(lambda: circuit_of(served.app, "a").state == "half_open")

        assert (await served.call()).status_code == 200
        assert (circuit_of(served.app, "a").state, provider.running.connections) == ("ok", 1)


async def test_attempts_to_connect_continue_while_the_provider_refuses_connections(
    fetch: FakeFetch, clock: FakeClock, provider: Restarted
) -> None:
    fetch.lists("a", "m")
    async with serving(config_of(config(provider)), fetch, clock) as served:
        await provider.stop()
        await open_circuit(served)
        for _ in range(3):
            await clock.advance(CONNECT_SECONDS)
            assert rejected(await served.call())
        await provider.start()
        await clock.advance(CONNECT_SECONDS)
        await until(lambda: circuit_of(served.app, "a").state == "half_open")


async def test_nothing_connects_to_a_provider_that_failed_otherwise(fetch: FakeFetch, clock: FakeClock) -> None:
    failing = Restarted(replies({"error": {"message": "Oops"}}, 502))
    await failing.start()
    fetch.lists("a", "m")
    async with serving(config_of(config(failing)), fetch, clock) as served:
        for _ in range(FAILURE_THRESHOLD + 1):
            await served.call()
        before = failing.running.connections
        await clock.advance(10 * CONNECT_SECONDS)

        assert rejected(await served.call())
        assert failing.running.connections == before
    await failing.stop()


async def test_a_stop_ends_the_attempts_to_connect(fetch: FakeFetch, clock: FakeClock, provider: Restarted) -> None:
    fetch.lists("a", "m")
    async with serving(config_of(config(provider)), fetch, clock) as served:
        await provider.stop()
        await open_circuit(served)
    await provider.start()
    await clock.advance(CONNECT_SECONDS)

    assert provider.running.connections == 0
