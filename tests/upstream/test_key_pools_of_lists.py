"""Model lists of providers with several API keys, and the keys that lists and calls share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from proxy.errors import UpstreamError
from proxy.upstream.key_pool import LISTS, REJECTED_FOR
from proxy.upstream.lists import ListFetcher
from tests.fakes import HastyClock
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, replies
from tests.upstream.fetching import failure, fetch_list, ids, provider

pytestmark = pytest.mark.anyio

A, B, C = "sk-canary-key-a", "sk-canary-key-b", "sk-canary-key-c"
LIST = replies({"data": [{"id": "m"}]})
REJECTED = replies({"error": {"message": f"no such key: {A}"}}, 401)
LIMITED = replies({"error": {"message": "slow down"}}, 429, {"Retry-After": "60"})


@asynccontextmanager
async def listing(scripts: Mapping[str, Script]) -> AsyncIterator[FakeProvider]:
    """A provider with a script for each key, `LIST` for all others."""

    async def script(exchange: Exchange) -> None:
        await scripts.get(exchange.request.headers["authorization"].removeprefix("Bearer "), LIST)(exchange)

    async with fake_provider(script) as server:
        yield server


def keys_sent(server: FakeProvider) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests]


@pytest.mark.parametrize("refusal", [pytest.param(REJECTED, id="401"), pytest.param(LIMITED, id="429")])
async def test_list_is_fetched_with_the_next_key_after_a_rejection(
    refusal: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "models_proxy")
    async with listing({A: refusal}) as server:
        result = await fetch_list(provider(f"{server.url}/v1", api_keys=[A, B]))
    assert (ids(result), result.attempts, keys_sent(server)) == (["m"], 1, [A, B])
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("model list: provider a: API key 1 was rejected (status 4")
    assert "canary" not in caplog.text


async def test_list_is_fetched_with_the_first_key_that_is_not_cooling() -> None:
    clock = HastyClock()
    async with listing({A: REJECTED}) as server:
        target = provider(f"{server.url}/v1", api_keys=[A, B])
        fetch = ListFetcher([target], clock)
        for seconds in (0, 1, REJECTED_FOR):
            await clock.sleep(seconds)
            await fetch(target, 0)
    assert keys_sent(server) == [A, B, B, A, B]


async def test_list_fails_with_the_error_of_the_last_key_when_all_are_rejected() -> None:
    async with listing(dict.fromkeys([A, B, C], REJECTED)) as server:
        error = await failure(provider(f"{server.url}/v1", api_keys=[A, B, C]))
    assert (error.kind, keys_sent(server)) == ("unauthorized", [A, B, C])
    assert error.reason.startswith("authentication failed (401")
    assert error.reason.endswith("check the provider's api_keys")
    assert "canary" not in error.reason


async def test_list_is_fetched_with_the_first_key_while_all_are_cooling() -> None:
    async with listing({A: REJECTED, B: REJECTED}) as server:
        target = provider(f"{server.url}/v1", api_keys=[A, B])
        fetch = ListFetcher([target], HastyClock())
        for _ in range(2):
            with pytest.raises(UpstreamError, match=r"authentication failed \(401"):
                await fetch(target, 0)
    assert keys_sent(server) == [A, B, A]


async def test_key_that_a_list_found_rejected_is_not_used_for_calls() -> None:
    async with listing({A: REJECTED}) as server:
        target = provider(f"{server.url}/v1", api_keys=[A, B])
        fetch = ListFetcher([target], HastyClock())
        await fetch(target, 0)
    assert fetch.keys_of(target).acquire("m") == B


async def test_key_whose_rate_limit_for_lists_is_exceeded_is_used_for_calls() -> None:
    async with listing({A: LIMITED}) as server:
        target = provider(f"{server.url}/v1", api_keys=[A, B])
        fetch = ListFetcher([target], HastyClock())
        await fetch(target, 0)
    assert [fetch.keys_of(target).acquire(scope) for scope in (LISTS, "m")] == [B, A]
