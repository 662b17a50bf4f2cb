"""Lists that another process has fetched: shown with their true age, and fetched again when they are due."""

from __future__ import annotations

import pytest

from proxy.store import Store
from proxy.store.fingerprint import fingerprint
from proxy.store.listing import Origin
from proxy.store.records import ListRecord, decode, encode
from proxy.telemetry.events import ModelsChange
from tests.fakes import FakeClock, FakeFetch, config_of, middle, run_pending_tasks, running
from tests.store.stores import ALL, ONE, listed, report, store_of

pytestmark = pytest.mark.anyio


async def recorded(text: str, clock: FakeClock, *models: str | dict[str, object]) -> ListRecord:
    """The list of another process that has fetched these models now, as it is read from its bytes."""
    fetch = FakeFetch()
    fetch.lists("a", *models)
    provider = config_of(text).providers[0]
    async with running(store_of(text, fetch, clock)) as store:
        record = store.record("a")
    assert record
    return decode(encode(record, provider, fingerprint(provider)), fingerprint(provider))


async def restored(text: str, record: ListRecord, fetch: FakeFetch, clock: FakeClock) -> Store:
    store = store_of(text, fetch, clock)
    assert await store.adopt("a", record, "restored")
    return store


async def test_list_is_shown_before_the_first_fetch_and_nothing_waits(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "m", {"id": "n", "created": 1_700_000_000})
    later = FakeClock(monotonic=5.0, time=clock.time() + 500)
    fetch.hangs("a")
    store = await restored(ONE, record, fetch, later)

    assert (listed(store), store.has_any_list) == (["m", "n"], True)
    async with running(store):
        assert store.warmed_up
        status = report(store, "a")
        assert (status.state, status.age, status.probed, status.origin) == ("stale", 500, True, "restored")
        assert status.fetched_at == clock.time()
        assert fetch.requests["a"] == 1


async def test_list_has_the_same_bytes(fetch: FakeFetch, clock: FakeClock) -> None:
    models = [{"id": f"m{i}", "created": 1_700_000_000 + i, "owned_by": "x", "context_length": i} for i in range(120)]
    original = FakeFetch()
    original.lists("a", *models)
    async with running(store_of(ONE, original, clock)) as store:
        before = store.view(ALL)
        record = store.record("a")
    assert record
    after = (await restored(ONE, record, fetch, clock)).view(ALL)

    assert (after.rendered.body, after.status.etags) == (before.rendered.body, before.status.etags)


async def test_fresh_list_is_not_fetched_before_it_is_due(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "m")
    await clock.advance(50)
    fetch.lists("a", "m")
    async with running(await restored(ONE, record, fetch, clock)) as store:
        assert (report(store, "a").state, fetch.requests["a"]) == ("ok", 0)
        assert report(store, "a").next_attempt_in == 40
        await clock.advance(40)
        assert (fetch.requests["a"], report(store, "a").origin) == (1, "fetched")


async def test_list_expires_by_its_true_age(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "m")
    fetch.fails("a")
    later = FakeClock(monotonic=5.0, time=clock.time() + 900)
    async with running(await restored(ONE, record, fetch, later)) as store:
        await later.advance(99)
        assert listed(store) == ["m"]
        await later.advance(1)
        assert (listed(store), report(store, "a").state) == ([], "failing")


async def test_expired_list_is_not_taken_over(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "m")
    store = store_of(ONE, fetch, FakeClock(monotonic=5.0, time=clock.time() + 1000))

    assert not await store.adopt("a", record, "restored")
    assert listed(store) == []


async def test_list_from_the_future_is_stale_and_fetched_at_once(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "m")
    fetch.fails("a")
    early = FakeClock(monotonic=5.0, time=1000.0)
    async with running(await restored(ONE, record, fetch, early)) as store:
        assert (report(store, "a").state, report(store, "a").age, fetch.requests["a"]) == ("stale", 100, 1)
    skewed = FakeClock(monotonic=5.0, time=clock.time() - 30)
    assert report(await restored(ONE, record, fetch, skewed), "a").age == 0


