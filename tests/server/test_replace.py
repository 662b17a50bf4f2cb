"""What is kept when the configuration is replaced: lists, calls in progress, circuits, connections, memory."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.config import Config
from proxy.server.app import Proxy
from proxy.server.deployment import Deployment
from tests.fakes import FakeClock, FakeFetch, config_of, digest, run_pending_tasks
from tests.listening import Served, circuit_of, connections_of, serving, until
from tests.providers.scripted import Exchange, FakeProvider, fake_provider

pytestmark = pytest.mark.anyio

ALICE, BOB, OPS = "sk-fake-of-alice", "sk-fake-of-bob", "sk-fake-of-operator"
EVENT = b'data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
COMPLETION = b'{"object":"chat.completion","choices":[]}'


def config_with(*providers: str, keys: tuple[str, ...] = ("alice", "bob"), more: str = "") -> Config:
    secrets = {"alice": ALICE, "bob": BOB}
    entries = [f"  - {{name: {name}, hash: '{digest(secrets[name])}', models: ['*']}}" for name in keys]
    entries.append(f"  - {{name: ops, hash: '{digest(OPS)}', models: ['*'], admin: true}}")
    return config_of("\n".join(("providers:", *(f"  - {{{each}}}" for each in providers), "keys:", *entries, more)))


def hub(rules: str = "", name: str = "a", base_url: str = "http://127.0.0.1:9/v1") -> str:
    return f"name: {name}, base_url: '{base_url}'{rules and ', '}{rules}"


async def ids(served: Served, key: str = ALICE) -> list[str]:
    response = await served.client.get("/v1/models", headers=authorized(key))
    return [model["id"] for model in response.json()["data"]]


def authorized(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Streams:
    """A provider whose streams continue when the test says so."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.stream()
        await exchange.chunk(EVENT)
        self.begun += 1
        await self.may_end.wait()
        await exchange.chunk(DONE)
        await exchange.end()


@asynccontextmanager
async def streaming(served: Served, streams: Streams, key: str = ALICE) -> AsyncIterator[asyncio.Task[bytes]]:
    """A stream in progress. The task returns its body."""

    async def read() -> bytes:
        body = {"model": "m", "stream": True, "messages": []}
        response = await served.client.post("/v1/chat/completions", json=body, headers=authorized(key))
        return response.content

    begun = streams.begun
    reading = asyncio.create_task(read())
    await until(lambda: streams.begun > begun)
    try:
        yield reading
    finally:
        streams.may_end.set()
        await reading


@asynccontextmanager
async def provider_of(streams: Streams) -> AsyncIterator[FakeProvider]:
    async with fake_provider(streams) as provider:
        yield provider


# -- lists -------------------------------------------------------------------------------------------------------------


