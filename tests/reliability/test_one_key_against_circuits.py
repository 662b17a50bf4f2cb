"""No caller's key closes a provider, or a model of it, to the calls of other keys."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from tests.fakes import FakeClock, FakeFetch, config_of, digest
from tests.listening import Served, serving
from tests.providers.calls import chunk_event, completion
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, hangs, replies, resets
from tests.providers.server import closed_port

pytestmark = pytest.mark.anyio

KEYS = {name: f"mp-canary-of-{name}-000000000000000000000000" for name in ("mallory", "bob", "carol", "ops")}
FINE = replies(completion("m"))
OPEN = "The provider of this model is unavailable (circuit breaker open)"


def limited(seconds: int) -> Script:
    return replies({"error": {"message": "slow down"}}, 429, {"Retry-After": str(seconds)})


async def interrupts(exchange: Exchange) -> None:
    await exchange.stream()
    await exchange.chunk(chunk_event("m", "x"))
    exchange.reset()


FAULTS = [
    pytest.param(hangs, id="slow calls"),
    pytest.param(replies({}, 502), id="status 502"),
    pytest.param(replies({}, 503), id="status 503"),
    pytest.param(resets, id="resets"),
    pytest.param(interrupts, id="interrupted streams"),
    pytest.param(replies(b'{"cut off'), id="truncated responses"),
]


@dataclass
class Scripts:
    """What the provider does, by the `user` of the request: the name of the key that called."""

    by_user: dict[str, Script] = field(default_factory=dict)

    async def run(self, exchange: Exchange) -> None:
        await self.by_user.get(exchange.request.json["user"], FINE)(exchange)


@asynccontextmanager
async def provider_for(
    fetch: FakeFetch, clock: FakeClock, scripts: Scripts, more: str = "", *, port: int | None = None
) -> AsyncIterator[tuple[Served, FakeProvider]]:
    """A proxy in front of one provider with the models `m` and `n`, whose response depends on the caller.

    `port`: where calls are sent instead.
    """
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(fake_provider(scripts.run))
        if port:
            provider.url = f"http://127.0.0.1:{port}"
        keys = ", ".join(f'{{name: {name}, hash: "{digest(key)}", models: ["*"]}}' for name, key in KEYS.items())
        text = f"""\
