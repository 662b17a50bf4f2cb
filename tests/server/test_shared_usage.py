"""Usage that replicas share: what each one adds, and what a query shows of all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date

import pytest

from proxy.server import shared_usage
from proxy.server.shared_usage import FLUSH_SECONDS, MAINTENANCE_SECONDS, SharedUsage
from proxy.server.usage import UsageKeeper
from proxy.sharing.usage_store import Batch, HourState, Index
from proxy.telemetry import Telemetry
from proxy.telemetry.usage_query import Query, packed, together
from proxy.telemetry.usage_rows import Counts, Names, Rows, summed
from tests.fakes import FakeClock, config_of, run_pending_tasks
from tests.server.test_usage import Others, requests, use

pytestmark = pytest.mark.anyio

ALL = Query(0, 2**40, ("key",))
CONFIG = config_of("providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]")
DAY = 86_400
TODAY = 1_800_000_000 // DAY * DAY
"""The start of the day of the clock, in UTC."""


class FakeStore:
    """A store in memory. `is_down`: it cannot be used; `loses_replies`: it adds, but does not respond."""

    def __init__(self) -> None:
        self.is_down = self.loses_replies = self.is_maintained = False
        self.hours: dict[int, Rows] = {}
        self.versions: dict[int, int] = {}
        self.used: dict[str, float] = {}
        self.daily_before: date | None = None
        self.corrected = -1
        self.reads: list[int] = []
        self.dropped = 0
        self.hang: asyncio.Event | None = None
        self._last: dict[int, int] = {}

    async def add(self, batch: Batch) -> int | None:
        if self.is_down:
            return None
        if batch.number > self._last.get(id(batch), 0):
            self._last[id(batch)] = batch.number
            for start, names, counts in batch.rows:
                self.put(start, {names: counts})
            for identity, time in batch.used.items():
                self.used[identity] = max(time, self.used.get(identity, 0.0))
        return None if self.loses_replies else self.dropped

    def put(self, start: int, rows: Rows) -> None:
        self.hours[start] = summed(self.hours.get(start, {}), rows)
        self.versions[start] = self.versions.get(start, 0) + 1

    async def index(self) -> Index | None:
        if self.hang:
            await self.hang.wait()
        states = {start: HourState(self.versions[start], len(rows)) for start, rows in self.hours.items()}
        return None if self.is_down else Index(states, self.daily_before)

    async def rows(self, start: int) -> Rows | None:
        self.reads.append(start)
        return None if self.is_down else self.hours[start]

    async def used_since(self, time: float) -> Mapping[str, float] | None:
        return None if self.is_down else {identity: at for identity, at in self.used.items() if at >= time}

    async def claim_maintenance(self, seconds: float) -> bool:
        return not self.is_maintained

    async def merge(self, start: int, target: int) -> bool:
        self.put(target, self.hours.pop(start))
        return True

    async def remove(self, starts: Sequence[int]) -> None:
        for start in starts:
            del self.hours[start]

    async def correct(self, rows: int, daily_before: date | None) -> None:
        self.corrected, self.daily_before = rows, daily_before


def keeper(clock: FakeClock, store: FakeStore, workers: Others | None = None) -> UsageKeeper:
    telemetry = Telemetry(clock.monotonic)
    return UsageKeeper(CONFIG, clock, telemetry, lambda model: True, None, workers, store)


def shared(clock: FakeClock, store: FakeStore) -> SharedUsage:
    return SharedUsage(keeper(clock, FakeStore()).usage, store, clock)


async def totals(keeper: UsageKeeper) -> tuple[dict[str, int], bool | None]:
    answer = await keeper.answer(ALL)
    return {labels[0]: counts[0] for labels, counts in answer.totals}, answer.is_complete


async def test_each_replica_shows_the_sum_of_all(clock: FakeClock) -> None:
    store = FakeStore()
    one, two = keeper(clock, store), keeper(clock, store)
    async with one.running(), two.running():
        use(one)
        use(two)
        use(two, "bob")
        await clock.advance(FLUSH_SECONDS)
        assert (one.usage.rows, two.usage.rows) == (0, 0)
        expected = {"alice": 2, "bob": 1}, True
        assert [await totals(one), await totals(two)] == [expected, expected]


async def test_a_query_contains_what_this_replica_has_just_counted(clock: FakeClock) -> None:
    one = keeper(clock, FakeStore())
    use(one)
    assert await totals(one) == ({"alice": 1}, True)
    use(one)
    assert await totals(one) == ({"alice": 2}, True)


async def test_without_the_store_a_query_shows_what_is_known(clock: FakeClock) -> None:
    store = FakeStore()
    one = keeper(clock, store)
    store.put(TODAY, {Names("carol", "m", "a"): Counts(5, 0, 0, 0)})
    use(one)
    assert await totals(one) == ({"alice": 1, "carol": 5}, True)
    store.is_down = True
    use(one, "bob")
    await clock.advance(1)
    assert await totals(one) == ({"alice": 1, "bob": 1, "carol": 5}, False)
    store.is_down = False
    assert await totals(one) == ({"alice": 1, "bob": 1, "carol": 5}, True)


async def test_a_batch_whose_reply_was_lost_is_shown_once(clock: FakeClock) -> None:
    store = FakeStore()
    one = keeper(clock, store)
    async with one.running():
        use(one)
        store.loses_replies = True
        await clock.advance(FLUSH_SECONDS)
        assert await totals(one) == ({"alice": 1}, False)
        store.loses_replies = False
        await clock.advance(FLUSH_SECONDS)
        assert await totals(one) == ({"alice": 1}, True)
    assert [counts.requests for rows in store.hours.values() for counts in rows.values()] == [1]


async def test_the_last_rows_are_added_when_the_process_ends(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = FakeStore()
    one = keeper(clock, store)
    async with one.running():
        use(one)
    assert [counts.requests for rows in store.hours.values() for counts in rows.values()] == [1]
    assert caplog.messages == []


async def test_rows_that_are_lost_at_the_end_are_logged(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    store.is_down = True
    one = keeper(clock, store)
    async with one.running():
        use(one)
        await clock.advance(FLUSH_SECONDS)
        use(one)
    assert caplog.messages == ["store.valkey: the usage of 2 calls could not be written and is lost"]


async def test_only_changed_hours_are_read_again(clock: FakeClock) -> None:
    store = FakeStore()
    one = shared(clock, store)
    for start in (TODAY, TODAY + 3600):
        store.put(start, {Names("alice", "m", "a"): Counts(1)})
    assert await one.look(1)
    await clock.advance(1)
    store.put(TODAY, {Names("alice", "m", "a"): Counts(1)})
    assert await one.look(1)
    assert store.reads == [TODAY, TODAY + 3600, TODAY]


async def test_a_look_that_takes_long_is_repeated_later(clock: FakeClock) -> None:
    store = FakeStore()
    one = shared(clock, store)
    store.hang = asyncio.Event()
    assert not await one.look(0)
    await clock.advance(10)
    store.hang.set()
    assert await one.look(1)
    store.put(TODAY, {Names("alice", "m", "a"): Counts(1)})
    await clock.advance(49)
    assert await one.look(1)
    assert store.reads == []
    await clock.advance(2)
    assert await one.look(1)
    assert store.reads == [TODAY]


async def test_an_interrupted_look_continues_where_it_was(clock: FakeClock) -> None:
    store = FakeStore()
    one = shared(clock, store)
    for start in (TODAY, TODAY + 3600):
        store.put(start, {Names("alice", "m", "a"): Counts(1)})
    read = store.rows

    async def fails_once(start: int) -> Rows | None:
        rows = await read(start)
        return None if start > TODAY and len(store.reads) == 2 else rows

    store.rows = fails_once  # type: ignore[method-assign]
    assert not await one.look(1)
    assert one.known.hours == []
    assert await one.look(1)
    assert store.reads == [TODAY, TODAY + 3600, TODAY + 3600]


async def test_last_requests_of_all_replicas_are_shown(clock: FakeClock) -> None:
    store = FakeStore()
    one = keeper(clock, store)
    store.used = {"alice": 7.0, "bob": 8.0}
    one.usage.add({}, {"alice": 9.0})
    assert (await one.answer(ALL)).last_used == {"alice": 9.0, "bob": 8.0}
    assert (await one.answer(Query(0, 1, ("key",), "bob"))).last_used == {"bob": 8.0}


async def test_last_requests_that_a_replica_adds_late_are_shown_later(clock: FakeClock) -> None:
    store = FakeStore()
    one = shared(clock, store)
    store.used = {"ahead": clock.time() + 10_000, "alice": clock.time()}
    assert await one.look(1)
    store.used["late"] = clock.time() - 3600
    await clock.advance(100)
    store.used["bob"] = clock.time()
    assert await one.look(1)
    assert {*one.known.last_used} == {"ahead", "alice", "bob"}
    del store.used["alice"]  # there are too many
    await clock.advance(shared_usage._ALL_SECONDS)
    assert await one.look(1)
    assert one.known.last_used == store.used


async def test_workers_respond_with_the_store_once(clock: FakeClock) -> None:
    store = FakeStore()
    leader, other = keeper(clock, store, Others()), keeper(clock, store, Others())
    leader.lead(True)
    use(leader)
    use(other)
    parts = [await other.part(packed(ALL)), await leader.part(packed(ALL))]
    asking = keeper(clock, store, Others(*parts))

    assert requests(parts[0]) == {}
    assert await totals(asking) == ({"alice": 2}, True)
    assert await totals(keeper(clock, store, Others(parts[0]))) == ({}, False)  # the leader has not responded


async def test_workers_respond_with_their_own_rows_while_the_store_is_down(clock: FakeClock) -> None:
    store = FakeStore()
    store.is_down = True
    leader, other = keeper(clock, store, Others()), keeper(clock, store, Others())
    leader.lead(True)
    use(leader)
    use(other)
    answer = together([await other.part(packed(ALL)), await leader.part(packed(ALL))])

    assert {labels[0]: counts[0] for labels, counts in answer.totals} == {"alice": 2}
    assert answer.is_complete is False


async def test_many_added_rows_are_not_kept_in_memory(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_usage, "MAX_ADDED", 1)
    store = FakeStore()
    one = keeper(clock, store)
    assert one._shared is not None
    for key in ("alice", "bob"):
        use(one, key)
        assert await one._shared.flush(1)
    assert one._shared.known.hours == []
    assert await totals(one) == ({"alice": 1, "bob": 1}, True)


async def test_rejected_calls_are_counted(clock: FakeClock) -> None:
    store = FakeStore()
    store.dropped = 3
    one = keeper(clock, store)
    use(one)
    assert (await one.answer(ALL)).state.dropped == 3
    assert one.state.dropped == 3


async def test_a_bug_does_not_stop_adding(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    add, index = store.add, store.index

    async def fails(*arguments: object) -> None:
        raise RuntimeError

    one = keeper(clock, store)
    async with one.running():
        store.add = store.index = fails  # type: ignore[assignment,method-assign]
        use(one)
        await clock.advance(FLUSH_SECONDS)
        store.add = add  # type: ignore[method-assign]
        assert (await totals(one))[1] is False
        await clock.advance(FLUSH_SECONDS)
        store.index = index  # type: ignore[method-assign]
        assert await totals(one) == ({"alice": 1}, True)
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "internal error while writing usage to store.valkey",
        "internal error while reading usage from store.valkey",
        "internal error while merging usage in store.valkey",
    ]


# -- maintenance -------------------------------------------------------------------------------------------------------


def names_of(number: int) -> Rows:
    return {Names(f"k{each}", "m", "a"): Counts(1, 0, 0, 0) for each in range(number)}


async def maintained(clock: FakeClock, store: FakeStore) -> SharedUsage:
    """What a replica has done after its first seconds."""
    one = shared(clock, store)
    running = asyncio.create_task(one.run())
    await clock.advance(FLUSH_SECONDS)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return one


async def test_hours_that_are_too_old_are_removed(clock: FakeClock) -> None:
    store = FakeStore()
    for days in (90, 91):
        store.put(TODAY - days * DAY, names_of(2))
    one = await maintained(clock, store)

    assert [*store.hours] == [TODAY - 90 * DAY]
    assert store.corrected == 2
    assert one.state.since is not None


async def test_too_many_rows_become_rows_of_days(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_usage, "MAX_ROWS", 10)
    store = FakeStore()
    for start in (TODAY - 2 * DAY, TODAY - DAY, TODAY - DAY + 3600, TODAY, TODAY + 3600):
        store.put(start, names_of(2))
    await maintained(clock, store)

    assert {start: len(rows) for start, rows in store.hours.items()} == {
        TODAY - 2 * DAY: 2,
        TODAY - DAY: 2,
        TODAY: 2,
        TODAY + 3600: 2,
    }
    assert store.hours[TODAY - DAY][Names("k0", "m", "a")] == Counts(2, 0, 0, 0)
    assert store.daily_before == date.fromordinal(date(1970, 1, 1).toordinal() + TODAY // DAY)


async def test_the_first_day_is_removed_if_all_are_merged_and_its_calls_are_counted(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_usage, "MAX_ROWS", 4)
    store = FakeStore()
    for start in (TODAY - DAY, TODAY - 2 * DAY, TODAY):
        store.put(start, names_of(2))
    one = await maintained(clock, store)

    assert [*store.hours] == [TODAY - DAY, TODAY]
    assert one.dropped == 2


async def test_one_replica_maintains_the_rows_and_all_know_their_number(clock: FakeClock) -> None:
    store = FakeStore()
    store.is_maintained = True
    store.put(TODAY - 91 * DAY, names_of(2))
    one = await maintained(clock, store)

    assert [*store.hours] == [TODAY - 91 * DAY]
    assert one.state.rows == 2


async def test_maintenance_is_repeated(clock: FakeClock) -> None:
    store = FakeStore()
    one = keeper(clock, store)
    async with one.running():
        await clock.advance(FLUSH_SECONDS)
        store.put(TODAY - 91 * DAY, names_of(2))
        await clock.advance(MAINTENANCE_SECONDS - FLUSH_SECONDS)
        await run_pending_tasks()
        assert store.hours
        await clock.advance(2 * FLUSH_SECONDS)
        assert store.hours == {}
