"""The store as requests see it: states by age, expiry, declared models, versions."""

from __future__ import annotations

import pytest

from tests.fakes import FakeClock, FakeFetch, running
from tests.store.stores import ALL, ONE, TWO, listed, report, store_of

pytestmark = pytest.mark.anyio


async def test_failure_keeps_the_models_until_they_become_stale(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(95)
        assert (report(store, "a").state, listed(store)) == ("ok", ["m"])
        await clock.advance(5)
        assert (report(store, "a").state, listed(store)) == ("stale", ["m"])
        assert (b"x-models-stale", b"a") in store.view(ALL).status.headers


async def test_models_expire_after_max_stale_and_their_provider_is_failing(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    fetch.lists("b", "n")
    async with running(store_of(TWO, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(999.9)
        assert listed(store) == ["m", "n"]
        await clock.advance(0.1)
        assert listed(store) == ["n"]
        assert report(store, "a").state == "failing"
        assert (b"x-models-missing", b"a") in store.view(ALL).status.headers


async def test_a_list_is_rendered_again_only_after_a_change(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        rendered = store.view(ALL).rendered
        await clock.advance(90)
        assert fetch.requests["a"] == 2
        assert store.view(ALL).rendered is rendered
        fetch.lists("a", "m", "n")
        await clock.advance(90)
        assert store.view(ALL).rendered is not rendered
        assert listed(store) == ["m", "n"]


async def test_declared_models_never_expire_and_stay_while_their_provider_fails(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    text = ONE.replace('/a/v1"}', '/a/v1", models: [{id: kept, context_length: 1}]}')
    fetch.lists("a", "m", {"id": "kept", "context_length": 2})
    async with running(store_of(text, fetch, clock)) as store:
        before = store.view(ALL).catalog.find("kept")
        assert listed(store) == ["kept", "m"]
        fetch.fails("a")
        await clock.advance(1100)
        assert listed(store) == ["kept"]
        assert store.view(ALL).catalog.find("kept") == before, "the same entry, whether the provider is there or not"
        assert store.has_any_list


async def test_store_has_no_models_until_the_first_provider_responds(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    async with running(store_of(ONE, fetch, clock)) as store:
        assert not store.has_any_list
        assert store.seconds_to_next_attempt() == 5
        fetch.lists("a")
        await clock.advance(5)
        assert store.has_any_list, "an empty list is an answer"


async def test_expired_provider_that_returns_the_same_list_is_listed_again(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(1001)
        assert listed(store) == []
        fetch.lists("a", "m")
        await clock.advance(300)
        assert listed(store) == ["m"]


async def test_models_expire_after_max_stale_even_without_requests_for_a_long_time(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        await clock.advance(1200)
        assert listed(store) == []
        assert not store.has_any_list


@pytest.mark.parametrize("year", [pytest.param(0.0, id="back"), pytest.param(4_000_000_000.0, id="forward")])
async def test_change_of_the_wall_clock_does_not_change_ages(year: float, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.fails("a")
        clock.set_time(year)
        await clock.advance(99.5)
        assert (report(store, "a").state, report(store, "a").age) == ("ok", 99.5)
        assert report(store, "a").fetched_at == 1_800_000_000.0
        await clock.advance(0.5)
        assert (report(store, "a").state, listed(store)) == ("stale", ["m"])
        await clock.advance(900)
        assert (report(store, "a").state, listed(store)) == ("failing", [])