async def test_age_of_another_clock_is_used_if_it_is_known(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "m")
    store = store_of(ONE, fetch, FakeClock(monotonic=5.0, time=1000.0))

    assert await store.adopt("a", record, "shared", age=120.0)
    assert (report(store, "a").age, report(store, "a").origin) == (120, "shared")


async def test_older_list_does_not_replace_a_newer_one(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "old")
    await clock.advance(1)
    fetch.lists("a", "m")
    async with running(store_of(ONE, fetch, clock)) as store:
        assert not await store.adopt("a", record, "shared")
        assert listed(store) == ["m"]


async def test_newer_list_of_another_process_replaces_the_list_and_the_next_fetch(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    changes: list[ModelsChange] = []
    fetch.lists("a", "m", "n")
    store = Store(config_of(ONE), fetch, clock, uniform=middle, on_models=changes.append)
    async with running(store):
        await clock.advance(80)
        record = await recorded(ONE, clock, "m", "o")
        assert await store.adopt("a", record, "shared")
        await run_pending_tasks()
        assert (listed(store), report(store, "a").next_attempt_in) == (["m", "o"], 90)
        assert changes == [ModelsChange("a", ["o"], ["n"])]
        await clock.advance(89)
        assert fetch.requests["a"] == 1
        await clock.advance(1)
        assert fetch.requests["a"] == 2


async def test_list_of_another_process_ends_the_failures(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a")
    async with running(store_of(ONE, fetch, clock)) as store:
        record = await recorded(ONE, clock, "m")
        assert await store.adopt("a", record, "shared")
        status = report(store, "a")
        assert (status.state, status.failures, status.error, status.next_attempt_in) == ("ok", 0, None, 90)


async def test_first_list_is_that_of_the_record(fetch: FakeFetch, clock: FakeClock) -> None:
    record = await recorded(ONE, clock, "m")
    fetch.lists("a", "m", "new")
    async with running(await restored(ONE, record, fetch, clock)) as store:
        await clock.advance(90)
        assert store.new_offers == {"a": {"new"}}
        again = store.record("a")
    assert again
    assert (await restored(ONE, again, fetch, clock)).new_offers == {"a": {"new"}}


async def test_unseen_models_withheld_times_and_confirmations_continue(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *({"id": f"m{i}", "created": int(clock.time())} for i in range(8)))
    async with running(store_of(ONE, fetch, clock)) as store:
        fetch.lists("a", "m0")
        await clock.advance(90)
        before, shown = store.record("a"), report(store, "a")
    assert before
    assert shown.is_held
    later = FakeClock(monotonic=77.0, time=clock.time() + 5)
    store = await restored(ONE, before, fetch, later)

    again = store.record("a")
    assert again == before
    assert (str(report(store, "a").error), report(store, "a").is_held) == (str(shown.error), True)
    async with running(store):
        await later.advance(595)
        assert len(listed(store)) == 8
        await later.advance(30)
        assert listed(store) == ["m0"]


async def test_changed_rule_over_fields_that_are_not_stored_fetches_the_list_at_once(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    def ruled(value: str) -> str:
        return ONE.replace('/a/v1"}', f'/a/v1", extra_fields: none, where: [{{field: tier, is: {value}}}]}}')

    origin: Origin
    for origin, due in (("restored", 0.0), ("fetched", 90.0)):
        store = await restored(ruled("gold"), await recorded(ruled("gold"), clock, "m"), fetch, clock)
        if origin == "fetched":
            fetch.lists("a", "m")
            store = store_of(ruled("gold"), fetch, clock)
            async with running(store):
                pass
        changed = store_of(ruled("silver"), fetch, clock)
        await changed.inherit(store, [], 1.0)
        assert report(changed, "a").next_attempt_in == due
