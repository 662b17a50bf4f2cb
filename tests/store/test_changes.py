"""Models that a provider gains and loses are reported: after a refresh, an expiry, and a change of the rules."""

from __future__ import annotations

import pytest

from proxy.errors import UpstreamError
from proxy.store import Store
from proxy.telemetry.events import ModelsChange
from tests.fakes import FakeClock, FakeFetch, config_of, middle, running
from tests.store.stores import ONE

pytestmark = pytest.mark.anyio


def observed(text: str, fetch: FakeFetch, clock: FakeClock) -> tuple[Store, list[ModelsChange]]:
    changes: list[ModelsChange] = []
    return Store(config_of(text), fetch, clock, uniform=middle, on_models=changes.append), changes


async def test_the_first_list_is_no_change(fetch: FakeFetch, clock: FakeClock) -> None:
    store, changes = observed(ONE, fetch, clock)
    fetch.lists("a", "m", "n")
    async with running(store):
        await clock.advance(1)

    assert changes == []


async def test_added_and_removed_models_are_reported_in_order(fetch: FakeFetch, clock: FakeClock) -> None:
    store, changes = observed(ONE, fetch, clock)
    fetch.lists("a", "m", "n", "o")
    async with running(store):
        fetch.lists("a", "x", "n", "y", "o")
        await clock.advance(100)

    assert changes == [ModelsChange("a", ["x", "y"], ["m"])]


async def test_models_that_expire_are_removed(fetch: FakeFetch, clock: FakeClock) -> None:
    store, changes = observed(ONE, fetch, clock)
    fetch.lists("a", "m", "n")
    async with running(store):
        fetch.fails("a", UpstreamError("timeout", "timed out"))
        await clock.advance(2000)
        store.reports()

    assert changes == [ModelsChange("a", [], ["m", "n"])]


async def test_changed_rules_add_and_remove_models(fetch: FakeFetch, clock: FakeClock) -> None:
    before, changes = observed(ONE, fetch, clock)
    fetch.lists("a", "m", "n")
    async with running(before):
        await clock.advance(1)
    after, changes = observed(ONE.replace('/a/v1"', '/a/v1", exclude: [m], prefix: p/'), fetch, clock)
    await after.inherit(before, [], 1.0)

    assert changes == [ModelsChange("a", ["p/n"], ["m", "n"])]


async def test_an_unchanged_configuration_changes_no_models(fetch: FakeFetch, clock: FakeClock) -> None:
    before, _ = observed(ONE, fetch, clock)
    fetch.lists("a", "m", "n")
    async with running(before):
        await clock.advance(1)
    after, changes = observed(ONE, fetch, clock)
    await after.inherit(before, [], 1.0)

    assert changes == []
