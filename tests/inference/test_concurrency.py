"""Calls of providers at their concurrency limit: they wait in a queue, round-robin by key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec
import pytest

from proxy.inference.circuit import KEPT
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, circuit_of, post, serving, until
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, fake_provider

pytestmark = pytest.mark.anyio

KEYS = {name: f"mp-canary-of-{name}-000000000000000000000000" for name in ("alice", "bob", "admin")}
AT_LIMIT = "The provider of this model is at its concurrency limit (max_in_flight); retry after 1 s."


@dataclass
class Held:
    """A provider that answers each request when `answer` is called."""

    exchanges: list[Exchange] = field(default_factory=list)
    _answers: list[asyncio.Event] = field(default_factory=list)
    status: int = 200

    async def script(self, exchange: Exchange) -> None:
        answer = asyncio.Event()
        self.exchanges.append(exchange)
        self._answers.append(answer)
        await answer.wait()
        await exchange.reply(msgspec.json.encode(completion("m")), self.status)

    def answer(self, index: int) -> None:
        """Answer the request with this index."""
        self._answers[index].set()

    @property
    def prompts(self) -> list[object]:
        return [exchange.request.json["user"] for exchange in self.exchanges]


@asynccontextmanager
async def full(
    fetch: FakeFetch, clock: FakeClock, *settings: str, limit: int = 1
) -> AsyncIterator[tuple[Served, Sequence[Held]]]:
    """A proxy in front of providers a, b ..., each with the model `m` and as many calls of alice as it takes."""
    async with AsyncExitStack() as stack:
        held = []
        keys = ", ".join(f'{{name: {name}, hash: "{digest(key)}", models: ["*"]}}' for name, key in KEYS.items())
        text = f"keys: [{keys.replace('name: admin', 'name: admin, admin: true')}]\nproviders:\n"
        for name, more in zip("abc", settings, strict=False):
            held.append(Held())
            provider = await stack.enter_async_context(fake_provider(held[-1].script))
            text += f'  - {{name: {name}, base_url: "{provider.url}/v1", max_in_flight: {limit}, {more}}}\n'
            fetch.lists(name, "m", f"only-{name}")
        served = await stack.enter_async_context(serving(config_of(text), fetch, clock))
        started = [
            asyncio.create_task(call(served, "alice", f"alice-{name}-{number}", f"only-{name}"))
            for name in "abc"[: len(held)]
            for number in range(limit - limit // KEPT)
        ]
        await until(lambda: all(len(each.exchanges) == limit - limit // KEPT for each in held))
        yield served, held
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


async def call(served: Served, key: str, prompt: str = "waits", model: str = "m") -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEYS[key]}"}
    return await served.client.post("/v1/chat/completions", json={"model": model, "user": prompt}, headers=headers)


def queued(served: Served, provider: str = "a") -> int:
    return circuit_of(served.app, provider).queued


def rejection(answer: httpx.Response) -> tuple[int, str | None, object]:
    return answer.status_code, answer.headers.get("retry-after"), answer.json()["error"]["message"]


async def test_a_call_waits_for_a_slot(fetch: FakeFetch, clock: FakeClock) -> None:
    async with full(fetch, clock, "queue: {timeout: 60s}") as (served, (provider,)):
        waiting = asyncio.create_task(call(served, "alice"))
        await until(lambda: queued(served) == 1)
        assert len(provider.exchanges) == 1
        provider.answer(0)
        await until(lambda: len(provider.exchanges) == 2)
        provider.answer(1)
        answer = await waiting

        assert (answer.status_code, circuit_of(served.app, "a").in_flight, queued(served)) == (200, 0, 0)


async def test_a_call_that_waited_until_the_timeout_is_503_with_retry_after(fetch: FakeFetch, clock: FakeClock) -> None:
    async with full(fetch, clock, "queue: {timeout: 100ms}") as (served, (provider,)):
        answer = await call(served, "alice")

        assert rejection(answer) == (503, "1", AT_LIMIT)
        assert (len(provider.exchanges), queued(served), circuit_of(served.app, "a").in_flight) == (1, 0, 1)


@pytest.mark.parametrize("size", [0, 1])
async def test_a_call_beyond_the_queue_is_503_immediately(fetch: FakeFetch, clock: FakeClock, size: int) -> None:
    async with full(fetch, clock, f"queue: {{size: {size}, timeout: 60s}}") as (served, (_,)):
        waiting = [asyncio.create_task(call(served, "alice")) for _ in range(size)]
        await until(lambda: queued(served) == size)
        assert rejection(await call(served, "alice")) == (503, "1", AT_LIMIT)
        for task in waiting:
            task.cancel()
        await until(lambda: queued(served) == 0)


async def test_calls_of_a_flooding_key_wait_longer_than_the_one_of_another_key(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with full(fetch, clock, "queue: {size: 5, timeout: 60s}") as (served, (provider,)):
        flood = [asyncio.create_task(call(served, "alice", f"flood-{number}")) for number in range(5)]
        await until(lambda: queued(served) == 5)
        other = asyncio.create_task(call(served, "bob", "single"))
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        assert [rejection(task.result()) for task in done] == [(503, "1", AT_LIMIT)], "the newest makes room"
        for index in range(6):
            await until(lambda: len(provider.exchanges) > index)  # noqa: B023
            provider.answer(index)
        await asyncio.gather(other, *flood)

        assert "single" in provider.prompts[1:3]
        assert len(provider.prompts) == 6


async def test_a_call_does_not_wait_while_another_provider_is_below_its_limit(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with full(fetch, clock, "queue: {timeout: 60s}", "queue: {timeout: 60s}") as (served, (first, second)):
        second.answer(0)
        await until(lambda: circuit_of(served.app, "b").in_flight == 0)
        waiting = asyncio.create_task(call(served, "alice"))
        await until(lambda: len(second.exchanges) == 2)
        second.answer(1)

        assert ((await waiting).status_code, len(first.exchanges)) == (200, 1)


async def test_a_call_that_waited_until_the_timeout_waits_at_the_next_provider(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with full(fetch, clock, "queue: {timeout: 50ms}", "queue: {timeout: 60s}") as (served, (first, second)):
        waiting = asyncio.create_task(call(served, "alice"))
        await until(lambda: (queued(served, "a"), queued(served, "b")) == (0, 1))
        second.answer(0)
        await until(lambda: len(second.exchanges) == 2)
        second.answer(1)

        assert ((await waiting).status_code, len(first.exchanges)) == (200, 1)


async def test_a_call_waits_at_a_provider_with_failover_false_although_another_is_free(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    settings = "failover: false, queue: {timeout: 50ms}"
    async with full(fetch, clock, settings, "") as (served, (_, second)):
        second.answer(0)
        await until(lambda: circuit_of(served.app, "b").in_flight == 0)

        assert rejection(await call(served, "alice")) == (503, "1", AT_LIMIT)
        assert len(second.exchanges) == 1


async def test_the_time_in_the_queue_counts_for_first_byte_timeout(fetch: FakeFetch, clock: FakeClock) -> None:
    settings = "first_byte_timeout: 1s, queue: {timeout: 60s}"
    async with full(fetch, clock, settings, limit=2) as (served, (_,)):
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await call(served, "alice", model="only-a")

        assert answer.status_code in (503, 504)
        assert loop.time() - began < 1.7


async def test_a_client_that_disconnects_while_it_waits_is_removed_from_the_queue(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with full(fetch, clock, "queue: {timeout: 60s}") as (served, (provider,)):
        request = post(b'{"model": "m"}', Authorization=f"Bearer {KEYS['alice']}")
        async with served.raw(request):
            await until(lambda: queued(served) == 1)
        await until(lambda: queued(served) == 0)
        provider.answer(0)
        await until(lambda: circuit_of(served.app, "a").in_flight == 0)

        assert len(provider.exchanges) == 1


async def test_calls_in_the_queue_are_rejected_when_the_circuit_breaker_opens(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with full(fetch, clock, "queue: {timeout: 60s}") as (served, (provider,)):
        waiting = [asyncio.create_task(call(served, "alice", model="only-a")) for _ in range(3)]
        await until(lambda: queued(served) == 3)
        for _ in range(4):
            circuit_of(served.app, "a").failed("alice", "only-a")
        provider.status = 503
        provider.answer(0)
        messages = {(await task).json()["error"]["message"].partition(";")[0] for task in waiting}

        assert messages == {"The provider of this model is unavailable (circuit breaker open)"}
        assert (circuit_of(served.app, "a").in_flight, len(provider.exchanges)) == (0, 1)


async def test_health_shows_calls_in_progress_and_in_the_queue(fetch: FakeFetch, clock: FakeClock) -> None:
    async with full(fetch, clock, "queue: {timeout: 60s}") as (served, (_,)):
        waiting = asyncio.create_task(call(served, "alice"))
        await until(lambda: queued(served) == 1)
        health = await served.client.get("/health", headers={"Authorization": f"Bearer {KEYS['admin']}"})
        waiting.cancel()

        assert [(each["in_flight"], each["queued"]) for each in health.json()["providers"]] == [(1, 1)]
