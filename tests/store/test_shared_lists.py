"""Stores that share their lists: one fetches each provider, all show its list and its state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from proxy.config import Config
from proxy.config.fields import check_api_key
from proxy.config.secret_files import SecretFile
from proxy.errors import UpstreamError
from proxy.store import Report, Store
from proxy.store.refresh import BUSY_SECONDS
from proxy.store.shared_lists import SharedLists
from tests.fakes import FakeClock, FakeFetch, config_of, middle, run_pending_tasks, running
from tests.sharing.memory import Medium, SharedMemory
from tests.store.stores import ONE, TWO, listed, report

pytestmark = pytest.mark.anyio


async def directly(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function without a thread, so that a clock that advances does not have to wait for it."""
    return function(*arguments)


class Replica:
    """A store with a fetch of its own."""

    def __init__(self, medium: Medium, clock: FakeClock, config: Config) -> None:
        self.sharing = SharedMemory(medium)
        self.lists = SharedLists(self.sharing, directly)
        self.fetch = FakeFetch()
        self.clock = clock
        self.store = self.store_of(config)

    def store_of(self, config: Config) -> Store:
        return Store(config, self.fetch, self.clock, uniform=middle, shared=self.lists)

    @property
    def state(self) -> tuple[Sequence[str], str, int, str]:
        """What it lists, the state of its first provider, the failures, and the error."""
        found = self.store.reports()[0]
        return listed(self.store), found.state, found.failures, found.error.reason if found.error else ""


