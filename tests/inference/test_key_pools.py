"""Calls to providers with several API keys: a rejected key is replaced by the next one, before failover."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from proxy.upstream.key_pool import REJECTED_FOR
from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, replies

pytestmark = pytest.mark.anyio

A, B, OTHER = "sk-1-canary-key-one", "sk-2-canary-key-two", "sk-canary-key-of-another"
FINE = replies(completion("m"))
LIMITED = replies({"error": {"message": "slow down"}}, 429, {"Retry-After": "60"})
REJECTED = replies({"error": {"message": f"no such key: {A}"}}, 401)


def by_key(scripts: Mapping[str, Script]) -> Script:
    """A script for each key, `FINE` for all others."""

    async def script(exchange: Exchange) -> None:
        await scripts.get(key_in(exchange), FINE)(exchange)

    return script


def key_in(exchange: Exchange) -> str:
    return exchange.request.headers["authorization"].removeprefix("Bearer ")


def keys_sent(provider: FakeProvider) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in provider.requests]


@asynccontextmanager
async def calling(
    fetch: FakeFetch, clock: FakeClock, scripts: Mapping[str, Script], more: str = "", *, keys: str = f"[{A}, {B}]"
) -> AsyncIterator[tuple[Served, FakeProvider, FakeProvider]]:
    """A proxy in front of provider a, with several keys, and then provider b with one."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(fake_provider(by_key(scripts)))
        second = await stack.enter_async_context(fake_provider(FINE))
        text = f"""\
groups: {{default: {{models: ['*'], call: true}}}}
keys: [{{name: ops, hash: "{digest("ops")}", models: ['*'], admin: true}}]
providers:
  - {{name: a, base_url: "{first.url}/v1", api_keys: {keys}{more}}}
  - {{name: b, base_url: "{second.url}/v1", api_key: {OTHER}}}
"""
        fetch.lists("a", "m", "only-a")
        fetch.lists("b", "m")
        yield await stack.enter_async_context(serving(config_of(text), fetch, clock)), first, second


async def state_of_calls(served: Served) -> str:
    answer = await served.client.get("/health", headers={"Authorization": "Bearer ops"})
    state = answer.json()["providers"][0]["calls"]
    assert isinstance(state, str)
    return state


def code(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("error", {}).get("code")


@pytest.mark.parametrize(
    ("refusal", "reason", "level"),
    [
        pytest.param(REJECTED, "status 401, authentication failed", logging.WARNING, id="401"),
        pytest.param(replies({}, 402), "status 402, not enough credit", logging.WARNING, id="402"),
        pytest.param(LIMITED, "status 429, rate limit exceeded", logging.INFO, id="429"),
    ],
)
async def test_call_with_a_rejected_key_is_sent_with_the_next_key(
    refusal: Script, reason: str, level: int, fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "models_proxy")
    async with calling(fetch, clock, {A: refusal}) as (served, first, second):
        for _ in range(2):
            assert code(await served.call()) == (200, None)
        assert (keys_sent(first), second.requests) == ([A, B, B], [])
        assert await state_of_calls(served) == "ok"
    (record,) = [record for record in caplog.records if "API key" in record.getMessage()]
    prefix, _, text = record.getMessage().partition(": ")
    assert (prefix.split()[0], record.levelno) == ("call", level)
    assert text == f"provider a: API key 1 was rejected ({reason}); retrying with API key 2"
    assert "canary" not in caplog.text


async def test_stream_is_requested_with_the_next_key(fetch: FakeFetch, clock: FakeClock) -> None:
    events = chunk_event("m", "hi"), DONE
    async with calling(fetch, clock, {A: LIMITED, B: streams(*events)}) as (served, first, _):
        answer = await served.call(stream=True)
    assert (answer.status_code, answer.content, keys_sent(first)) == (200, b"".join(events), [A, B])


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
async def test_other_errors_are_not_repeated_with_another_key(status: int, fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, {A: replies({}, status)}) as (served, first, _):
        await served.call("only-a")
        assert keys_sent(first) == [A]


async def test_call_fails_over_when_all_keys_are_rejected(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, {A: REJECTED, B: LIMITED}) as (served, first, second):
        for _ in range(2):
            assert code(await served.call()) == (200, None)
        assert (keys_sent(first), keys_sent(second)) == ([A, B], [OTHER, OTHER])
        assert await state_of_calls(served) == "limited"
        await clock.advance(60)
        assert await state_of_calls(served) == "ok"
        await served.call()
        assert keys_sent(first) == [A, B, B]


async def test_provider_whose_keys_are_all_rejected_is_limited(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, {A: REJECTED, B: REJECTED}) as (served, first, _):
        assert code(await served.call("only-a")) == (502, "provider_auth")
        answer = await served.call("only-a")
        assert answer.json()["error"]["message"] == (
            "The provider of this model has no API key that can be used (all were rejected or rate-limited); "
            "retry after 300 s."
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "300")
        assert (keys_sent(first), await state_of_calls(served)) == ([A, B], "limited")
        await clock.advance(REJECTED_FOR)
        assert await state_of_calls(served) == "degraded"
        await served.call("only-a")
        assert keys_sent(first) == [A, B, A, B]


async def test_model_is_limited_until_the_first_key_can_be_used(fetch: FakeFetch, clock: FakeClock) -> None:
    sooner = replies({"error": {"message": "slow down"}}, 429, {"Retry-After": "10"})
    async with calling(fetch, clock, {A: sooner, B: LIMITED}) as (served, first, _):
        answer = await served.call("only-a")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
        assert (await served.call("only-a")).headers["retry-after"] == "10"
        await clock.advance(10)
        await served.call("only-a")
        assert keys_sent(first) == [A, B, A]


async def test_spread_sends_calls_with_each_key_in_turn(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, {}, ", key_strategy: spread") as (served, first, _):
        for _ in range(4):
            await served.call()
        assert keys_sent(first) == [A, B, A, B]


async def test_no_key_of_a_pool_is_shown(fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    masked = f"{A[:8]}****{A[-4:]}"
    quoting = replies({"error": {"message": f"not {A} nor {B} nor {masked}"}}, 400)
    async with calling(fetch, clock, {A: REJECTED, B: quoting}) as (served, first, _):
        answer = await served.call("only-a")
    assert (answer.status_code, keys_sent(first)) == (400, [A, B])
    assert answer.json()["error"]["message"] == "not *** nor *** nor ***"
    assert "canary" not in f"{answer.headers} {caplog.text}"


async def test_stored_response_is_requested_with_the_next_key(fetch: FakeFetch, clock: FakeClock) -> None:
    created = replies({"id": "resp_1", "object": "response", "model": "only-a", "status": "completed", "output": []})

    async def rejects_get(exchange: Exchange) -> None:
        await (REJECTED if exchange.request.method == "GET" else created)(exchange)

    async with calling(fetch, clock, {A: rejects_get, B: created}) as (served, first, _):
        headers = {"Authorization": "Bearer ops"}
        await served.client.post("/v1/responses", json={"model": "only-a", "input": "x"}, headers=headers)
        answer = await served.client.get("/v1/responses/resp_1", headers=headers)
    assert (answer.status_code, keys_sent(first)) == (200, [A, A, B])