async def test_rules_are_applied_to_the_entries_in_memory(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x", "y")
    async with serving(config_with(hub()), fetch, clock) as served:
        assert await ids(served) == ["x", "y"]
        await served.app.replace(config_with(hub("exclude: [x], prefix: p/")))
        assert (await ids(served), fetch.requests["a"]) == (["p/y"], 1)


async def test_timestamps_failures_and_timers_are_kept(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x")
    async with serving(config_with(hub("ttl: 100s")), fetch, clock) as served:
        fetch.fails("a")
        await clock.advance(95)
        before = served.app.deployment.store.reports()
        await served.app.replace(config_with(hub("ttl: 100s, exclude: [y]"), keys=("alice",)))
        await run_pending_tasks()
        assert served.app.deployment.store.reports() == before
        assert before[0].failures > 0


async def test_a_provider_that_is_added_is_fetched_at_once(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x")
    fetch.lists("b", "y")
    async with serving(config_with(hub()), fetch, clock) as served:
        await served.app.replace(config_with(hub(), hub(name="b")))
        await run_pending_tasks()
        assert await ids(served) == ["x", "y"]
        assert (await served.client.get("/readyz")).status_code == 200
        assert fetch.requests == {"a": 1, "b": 1}


async def test_models_of_another_address_are_not_shown_while_it_is_fetched(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x")
    fetch.lists("b", "y")
    async with serving(config_with(hub(), hub(name="b")), fetch, clock) as served:
        fetch.hangs("a")
        await served.app.replace(config_with(hub(base_url="http://127.0.0.1:8/v1"), hub(name="b")))
        await run_pending_tasks()
        assert (await ids(served), fetch.requests["a"]) == (["y"], 2)


async def test_a_replaced_credential_keeps_the_list_which_is_fetched_at_once(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "x")
    async with serving(config_with(hub("api_key: sk-fake-old")), fetch, clock) as served:
        fetch.hangs("a")
        await served.app.replace(config_with(hub("api_key: sk-fake-new")))
        await run_pending_tasks()
        assert (await ids(served), fetch.requests["a"]) == (["x"], 2)


async def test_a_fetch_in_progress_is_continued(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x")
    async with serving(config_with(hub("ttl: 100s")), fetch, clock) as served:
        pending = fetch.hangs("a")
        await clock.advance(95)
        await served.app.replace(config_with(hub("ttl: 100s"), keys=("alice",)))
        fetch.lists("b", "x", "y")
        pending.set_result(await fetch(config_of("providers: [{name: b, base_url: 'http://h'}]").providers[0], 0))
        await run_pending_tasks()
        assert (await ids(served), fetch.requests["a"]) == (["x", "y"], 2)


async def test_lists_are_not_rendered_again_if_only_keys_change(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x")
    async with serving(config_with(hub(), keys=("alice",)), fetch, clock) as served:
        await ids(served)
        policy = served.app.deployment.access.identify([(b"x-api-key", ALICE.encode())]).policy
        before = served.app.deployment.store.view(policy).rendered
        await served.app.replace(config_with(hub()))
        view = served.app.deployment.store.cached_view(policy)
        assert view is not None
        assert view.rendered is before


async def test_lists_that_were_requested_are_rendered_and_compressed_before_rules_change(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "x", "y")
    async with serving(config_with(hub()), fetch, clock) as served:
        await ids(served)  # with gzip
        await served.app.replace(config_with(hub("exclude: [y]")))
        policy = served.app.deployment.access.identify([(b"x-api-key", ALICE.encode())]).policy
        view = served.app.deployment.store.cached_view(policy)
        assert view is not None
        assert view.rendered.gzip is not None


# -- keys and calls ----------------------------------------------------------------------------------------------------


async def test_a_stream_of_a_removed_key_finishes_and_the_key_is_rejected(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    streams = Streams()
    async with provider_of(streams) as provider:
        url = provider.url
        async with serving(config_with(hub(base_url=url)), fetch, clock) as served:
            async with streaming(served, streams, BOB) as reading:
                await served.app.replace(config_with(hub(base_url=url), keys=("alice",)))
                refused = await served.client.get("/v1/models", headers=authorized(BOB))
                assert refused.status_code == 401
            assert reading.result() == EVENT + DONE


async def test_a_stream_of_a_removed_provider_finishes_then_its_connections_are_closed(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "other")
    streams = Streams()
    async with provider_of(streams) as provider:
        before = config_with(hub(base_url=provider.url), hub(name="b"))
        async with serving(before, fetch, clock) as served:
            async with streaming(served, streams) as reading:
                connections = connections_of(served.app, "a")
                await served.app.replace(config_with(hub(name="b")))
                assert await ids(served) == ["other"]
                assert not connections.session.closed
            assert reading.result() == EVENT + DONE
            await until(lambda: connections.session.closed)


async def test_calls_in_progress_circuits_and_connections_outlive_the_configuration(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    streams = Streams()
    async with provider_of(streams) as provider:
        url = provider.url
        async with serving(config_with(hub(base_url=url)), fetch, clock) as served:
            async with streaming(served, streams):
                circuit, connections = circuit_of(served.app, "a"), connections_of(served.app, "a")
                circuit.failed("alice", "m")
                await served.app.replace(config_with(hub("max_in_flight: 1", base_url=url)))
                after = circuit_of(served.app, "a")
                assert after is circuit
                assert (after.in_flight, after.is_full, after.state) == (1, True, "degraded")
                assert connections_of(served.app, "a") is connections
            await until(lambda: circuit.in_flight == 0)
            assert not connections.session.closed


async def test_ids_of_responses_outlive_the_configuration_except_those_of_a_removed_key(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with serving(config_with(hub()), fetch, clock) as served:
        await served.app.deployment.inference()
        ledger = served.app.deployment._shared.resources(served.app.deployment.config).ledger
        for key in ("alice", "bob"):
            ledger.add(key, "resp_1", ledger.origin("a", "m"))
        await served.app.replace(config_with(hub(), keys=("alice",)))
        ledger.add("bob", "resp_2", ledger.origin("a", "m"))  # of a call in progress
        await served.app.replace(config_with(hub()))
        found = [(key, ledger.provider_of(key, each)) for key in ("alice", "bob") for each in ("resp_1", "resp_2")]
        assert found == [("alice", "a"), ("alice", ""), ("bob", ""), ("bob", "")]


async def test_a_request_that_waits_for_its_body_ends_with_the_configuration_it_began_with(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")

    async def completes(exchange: Exchange) -> None:
        await exchange.reply(COMPLETION)

    async with fake_provider(completes) as provider:
        before = config_with(hub(base_url=provider.url), more="server: {cors: ['https://app.example']}")
        async with serving(before, fetch, clock) as served:
            body = b'{"model":"m","messages":[]}'
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPS}\r\n"
                "Origin: https://app.example\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            async with served.raw(head) as (reader, writer):
                await until(lambda: served.app.deployment.requests == 1)
                generation = served.app.deployment.config.generation
                await served.app.replace(config_with(hub("exclude: ['*']", base_url=provider.url), keys=()))
                await served.app.replace(config_with(hub(name="b"), keys=()))
                writer.write(body)
                response = await reader.readuntil(b"\r\n\r\n")
                assert response.startswith(b"HTTP/1.1 200 ")
                assert f"x-config-generation: {generation}".encode() in response
                assert b"access-control-allow-origin: https://app.example" in response


# -- memory ------------------------------------------------------------------------------------------------------------


async def test_a_replaced_configuration_is_freed_without_the_garbage_collector(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    """That of the start is excluded from garbage collection (`gc.freeze`)."""
    fetch.lists("a", "m")
    async with serving(config_with(hub()), fetch, clock) as served:
        await ids(served)
        await served.app.deployment.inference()
        store, access = weakref.ref(served.app.deployment.store), weakref.ref(served.app.deployment.access)
        gc.disable()
        try:
            await served.app.replace(config_with(hub("exclude: [y]"), keys=("alice",)))
            await until(lambda: not served.app._retiring)
            assert access() is None
            assert store() is None or not vars(store())
        finally:
            gc.enable()


async def test_a_failure_while_a_configuration_is_prepared_changes_nothing(
    fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.lists("a", "x")

    async def fails(self: Deployment, before: Deployment) -> None:
        raise RuntimeError

    async with serving(config_with(hub("ttl: 100s")), fetch, clock) as served:
        monkeypatch.setattr(Deployment, "prepare", fails)
        before = served.app.deployment
        with pytest.raises(RuntimeError):
            await served.app.replace(config_with(hub("ttl: 100s, exclude: [x]")))
        assert served.app.deployment is before
        fetch.lists("a", "x", "y")
        await clock.advance(100)
        assert await ids(served) == ["x", "y"]


async def test_nothing_of_many_replacements_remains(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "x")
    async with serving(config_with(hub()), fetch, clock) as served:
        await served.app.deployment.inference()
        tasks = len(asyncio.all_tasks())
        for number in range(20):
            await served.app.replace(config_with(hub(f"exclude: [m{number}]"), hub(name=f"p{number}")))
        await until(lambda: not served.app._retiring)
        await run_pending_tasks()
        assert len(asyncio.all_tasks()) <= tasks + 2, "the added provider has two"
        assert isinstance(served.app, Proxy)