keys: [{keys.replace("name: ops", "name: ops, admin: true")}]
defaults: {{first_byte_timeout: 250ms}}
providers: [{{name: a, base_url: "{provider.url}/v1"{more}}}]
"""
        fetch.lists("a", "m", "n")
        yield await stack.enter_async_context(serving(config_of(text), fetch, clock)), provider


async def call(served: Served, key: str, model: str = "m") -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEYS[key]}"}
    return await served.client.post("/v1/chat/completions", json={"model": model, "user": key}, headers=headers)


async def calls(served: Served, key: str, number: int, model: str = "m") -> list[int]:
    return [(await call(served, key, model)).status_code for _ in range(number)]


async def is_rejected(served: Served, key: str, model: str = "m") -> bool:
    """Whether the circuit breaker rejects a call."""
    answer = await call(served, key, model)
    return answer.status_code == 503 and OPEN in answer.text


async def health(served: Served) -> tuple[str, str, object]:
    """The status of the proxy, the state of the provider's calls, and its open circuits."""
    answer = await served.client.get("/health", headers={"Authorization": f"Bearer {KEYS['ops']}"})
    (provider,) = answer.json()["providers"]
    return answer.json()["status"], provider["calls"], provider["open_circuits"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_failures_of_one_key_close_a_model_for_this_key_only(
    fault: Script, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with provider_for(fetch, clock, Scripts({"mallory": fault})) as (served, _):
        await calls(served, "mallory", 5)

        assert await is_rejected(served, "mallory")
        assert await calls(served, "bob", 1) == [200]


async def test_one_key_cannot_close_a_model_with_a_few_failures_of_others(fetch: FakeFetch, clock: FakeClock) -> None:
    fails = replies({}, 502)
    async with provider_for(fetch, clock, Scripts({"mallory": fails, "bob": fails})) as (served, _):
        await calls(served, "mallory", 4)
        await calls(served, "bob", 1)

        assert await calls(served, "carol", 1) == [200]


async def test_failures_of_two_keys_close_a_model_for_all(fetch: FakeFetch, clock: FakeClock) -> None:
    fails = replies({}, 502)
    async with provider_for(fetch, clock, Scripts({"mallory": fails, "bob": fails})) as (served, provider):
        for _ in range(3):
            await calls(served, "mallory", 1)
            await calls(served, "bob", 1)
        requests = len(provider.requests)

        assert await is_rejected(served, "carol")
        assert len(provider.requests) == requests
        assert await calls(served, "carol", 1, "n") == [200], "another model of the provider"


async def test_failures_of_two_keys_with_two_models_close_the_provider(fetch: FakeFetch, clock: FakeClock) -> None:
    fails = replies({}, 502)
    async with provider_for(fetch, clock, Scripts({"mallory": fails, "bob": fails})) as (served, _):
        fetch.lists("a", "m", "n", "o")
        await clock.advance(300)
        for model in ("m", "n"):
            for key in ("mallory", "bob"):
                await calls(served, key, 2, model)

        assert await is_rejected(served, "carol", "o")


async def test_failures_of_one_key_with_many_models_do_not_close_the_provider(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with provider_for(fetch, clock, Scripts({"mallory": replies({}, 502)})) as (served, _):
        for model in ("m", "n"):
            await calls(served, "mallory", 6, model)

        assert await calls(served, "bob", 1) == [200]


async def test_missing_connections_close_the_provider_whoever_calls(fetch: FakeFetch, clock: FakeClock) -> None:
    async with provider_for(fetch, clock, Scripts(), port=closed_port()) as (served, _):
        assert await calls(served, "mallory", 5) == [502] * 5

        assert await is_rejected(served, "bob", "n")
        assert await health(served) == ("degraded", "open", [])


async def test_a_key_whose_calls_fail_cannot_keep_a_model_closed_that_works_again(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fails = replies({}, 502)
    scripts = Scripts({"mallory": fails, "bob": fails})
    async with provider_for(fetch, clock, scripts) as (served, _):
        for _ in range(3):
            await calls(served, "mallory", 1)
            await calls(served, "bob", 1)
        del scripts.by_user["bob"]
        await clock.advance(40)
        await calls(served, "mallory", 20)  # takes the first probe, which fails

        assert await calls(served, "bob", 1) == [200]
        assert await calls(served, "carol", 1) == [200]


async def test_a_probe_that_hangs_keeps_a_model_closed_for_other_keys_for_one_second(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fails = replies({}, 502)
    scripts = Scripts({"mallory": fails, "bob": fails})
    async with provider_for(fetch, clock, scripts) as (served, _):
        for _ in range(3):
            await calls(served, "mallory", 1)
            await calls(served, "bob", 1)
        del scripts.by_user["bob"]
        await clock.advance(40)
        scripts.by_user["mallory"] = hangs
        await calls(served, "mallory", 1)
        await clock.advance(1)

        assert await calls(served, "bob", 1) == [200]


@pytest.mark.parametrize("seconds", [61, 3600, 259_200])
async def test_a_429_pauses_a_model_for_a_minute_at_most(seconds: int, fetch: FakeFetch, clock: FakeClock) -> None:
    scripts = Scripts({"mallory": limited(seconds)})
    async with provider_for(fetch, clock, scripts) as (served, provider):
        answer = await call(served, "mallory")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, str(seconds))
        answer = await call(served, "mallory")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert len(provider.requests) == 1
        del scripts.by_user["mallory"]
        await clock.advance(60)
        assert await calls(served, "mallory", 1) == [200]


async def test_a_429_of_one_key_pauses_the_model_for_this_key_only(fetch: FakeFetch, clock: FakeClock) -> None:
    scripts = Scripts({"mallory": limited(30), "bob": limited(30)})
    async with provider_for(fetch, clock, scripts) as (served, provider):
        assert await calls(served, "mallory", 3) == [429] * 3
        assert await calls(served, "carol", 1) == [200]
        assert len(provider.requests) == 2
        assert await calls(served, "bob", 1) == [429]
        assert await calls(served, "carol", 1) == [429], "the provider limits the calls of two keys"
        assert (len(provider.requests), await calls(served, "carol", 1, "n")) == (3, [200])


@pytest.mark.parametrize("status", [401, 402])
async def test_one_key_cannot_make_all_api_keys_of_a_provider_unusable_for_others(
    status: int, fetch: FakeFetch, clock: FakeClock
) -> None:
    scripts = Scripts({"mallory": replies({"error": {"message": "too many tokens for this credit"}}, status)})
    keys = ", api_keys: [sk-canary-one, sk-canary-two]"
    async with provider_for(fetch, clock, scripts, keys) as (served, provider):
        await calls(served, "mallory", 2)
        assert len(provider.requests) == 2, "both API keys were rejected"

        assert await calls(served, "bob", 1, "n") == [200]


async def test_health_shows_the_circuits_of_models_and_of_the_provider(fetch: FakeFetch, clock: FakeClock) -> None:
    fails = replies({}, 502)
    async with provider_for(fetch, clock, Scripts({"mallory": fails, "bob": fails})) as (served, _):
        assert await health(served) == ("ok", "ok", [])
        await calls(served, "mallory", 1)
        assert await health(served) == ("ok", "degraded", [])
        await calls(served, "mallory", 4)
        of_mallory = {"model": "m", "key": "mallory", "state": "open"}
        assert await health(served) == ("degraded", "degraded", [of_mallory])
        await calls(served, "bob", 2)
        of_all = {"model": "m", "key": None, "state": "open"}
        assert await health(served) == ("degraded", "degraded", [of_all, of_mallory])
        await clock.advance(40)
        half_open = [{**circuit, "state": "half_open"} for circuit in (of_all, of_mallory)]
        assert await health(served) == ("degraded", "degraded", half_open)
        await calls(served, "carol", 1)
        assert await health(served) == ("ok", "ok", [])


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing can be opened. What is open can be used."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_callers_that_use_up_all_descriptors_close_no_provider(fetch: FakeFetch, clock: FakeClock) -> None:
    closes = replies(completion("m"), headers={"Connection": "close"})
    async with provider_for(fetch, clock, Scripts({"bob": closes})) as (served, _):
        assert await calls(served, "bob", 1) == [200]
        with no_descriptors():
            assert await calls(served, "mallory", 6) == [502] * 6

        assert await calls(served, "bob", 1) == [200]
        assert await health(served) == ("ok", "ok", [])
