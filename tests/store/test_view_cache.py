"""Views: rendered once per policy, cached until a change, within a memory limit."""

from __future__ import annotations

import asyncio

import pytest

from proxy.access import Policy
from tests.fakes import FakeClock, FakeFetch, running
from tests.store.stores import ALL, ONE, listed, store_of

pytestmark = pytest.mark.anyio


async def test_view_is_rendered_once_per_policy(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    async with running(store_of(ONE, fetch, clock)) as store:
        only_m = Policy(["m"])
        assert store.view(ALL) is store.view(ALL)
        assert listed(store, only_m) == ["m"]
        assert store.view(only_m) is store.view(only_m)


async def test_view_is_prepared_once_and_a_cancelled_waiter_does_not_cancel_it(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", *(f"m{n:03}" for n in range(200)))
    async with running(store_of(ONE, fetch, clock)) as store:
        assert store.cached_view(ALL) is None
        leaving, staying = asyncio.create_task(store.prepare(ALL)), asyncio.create_task(store.prepare(ALL))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying

        assert leaving.cancelled()
        assert listed(store) == [f"m{n:03}" for n in range(200)]
        assert store.cached_view(ALL) is store.view(ALL)


async def test_view_is_prepared_again_if_offers_change_meanwhile(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"m{n:04}" for n in range(4000)))
    async with running(store_of(ONE, fetch, clock)) as store:
        await store.prepare(ALL)
        fetch.lists("a", *(f"n{n:04}" for n in range(4000)))
        await clock.advance(100)
        preparing = asyncio.create_task(store.prepare(ALL))
        fetch.lists("a", *(f"o{n:04}" for n in range(4000)))
        await clock.advance(100)
        await preparing

        assert fetch.requests["a"] == 3
        assert listed(store) == [f"o{n:04}" for n in range(4000)]


async def test_views_have_a_memory_limit(fetch: FakeFetch, clock: FakeClock) -> None:
    text = "x" * 400_000
    fetch.lists("a", *({"id": f"m{i}", "text": text} for i in range(100)))
    async with running(store_of(ONE, fetch, clock)) as store:
        policies = [Policy(["*", f"!n{i}"]) for i in range(12)]  # 50 MB for each list
        first = store.view(policies[0])
        for policy in policies:
            store.view(policy)
        cached = [policy for policy in policies if store.cached_view(policy) is not None]
        assert cached == policies[-5:]
        assert store.view(policies[0]) is not first
        assert store.view(policies[0]).rendered.etags == first.rendered.etags
