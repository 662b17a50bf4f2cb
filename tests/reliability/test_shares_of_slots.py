"""The slots of a provider (`max_in_flight`) are shared between keys, whatever one of them sends."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import FakeClock, FakeFetch
from tests.inference.test_concurrency import call, full, queued
from tests.listening import circuit_of, until

pytestmark = pytest.mark.anyio

PATIENT = "queue: {size: 20, timeout: 60s}"


async def test_the_next_free_slot_is_for_a_key_that_has_none(fetch: FakeFetch, clock: FakeClock) -> None:
    async with full(fetch, clock, PATIENT, limit=4) as (served, (provider,)):  # alice has all slots
        flood = [asyncio.create_task(call(served, "alice", f"flood-{number}")) for number in range(6)]
        await until(lambda: queued(served) == 6)
        other = asyncio.create_task(call(served, "bob", "single"))
        await until(lambda: queued(served) == 7)
        provider.answer(0)
        await until(lambda: len(provider.exchanges) == 5)

        assert provider.prompts[4:] == ["single"]
        for task in (*flood, other):
            task.cancel()
        await asyncio.gather(*flood, other, return_exceptions=True)


async def test_long_calls_of_one_key_do_not_take_the_slots_of_others(fetch: FakeFetch, clock: FakeClock) -> None:
    async with full(fetch, clock, PATIENT, limit=4) as (served, (provider,)):  # alice has all slots, and ends no call
        waiting = [asyncio.create_task(call(served, "alice", f"flood-{number}")) for number in range(6)]
        waiting += [asyncio.create_task(call(served, "bob", f"bob-{number}")) for number in range(6)]
        await until(lambda: queued(served) == 12)
        provider.answer(0)
        await until(lambda: len(provider.exchanges) == 5)
        for index in range(4, 9):
            provider.answer(index)  # each call of bob ends, and his next one follows
            await until(lambda: len(provider.exchanges) == index + 2)  # noqa: B023

        assert provider.prompts[4:] == [f"bob-{number}" for number in range(6)]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: circuit_of(served.app, "a").queued == 0)


async def test_some_slots_are_kept_for_keys_that_hold_none(fetch: FakeFetch, clock: FakeClock) -> None:
    async with full(fetch, clock, PATIENT, limit=16) as (served, (provider,)):  # alice has 14 slots, and ends no call
        waiting = [asyncio.create_task(call(served, "alice", f"flood-{number}")) for number in range(6)]
        await until(lambda: queued(served) == 6)
        waiting += [asyncio.create_task(call(served, "bob", f"bob-{number}")) for number in range(2)]
        await until(lambda: len(provider.exchanges) == 16)

        assert provider.prompts[14:] == ["bob-0", "bob-1"]
        provider.answer(14)  # of bob: the slot is not for alice
        await until(lambda: circuit_of(served.app, "a").in_flight == 15)
        provider.answer(0)
        await until(lambda: len(provider.exchanges) == 17)
        assert provider.prompts[16] == "flood-0"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_lists_and_probes_need_no_slot(fetch: FakeFetch, clock: FakeClock) -> None:
    async with full(fetch, clock, PATIENT) as (served, (_,)):
        flood = [asyncio.create_task(call(served, "alice", f"flood-{number}")) for number in range(20)]
        await until(lambda: queued(served) == 20)
        headers = {"Authorization": "Bearer mp-canary-of-bob-000000000000000000000000"}
        paths = "/v1/models", "/v1/models/m", "/livez", "/readyz", "/health"
        statuses = [(await served.client.get(path, headers=headers)).status_code for path in paths]

        assert statuses == [200] * 5
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
