"""Virtual models and strategies over real sockets: listed is callable, and only the virtual id is shown."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest, ids
from tests.listening import Served, serving
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, replies

pytestmark = pytest.mark.anyio

CALLS = "/v1/chat/completions"
SMART = "models: [{id: smart, targets: [gpt-5, claude-opus-5]}]"
KEYS: Mapping[str, Sequence[str]] = {
    "all": ["*"],
    "smart": ["smart"],
    "no-gpt": ["smart", "!gpt-*"],
    "nothing-left": ["*", "!owner:*"],
    "targets": ["gpt-5", "claude-opus-5"],
}


def holding(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-canary-{key}"}


@asynccontextmanager
async def calling(
    fetch: FakeFetch, clock: FakeClock, more: str, *scripts: Script
) -> AsyncIterator[tuple[Served, list[FakeProvider]]]:
    """A proxy in front of the providers a (with gpt-5) and b (with gpt-5 and claude-opus-5)."""
    async with AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(fake_provider(script)) for script in scripts]
        keys = "".join(
            f"  - {{name: {name}, hash: '{digest(f'sk-canary-{name}')}', models: {json.dumps(rules)}}}\n"
            for name, rules in KEYS.items()
        )
        providers = "".join(
            f"  - {{name: {name}, base_url: '{up.url}/v1'}}\n" for name, up in zip("ab", ups, strict=True)
        )
        fetch.lists("a", "gpt-5")
        fetch.lists("b", "gpt-5", "claude-opus-5")
        async with serving(config_of(f"{more}\nproviders:\n{providers}keys:\n{keys}"), fetch, clock) as served:
            yield served, ups


def models_of(up: FakeProvider) -> list[str]:
    """The models in the requests to a provider."""
    return [msgspec.json.decode(request.body)["model"] for request in up.requests]


@pytest.mark.parametrize(
    ("key", "listed", "called"),
    [
        pytest.param("all", ["claude-opus-5", "gpt-5", "smart"], ["gpt-5"], id="all"),
        pytest.param("smart", ["smart"], ["gpt-5"], id="its id"),
        pytest.param("no-gpt", ["smart"], ["claude-opus-5"], id="the first target denied"),
        pytest.param("nothing-left", [], [], id="every target denied"),
        pytest.param("targets", ["claude-opus-5", "gpt-5"], [], id="only the targets"),
    ],
)
async def test_a_virtual_model_is_listed_retrieved_and_called_or_none_of_these(
    key: str, listed: list[str], called: list[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    fine = replies(completion("gpt-5"))
    async with calling(fetch, clock, SMART, fine, replies(completion("claude-opus-5"))) as (served, ups):
        body = (await served.client.get("/v1/models", headers=holding(key))).content
        retrieved = await served.client.get("/v1/models/smart", headers=holding(key))
        answer = await served.client.post(CALLS, json={"model": "smart", "messages": []}, headers=holding(key))

    assert ids(body) == listed
    status = 200 if called else 404
    assert (retrieved.status_code, answer.status_code) == (status, status)
    assert [model for up in ups for model in models_of(up)] == called
    if called:
        assert retrieved.content in body
        assert answer.json()["model"] == "smart"


async def test_a_call_falls_back_to_the_next_target_under_that_targets_own_id(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async def only_claude(exchange: Exchange) -> None:
        model = msgspec.json.decode(exchange.request.body)["model"]
        is_served = model == "claude-opus-5"
        await exchange.reply(msgspec.json.encode(completion(model)), 200 if is_served else 503)

    async with calling(fetch, clock, SMART, only_claude, only_claude) as (served, ups):
        answer = await served.client.post(CALLS, json={"model": "smart", "messages": []}, headers=holding("all"))

    assert (answer.status_code, answer.json()["model"]) == (200, "smart")
    assert [models_of(up) for up in ups] == [["gpt-5"], ["gpt-5", "claude-opus-5"]]


@pytest.mark.parametrize("own_id", ["gpt-5", "gpt-5-2025-08-07", "openai/gpt-5"])
async def test_a_response_contains_only_the_virtual_id_whatever_the_provider_calls_its_model(
    own_id: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    fine = replies(completion(own_id), headers={"openai-model": own_id})
    async with calling(fetch, clock, SMART, fine, fine) as (served, _):
        answer = await served.client.post(CALLS, json={"model": "smart", "messages": []}, headers=holding("all"))

    assert (answer.json()["model"], answer.headers["openai-model"]) == ("smart", "smart")
    assert "gpt" not in answer.text


@pytest.mark.parametrize("own_id", ["gpt-5", "gpt-5-2025-08-07"])
async def test_the_events_of_a_stream_contain_only_the_virtual_id(
    own_id: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    events = streams(*(chunk_event(own_id, text) for text in ("one", "two", "three")), DONE)
    async with calling(fetch, clock, SMART, events, events) as (served, _):
        body = {"model": "smart", "messages": [], "stream": True}
        answer = await served.client.post(CALLS, json=body, headers=holding("all"))

    assert answer.text.count('"model":"smart"') == 3
    assert "gpt" not in answer.text


@pytest.mark.parametrize("own_id", ["gpt-5", "gpt-5-2025-08-07"])
async def test_an_error_of_the_provider_contains_the_virtual_id(
    own_id: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    refusal = replies({"error": {"message": f"The model `{own_id}` has a context of 4 tokens", "code": own_id}}, 400)
    async with calling(fetch, clock, SMART, refusal, refusal) as (served, _):
        answer = await served.client.post(CALLS, json={"model": "smart", "messages": []}, headers=holding("all"))

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The model `smart` has a context of 4 tokens"
    assert "gpt" not in answer.text


async def test_two_equal_servers_share_200_calls_16_at_a_time(fetch: FakeFetch, clock: FakeClock) -> None:
    routing = "routing: [{match: 'gpt-*', strategy: least_busy}]"
    fine = replies(completion("gpt-5"))
    async with calling(fetch, clock, routing, fine, fine) as (served, ups):
        slots = asyncio.Semaphore(16)

        async def call() -> int:
            async with slots:
                body = {"model": "gpt-5", "messages": []}
                return (await served.client.post(CALLS, json=body, headers=holding("all"))).status_code

        statuses = await asyncio.gather(*(call() for _ in range(200)))

    assert Counter(statuses) == {200: 200}
    shares = [len(up.requests) for up in ups]
    assert sum(shares) == 200
    assert all(90 <= share <= 110 for share in shares), shares


async def test_the_calls_of_a_conversation_go_to_one_provider_and_conversations_to_all(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    routing = "routing: [{match: 'gpt-*', strategy: weighted}]"
    fine = replies(completion("gpt-5"))
    async with calling(fetch, clock, routing, fine, fine) as (served, ups):
        turns = []
        for number in range(12):
            body = {"model": "gpt-5", "messages": [], "prompt_cache_key": f"conversation {number}"}
            before = [len(up.requests) for up in ups]
            for _ in range(3):
                await served.client.post(CALLS, json=body, headers=holding("all"))
            turns.append([len(up.requests) - was for up, was in zip(ups, before, strict=True)])

    assert sorted(map(tuple, turns)) == [(0, 3)] * turns.count([0, 3]) + [(3, 0)] * turns.count([3, 0])
    assert {tuple(turn) for turn in turns} == {(0, 3), (3, 0)}
