"""Parameters that `overrides` change, in calls to real providers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, circuit_of, serving
from tests.providers.calls import completion
from tests.providers.scripted import FakeProvider, fake_provider, replies

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def calling(
    fetch: FakeFetch, clock: FakeClock, first: str, second: str = "[]", status: int = 200
) -> AsyncIterator[tuple[Served, FakeProvider, FakeProvider]]:
    """A proxy in front of the providers a and b with these `overrides`; a responds with this status."""
    async with (
        fake_provider(replies(completion("m"), status)) as a,
        fake_provider(replies(completion("m"))) as b,
    ):
        text = (
            "groups: {default: {models: ['*'], call: true}}\nproviders:\n"
            f"  - {{name: a, base_url: '{a.url}/v1', prefix: x/, aliases: {{m: own}}, overrides: {first}}}\n"
            f"  - {{name: b, base_url: '{b.url}/v1', overrides: {second}}}\n"
        )
        fetch.lists("a", "own")
        fetch.lists("b", "m")
        async with serving(config_of(text), fetch, clock) as served:
            yield served, a, b


async def test_a_parameter_is_changed_by_the_own_id_of_the_model(fetch: FakeFetch, clock: FakeClock) -> None:
    overrides = "[{match: own, rename_params: {max_tokens: max_completion_tokens}}, {match: m, set_params: {n: 2}}]"
    async with calling(fetch, clock, overrides) as (served, a, _):
        body = b'{ "model" : "m", "max_tokens" : 5, "x": 1e2 }'
        headers = {"Content-Type": "application/json"}
        answer = await served.client.post("/v1/chat/completions", content=body, headers=headers)

        assert answer.status_code == 200
        assert a.requests[0].body == b'{ "model" : "own", "max_completion_tokens" : 5, "x": 1e2 }'


async def test_a_parameter_of_a_long_body_is_changed_too(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, "[{match: '*', set_params: {n: 2}}]") as (served, a, _):
        answer = await served.call(input="x" * 700_000)

        assert answer.status_code == 200
        assert a.requests[0].json == {"model": "own", "input": "x" * 700_000, "n": 2}


async def test_after_a_failover_only_the_overrides_of_the_next_provider_apply(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    first, second = "[{match: '*', drop_params: [a]}]", "[{match: '*', set_params: {b: 2}}]"
    async with calling(fetch, clock, first, second, status=429) as (served, a, b):
        answer = await served.call(a=1)

        assert answer.status_code == 200
        assert [each.requests[0].json for each in (a, b)] == [{"model": "own"}, {"model": "m", "a": 1, "b": 2}]


async def test_a_call_that_would_select_another_model_is_not_sent(fetch: FakeFetch, clock: FakeClock) -> None:
    overrides = "[{match: '*', rename_params: {functions: tools}}]"
    async with calling(fetch, clock, overrides) as (served, a, _):
        answer = await served.call(functions=[{"type": "image_generation", "model": "secret"}])

        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
        assert (a.requests, circuit_of(served.app, "a").in_flight) == ([], 0)


async def test_a_form_is_not_changed(fetch: FakeFetch, clock: FakeClock) -> None:
    async with calling(fetch, clock, "[{match: '*', set_params: {language: de}}]") as (served, a, _):
        files = {"file": ("a.wav", b"RIFF", "audio/wav")}
        answer = await served.client.post("/v1/audio/transcriptions", data={"model": "m"}, files=files)

        assert answer.status_code == 200
        assert b"language" not in a.requests[0].body
