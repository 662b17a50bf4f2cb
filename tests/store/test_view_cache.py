"""Views: rendered once per policy, cached until a change, within a memory limit."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from proxy.access import Policy
from proxy.store import Store
from tests.fakes import FakeClock, FakeFetch, config_of, middle, running
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
    policies = [Policy(["*", f"!m{n}"]) for n in range(12)]
    fetch.lists("a", *(f"m{n}" for n in range(100)))
    limit = 100_000
    async with running(Store(config_of(ONE), fetch, clock, max_list_bytes=limit)) as store:
        first = store.view(policies[0])
        for policy in policies:
            store.view(policy)
        cached = [policy for policy in policies if store.cached_view(policy) is not None]

        assert cached == policies[-len(cached) :]
        sizes = [store.view(policy).rendered.size for policy in cached]
        assert limit - first.rendered.size < sum(sizes) <= limit
        assert store.view(policies[0]) is not first
        assert store.view(policies[0]).status.etags == first.status.etags


async def test_etags_of_evicted_lists_are_kept_until_the_offers_change(fetch: FakeFetch, clock: FakeClock) -> None:
    policies = [Policy(["*", f"!m{n}"]) for n in range(3)]
    fetch.lists("a", *(f"m{n}" for n in range(100)))
    async with running(Store(config_of(ONE), fetch, clock, uniform=middle, max_list_bytes=1)) as store:
        assert store.cached_status(policies[0]) is None
        etags = [store.view(policy).status.etags for policy in policies]
        assert [policy for policy in policies if store.cached_view(policy)] == policies[-1:]

        await clock.advance(100)  # refreshed, without a change
        statuses = [store.cached_status(policy) for policy in policies]
        assert [status and status.etags for status in statuses] == etags
        assert {status and status.oldest for status in statuses} == {clock.monotonic() - 10}

        fetch.lists("a", *(f"n{n}" for n in range(100)))
        await clock.advance(100)
        assert [store.cached_status(policy) for policy in policies] == [None] * 3


async def test_lists_beyond_an_eighth_of_the_limit_share_their_entries(fetch: FakeFetch, clock: FakeClock) -> None:
    policies = [Policy(["*", f"!m{n:02}"]) for n in range(4)]
    fetch.lists("a", *({"id": f"m{n:02}", "text": "x" * 1000} for n in range(50)))
    async with running(Store(config_of(ONE), fetch, clock, max_list_bytes=500_000)) as store:
        rendered = [store.view(policy).rendered for policy in policies]
        whole = [store.view(policy).rendered.identity for policy in policies]

        assert [len(each.body) for each in rendered] == [len(whole[0]), 0, 0, 0]
        assert [b"".join((each.body, *each.entries)) for each in rendered] == whole
        assert [len(json.loads(body)["data"]) for body in whole] == [49] * 4
        assert [each.length for each in rendered] == [len(body) for body in whole]
        entries = [{entry: id(entry) for entry in each.entries} for each in rendered[1:]]
        common = set.intersection(*map(set, entries))
        assert len(common) == 48, "the beginning, and all but one of each list and the last one"
        assert all(len({each[entry] for each in entries}) == 1 for entry in common)
        assert [await each.compressed() for each in rendered] == [gzip.compress(body, 6, mtime=0) for body in whole]


async def test_cached_lists_show_which_models_anyone_is_shown(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m1", "m2", "m3")
    async with running(Store(config_of(ONE), fetch, clock)) as store:
        before = [store.shows(model) for model in ("m1", "m2", "m3")]
        store.view(Policy(["m1"]))
        store.view(Policy(["*", "!m3"]))

        assert before == [False, False, False]
        assert [store.shows(model) for model in ("m1", "m2", "m3")] == [True, True, False]
