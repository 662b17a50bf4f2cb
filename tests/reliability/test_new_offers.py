"""A provider that newly lists a model does not get its prompts by failover."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import Served, serving
from tests.providers.calls import completion
from tests.providers.scripted import FakeProvider, fake_provider, replies

pytestmark = pytest.mark.anyio

FINE = replies(completion("m"))
LIMITED = replies({"error": {"message": "slow down"}}, 429)


@asynccontextmanager
async def calling(
    fetch: FakeFetch, clock: FakeClock, *settings: str, more: str = ""
) -> AsyncIterator[tuple[Served, Sequence[FakeProvider]]]:
    """A proxy in front of providers a, b ... with these settings. The first rejects all calls with 429."""
    async with AsyncExitStack() as stack:
        ups = [
            await stack.enter_async_context(fake_provider(FINE if index else LIMITED)) for index in range(len(settings))
        ]
        providers = "".join(
            f"  - {{name: {name}, base_url: '{up.url}/v1'{', ' * bool(each)}{each}}}\n"
            for name, up, each in zip("abc", ups, settings, strict=False)
        )
        text = f"groups: {{default: {{models: ['*'], call: true}}}}\n{more}\nproviders:\n{providers}"
        yield await stack.enter_async_context(serving(config_of(text), fetch, clock)), ups


def requests(ups: Sequence[FakeProvider]) -> list[int]:
    return [len(up.requests) for up in ups]


async def refreshed(clock: FakeClock) -> None:
    await clock.advance(300)


@pytest.mark.parametrize("first", [("other",), ("m",)], ids=["new", "in its first list"])
async def test_calls_fail_over_to_a_provider_whose_first_list_had_the_model(
    first: Sequence[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", *first)
    async with calling(fetch, clock, "", "") as (served, ups):
        fetch.lists("b", "other", "m")
        await refreshed(clock)
        answer = await served.call()

        assert (answer.status_code, requests(ups)) == ((429, [1, 0]) if first == ("other",) else (200, [1, 1]))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("failover_to: any", ""), id="any"),
        pytest.param(("", "models: [m]"), id="declared"),
        pytest.param(("", "accept: ['m*']"), id="accepted"),
    ],
)
async def test_calls_fail_over_to_a_new_offer_that_the_operator_named(
    settings: Sequence[str], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "other")
    async with calling(fetch, clock, *settings) as (served, ups):
        fetch.lists("b", "other", "m")
        await refreshed(clock)

        assert ((await served.call()).status_code, requests(ups)) == (200, [1, 1])


async def test_new_offer_of_the_same_owner_gets_no_calls(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "other")
    async with calling(fetch, clock, "owner: acme, failover_to: same_owner", "owner: acme") as (served, ups):
        fetch.lists("b", "other", "m")
        await refreshed(clock)

        assert ((await served.call()).status_code, requests(ups)) == (429, [1, 0])


async def test_first_list_can_arrive_late(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.fails("b")
    async with calling(fetch, clock, "", "may_be_empty: true") as (served, ups):
        fetch.lists("b")
        await refreshed(clock)
        fetch.lists("b", "m")
        await refreshed(clock)

        assert ((await served.call()).status_code, requests(ups)) == (200, [1, 1])


async def test_model_that_returns_is_no_new_offer(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "m", "n")
    async with calling(fetch, clock, "", "") as (served, ups):
        fetch.lists("b", "n")
        await refreshed(clock)
        assert ((await served.call()).status_code, requests(ups)) == (429, [1, 0])
        fetch.lists("b", "m", "n")
        await refreshed(clock)

        assert ((await served.call()).status_code, requests(ups)) == (200, [2, 1])


async def test_new_name_of_a_listed_model_gets_no_calls(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", {"id": "n"})
    async with calling(fetch, clock, "", "list_aliases: true") as (served, ups):
        fetch.lists("b", {"id": "n", "aliases": ["m"]})
        await refreshed(clock)

        assert ((await served.call()).status_code, requests(ups)) == (429, [1, 0])


async def test_new_offer_gets_no_calls_although_the_other_provider_is_full(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "other")
    async with calling(fetch, clock, "max_in_flight: 1, queue: {size: 0}", "") as (served, ups):
        fetch.lists("b", "other", "m")
        await refreshed(clock)
        await served.app.deployment.inference()
        assert served.app.deployment.forwarder is not None
        assert served.app.deployment.forwarder.circuits["a"].acquire("", "m") is None

        assert ((await served.call()).status_code, requests(ups)) == (503, [0, 0])


async def test_new_offer_of_the_only_provider_is_called(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "other")
    async with calling(fetch, clock, "", "") as (served, ups):
        fetch.lists("b", "other", "n")
        await refreshed(clock)

        assert ((await served.call("n")).status_code, requests(ups)) == (200, [0, 1])


async def test_order_of_the_file_applies_to_new_offers(fetch: FakeFetch, clock: FakeClock) -> None:
    """The provider in front of all others gets a model that it newly lists: the operator has put it there."""
    fetch.lists("a", "other")
    fetch.lists("b", "m")
    async with calling(fetch, clock, "", "") as (served, ups):
        fetch.lists("a", "other", "m")
        await refreshed(clock)

        assert ((await served.call()).status_code, requests(ups)) == (200, [1, 1])


SMART = "models: [{id: smart, targets: [m, n]}]"


async def test_targets_of_a_virtual_model_are_tried_whatever_their_owner_is(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "m", "n")
    settings = "owner: one, failover_to: same_owner", "owner: two"
    async with calling(fetch, clock, *settings, more=SMART) as (served, ups):
        assert (await served.call("smart")).status_code == 200
        assert [request.json["model"] for request in ups[1].requests] == ["n"]
        assert (await served.call("m")).status_code == 429


@pytest.mark.parametrize(("established", "expected"), [((), [1, 1, 0]), (("n",), [1, 0, 1])], ids=["only", "not only"])
async def test_new_offer_of_a_target_gets_calls_if_no_other_provider_has_the_target(
    established: Sequence[str], expected: Sequence[int], fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "other")
    fetch.lists("c", "other", *established)
    async with calling(fetch, clock, "", "", "", more=SMART) as (served, ups):
        fetch.lists("b", "other", "n")
        await refreshed(clock)

        assert ((await served.call("smart")).status_code, requests(ups)) == (200, expected)