@asynccontextmanager
async def replicas(
    medium: Medium, clock: FakeClock, number: int = 3, text: str = ONE, *, lists: Sequence[str] = ("m",)
) -> AsyncIterator[list[Replica]]:
    """Running replicas, which begin one after the other."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(number):
            replica = Replica(medium, clock, config_of(text))
            for provider in replica.store.config.providers:
                replica.fetch.lists(provider.name, *lists)
            await stack.enter_async_context(running(replica.store))
            found.append(replica)
        await clock.advance(0)
        yield found


def fetches(found: Sequence[Replica]) -> int:
    return sum(replica.fetch.requests.total() for replica in found)


@pytest.fixture
def medium(clock: FakeClock) -> Medium:
    return Medium(clock)


async def test_replicas_cost_a_provider_the_fetches_of_one(medium: Medium, clock: FakeClock) -> None:
    async with replicas(medium, clock, 1, TWO) as alone:
        await clock.advance(1000)
    expected = fetches(alone)
    async with replicas(Medium(clock), clock, 3, TWO) as found:
        await clock.advance(1000)

        assert fetches(found) == expected
        assert [listed(replica.store) for replica in found] == [["m"]] * 3
        assert {each.state for replica in found for each in replica.store.reports()} == {"ok"}


async def test_a_changed_list_is_shown_by_all_at_once(medium: Medium, clock: FakeClock) -> None:
    async with replicas(medium, clock) as found:
        for replica in found:
            replica.fetch.lists("a", "m", "new")
        await clock.advance(100)

        assert [listed(replica.store) for replica in found] == [["m", "new"]] * 3


async def test_a_lost_message_is_made_up_for_by_the_next_attempt(medium: Medium, clock: FakeClock) -> None:
    async with replicas(medium, clock) as found:
        medium.loses_messages = True
        for replica in found:
            replica.fetch.lists("a", "m", "new")
        await clock.advance(100)

        assert [listed(replica.store) for replica in found] == [["m", "new"]] * 3
        assert fetches(found) == 2


async def test_a_failure_is_shown_by_all_and_repeated_by_one(medium: Medium, clock: FakeClock) -> None:
    async with replicas(medium, clock) as found:
        before = fetches(found)
        for replica in found:
            replica.fetch.fails("a", UpstreamError("status", "status 503", retry_after=2.0))
        await clock.advance(90)
        assert fetches(found) == before + 1
        await clock.advance(6)

        assert fetches(found) == before + 2
        assert [replica.state for replica in found] == [(["m"], "ok", 2, "status 503")] * 3


async def test_a_replica_that_starts_while_the_provider_fails_shows_the_shared_list(
    medium: Medium, clock: FakeClock
) -> None:
    async with replicas(medium, clock, 1) as (first,):
        first.fetch.fails("a")
        await clock.advance(95)
        late = Replica(medium, clock, config_of(ONE))
        late.fetch.fails("a")
        async with running(late.store):
            assert late.store.warmed_up
            assert late.state == first.state == (["m"], "ok", 2, "connection refused")
            assert late.fetch.requests.total() == 0
            assert report(late.store, "a").age == report(first.store, "a").age


async def test_a_replica_waits_for_the_fetch_of_another_one(medium: Medium, clock: FakeClock) -> None:
    first, second = (Replica(medium, clock, config_of(ONE)) for _ in range(2))
    response = first.fetch.hangs("a")
    second.fetch.lists("a", "of the second")
    async with running(first.store), running(second.store):
        await clock.advance(3)
        before = second.store.warmed_up, second.fetch.requests.total()
        first.fetch.lists("a", "m")
        response.set_result(await first.fetch(first.store.config.providers[0], 0))
        await clock.advance(0)

        assert before == (False, 0)
        assert second.store.warmed_up
        assert listed(second.store) == ["m"]


async def test_a_dead_replica_is_replaced_after_its_lease(medium: Medium, clock: FakeClock) -> None:
    dead, second = (Replica(medium, clock, config_of(ONE)) for _ in range(2))
    await dead.lists.begin(dead.store.config.providers[0], force=False)
    second.fetch.lists("a", "m")
    async with running(second.store):
        await clock.advance(medium.lease - 0.1)
        assert listed(second.store) == []
        await clock.advance(BUSY_SECONDS + 0.2)
        assert listed(second.store) == ["m"]


async def test_a_lease_that_never_ends_does_not_end_the_list(medium: Medium, clock: FakeClock) -> None:
    medium.lease = 1e9
    dead, second = (Replica(medium, clock, config_of(ONE)) for _ in range(2))
    await dead.lists.begin(dead.store.config.providers[0], force=False)
    second.fetch.lists("a", "m")
    async with running(second.store):
        await clock.advance(75)
        assert listed(second.store) == ["m"]


async def test_a_stopped_replica_overwrites_nothing_and_takes_the_newer_list(medium: Medium, clock: FakeClock) -> None:
    first, second = (Replica(medium, clock, config_of(ONE)) for _ in range(2))
    response = first.fetch.hangs("a")
    second.fetch.lists("a", "newer")
    async with running(first.store), running(second.store):
        await clock.advance(medium.lease + 2 * BUSY_SECONDS)
        first.fetch.lists("a", "older")
        response.set_result(await first.fetch(first.store.config.providers[0], 0))
        await clock.advance(0)
        first.sharing.poll()
        await clock.advance(0)

        assert listed(second.store) == ["newer"]
        assert listed(first.store) == ["newer"]


async def test_without_the_store_each_replica_fetches_for_itself(medium: Medium, clock: FakeClock) -> None:
    async with replicas(medium, clock) as found:
        medium.is_down = True
        before = fetches(found)
        await clock.advance(90)
        assert fetches(found) == before + 3
        medium.is_down = False
        await clock.advance(900)
        assert fetches(found) == before + 3 + 10
        assert [replica.state for replica in found] == [(["m"], "ok", 0, "")] * 3


async def test_an_administrator_gets_a_fetch_even_after_that_of_another(medium: Medium, clock: FakeClock) -> None:
    async with replicas(medium, clock, 2) as (first, second):
        for replica in (first, second):
            replica.fetch.lists("a", "m", "new")
        await clock.advance(1)
        refresh = asyncio.create_task(second.store.refresh(["a"], 5.0))
        await clock.advance(0)

        assert await refresh
        assert second.fetch.requests.total() == 1
        assert listed(first.store) == listed(second.store) == ["m", "new"]


async def test_an_administrator_gets_a_fetch_while_another_replica_fetches(medium: Medium, clock: FakeClock) -> None:
    first, second = (Replica(medium, clock, config_of(ONE)) for _ in range(2))
    first.fetch.hangs("a")
    second.fetch.lists("a", "m")
    async with running(first.store), running(second.store):
        refresh = asyncio.create_task(second.store.refresh(["a"], 5.0))
        await clock.advance(0)

        assert await refresh
        assert listed(second.store) == ["m"]


async def test_a_list_is_not_published_under_a_credential_that_was_replaced_meanwhile(
    medium: Medium, clock: FakeClock
) -> None:
    contents = iter(["fake-key-one", "fake-key-two"])
    secret = SecretFile("/key", "api_key_file", check_api_key, lambda path: next(contents))
    config = config_of(ONE)
    provider = config.providers[0].model_copy(update={"api_key": secret})
    replica = Replica(medium, clock, replace(config, providers=(provider,)))
    response = replica.fetch.hangs("a")
    async with running(replica.store):
        await run_pending_tasks()
        secret.reload()
        replica.fetch.lists("a", "m")
        response.set_result(await replica.fetch(provider, 0))
        await clock.advance(0)

        assert listed(replica.store) == ["m"]
        assert [entry.parts for entry in medium.lists.values()] == [{}]


async def test_an_accepted_short_list_is_shown_by_all(medium: Medium, clock: FakeClock) -> None:
    models = [f"m{number}" for number in range(10)]
    async with replicas(medium, clock, 2, lists=models) as (first, second):
        for replica in (first, second):
            replica.fetch.lists("a", "m0")
        await clock.advance(1)
        refresh = asyncio.create_task(second.store.refresh(["a"], 5.0, accept=True))
        await clock.advance(0)
        await refresh

        assert listed(first.store) == listed(second.store) == ["m0"]


async def test_replicas_with_other_credentials_exchange_nothing(medium: Medium, clock: FakeClock) -> None:
    keys = [ONE.replace('/a/v1"', f'/a/v1", api_key: fake-key-{number}') for number in (1, 2)]
    first, second = (Replica(medium, clock, config_of(text)) for text in keys)
    first.fetch.lists("a", "of the first")
    second.fetch.lists("a", "of the second")
    async with running(first.store), running(second.store):
        await clock.advance(0)

        assert listed(first.store) == ["of the first"]
        assert listed(second.store) == ["of the second"]
    assert not any(b"fake-key" in data for entry in medium.lists.values() for _, _, data in entry.parts.values())


async def test_two_providers_with_the_same_settings_share_a_list(medium: Medium, clock: FakeClock) -> None:
    text = TWO.replace("/b/v1", "/a/v1")
    async with replicas(medium, clock, 1, text) as (only,):
        await clock.advance(BUSY_SECONDS + 0.1)

        assert only.fetch.requests.total() == 1
        assert [each.models for each in only.store.reports()] == [1, 1]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:-1], id="truncated"),
        pytest.param(lambda data: b"{" + data, id="foreign"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="changed"),
    ],
)
@pytest.mark.parametrize("kind", ["list", "failure"])
async def test_damaged_values_are_ignored_and_reported_once(
    medium: Medium, clock: FakeClock, caplog: pytest.LogCaptureFixture, damage: object, kind: str
) -> None:
    async with replicas(medium, clock, 1) as (first,):
        if kind == "failure":
            first.fetch.fails("a")
            await clock.advance(90)
        (entry,) = medium.lists.values()
        entry.parts = {part: (version, at, damage(data)) for part, (version, at, data) in entry.parts.items()}  # type: ignore[operator]
        late = Replica(medium, clock, config_of(ONE))
        late.fetch.lists("a", "m")
        async with running(late.store):
            await clock.advance(0)
            assert listed(late.store) == ["m"]
            assert late.fetch.requests.total() == 1

    assert len([line for line in caplog.messages if "a list from the shared store was ignored" in line]) == 1


async def test_a_reload_continues_the_fetch_and_its_lease(medium: Medium, clock: FakeClock) -> None:
    replica, other = (Replica(medium, clock, config_of(ONE)) for _ in range(2))
    response = replica.fetch.hangs("a")
    async with running(replica.store):
        await run_pending_tasks()
        replica.store.hand_over()
    after = replica.store_of(config_of(ONE.replace("ttl: 100s", "ttl: 200s")))
    await after.inherit(replica.store, (), 1.0)
    async with running(after), running(other.store):
        await clock.advance(1)
        replica.fetch.lists("a", "m")
        response.set_result(await replica.fetch(after.config.providers[0], 0))
        await clock.advance(0)

        assert listed(after) == listed(other.store) == ["m"]
        assert other.fetch.requests.total() == 0


async def test_a_provider_that_is_removed_meanwhile_frees_its_lease(medium: Medium, clock: FakeClock) -> None:
    replica, other = (Replica(medium, clock, config_of(TWO)) for _ in range(2))
    replica.fetch.hangs("a")
    replica.fetch.hangs("b")
    other.fetch.lists("b", "m")
    other.fetch.hangs("a")
    async with running(replica.store):
        await run_pending_tasks()
        replica.store.hand_over()
    after = replica.store_of(config_of(ONE))
    await after.inherit(replica.store, (), 1.0)
    async with running(after), running(other.store):
        await clock.advance(0)

        assert other.fetch.requests == {"b": 1}


async def test_a_stopping_replica_frees_its_lease(medium: Medium, clock: FakeClock) -> None:
    replica, other = (Replica(medium, clock, config_of(ONE)) for _ in range(2))
    replica.fetch.hangs("a")
    other.fetch.lists("a", "m")
    async with running(replica.store):
        await run_pending_tasks()
    async with running(other.store):
        await clock.advance(0)
        assert listed(other.store) == ["m"]


async def test_fetches_of_others_are_reported_as_such(medium: Medium, clock: FakeClock) -> None:
    reports: list[Report] = []
    async with replicas(medium, clock, 1):
        late = Replica(medium, clock, config_of(ONE))
        late.store = replace(late.store_of(late.store.config), on_report=reports.append)
        async with running(late.store):
            await clock.advance(0)

    assert [(each.state, each.models, each.origin, each.is_of_other) for each in reports] == [("ok", 1, "shared", True)]
