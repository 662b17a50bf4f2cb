"""Usage of replicas in a real Valkey server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

import pytest
from pydantic import SecretStr

from proxy.config.store import StoreSettings
from proxy.sharing import usage as shared_usage
from proxy.sharing.usage import UsageInValkey
from proxy.sharing.usage_store import Batch, batches
from proxy.sharing.valkey import Valkey
from proxy.telemetry.usage_rows import Counts, Names
from tests.fakes import FakeClock
from tests.valkey_servers import ValkeyServer

pytestmark = pytest.mark.anyio

HOUR = int(time.time()) // 3600 * 3600
ALICE, BOB = Names("alice", "m", "a"), Names("bob", "m", "a")
ONE = Counts(1, 0, 10, 20)
KEY = f"models-proxy:prod:usage:hour:{HOUR}"


@asynccontextmanager
async def replica(server: ValkeyServer) -> AsyncIterator[UsageInValkey]:
    sharing = Valkey(StoreSettings(valkey=SecretStr(server.url), namespace="prod"), FakeClock())
    running = asyncio.create_task(sharing.run())
    try:
        await asyncio.sleep(0)
        yield sharing.usage
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def batch(number: int, *rows: tuple[int, Names, Counts], used: dict[str, float] | None = None) -> Batch:
    return Batch(number, rows, used or {})


async def test_rows_of_replicas_are_added_up(server: ValkeyServer) -> None:
    async with replica(server) as one, replica(server) as two:
        assert await one.add(batch(1, (HOUR, ALICE, ONE), (HOUR, BOB, ONE))) == 0
        assert await two.add(batch(1, (HOUR, ALICE, Counts(2, 1, 5, 2**60)), (HOUR - 3600, ALICE, ONE))) == 0

        assert await one.rows(HOUR) == {ALICE: Counts(3, 1, 15, 2**53), BOB: ONE}
        assert await one.rows(HOUR - 7200) == {}
        index = await two.index()
    assert index is not None
    assert {start: state.rows for start, state in index.hours.items()} == {HOUR: 2, HOUR - 3600: 1}
    assert (index.rows, index.daily_before) == (3, None)


async def test_a_batch_whose_reply_was_lost_is_not_counted_twice(server: ValkeyServer) -> None:
    async with replica(server) as one, replica(server) as two:
        for number in (1, 1, 2, 1):
            assert await one.add(batch(number, (HOUR, ALICE, ONE))) == 0
        assert await two.add(batch(1, (HOUR, ALICE, ONE))) == 0  # of another process

        assert await one.rows(HOUR) == {ALICE: Counts(3, 0, 30, 60)}


async def test_the_version_of_an_hour_changes_with_its_rows_only(server: ValkeyServer) -> None:
    versions = []
    async with replica(server) as one:
        for number, start in enumerate((HOUR, HOUR, HOUR - 3600), 1):
            await one.add(batch(number, (start, ALICE, ONE)))
            index = await one.index()
            assert index is not None
            versions.append(index.hours[HOUR].version)
    assert versions[0] < versions[1] == versions[2]


async def test_last_requests_are_the_latest_of_all_replicas(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_usage, "_REQUESTS_PER_READ", 2)
    async with replica(server) as one, replica(server) as two:
        await one.add(batch(1, used={"alice": 1000.5, "bob": 20.0, "carol": 30.0}))
        await two.add(batch(1, used={"alice": 5.0, "bob": 40.0}))

        assert await one.used_since(0.0) == {"alice": 1000.5, "bob": 40.0, "carol": 30.0}
        assert await one.used_since(1000.0) == {"alice": 1000.5}


async def test_only_the_latest_of_too_many_last_requests_are_kept(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_usage, "MAX_IDENTITIES", 2)
    async with replica(server) as one:
        await one.add(batch(1, used={"alice": 1.0, "bob": 2.0, "carol": 3.0}))

        assert await one.used_since(0.0) == {"bob": 2.0, "carol": 3.0}


async def test_further_rows_are_counted_as_other_and_totals_are_correct(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_usage, "MAX_ROWS", 10)
    async with replica(server) as one:
        known = [(HOUR, Names("alice", f"m{number}", "a"), ONE) for number in range(10)]
        await one.add(batch(1, *known))
        await one.add(batch(2, (HOUR, ALICE, ONE), (HOUR, BOB, ONE), (HOUR, Names("bob", "m2", "a"), ONE), known[0]))
        rows = await one.rows(HOUR)
    assert rows is not None
    assert {
        names: counts.requests for names, counts in rows.items() if names not in {each for _, each, _ in known}
    } == {
        Names("alice", "other", "other"): 1,
        Names(":other", "other", "other"): 2,
    }
    assert sum(counts.requests for counts in rows.values()) == 14


async def test_hours_are_read_in_parts(server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_usage, "_ROWS_PER_READ", 100)
    rows = {Names(f"k{number}", "m", "a"): Counts(number, 0, 0, 0) for number in range(1500)}
    async with replica(server) as one:
        for each in batches(((HOUR, names, counts) for names, counts in rows.items()), {}, iter(range(1, 9))):
            await one.add(each)

        assert await one.rows(HOUR) == rows


async def test_hours_of_a_day_are_merged(server: ValkeyServer) -> None:
    async with replica(server) as one:
        many = [(HOUR + 3600, Names(f"k{number}", "m", "a"), ONE) for number in range(600)]
        await one.add(batch(1, (HOUR, ALICE, ONE), (HOUR + 3600, ALICE, ONE), *many))
        assert await one.merge(HOUR + 3600, HOUR)
        await one.correct(601, date(2026, 11, 29))
        rows, index = await one.rows(HOUR), await one.index()
    assert rows is not None
    assert index is not None
    assert (len(rows), rows[ALICE], rows[Names("k599", "m", "a")]) == (601, Counts(2, 0, 20, 40), ONE)
    assert {start: state.rows for start, state in index.hours.items()} == {HOUR: 601}
    assert index.daily_before == date(2026, 11, 29)
    assert server.client.get("models-proxy:prod:usage:rows") == b"601"


async def test_removed_hours_have_no_rows(server: ValkeyServer) -> None:
    async with replica(server) as one:
        await one.add(batch(1, (HOUR, ALICE, ONE), (HOUR + 3600, ALICE, ONE)))
        await one.remove([HOUR])
        index = await one.index()

        assert await one.rows(HOUR) == {}
        assert index is not None
        assert [*index.hours] == [HOUR + 3600]


async def test_one_of_the_replicas_maintains_the_rows(server: ValkeyServer) -> None:
    async with replica(server) as one, replica(server) as two:
        assert [await one.claim_maintenance(60), await two.claim_maintenance(60)] == [True, False]


async def test_every_key_expires(server: ValkeyServer) -> None:
    async with replica(server) as one:
        await one.add(batch(1, (HOUR, ALICE, ONE), used={"alice": 1.0}))
        await one.correct(1, None)
        await one.claim_maintenance(60)

        keys = [*server.client.keys("models-proxy:prod:usage:*")]
        assert len(keys) == 6
        assert all(server.client.pttl(key) > 0 for key in keys)
        days = (server.client.pttl(KEY) / 1000 + time.time() - HOUR) / 86_400
    assert 91.9 < days < 92.1


async def test_calls_of_hours_that_cannot_be_stored_are_returned(server: ValkeyServer) -> None:
    server.client.set(KEY, "of another program")
    async with replica(server) as one:
        rows = [(HOUR, ALICE, ONE), (HOUR + 3600, BOB, ONE), (HOUR - 93 * 86_400, ALICE, Counts(3, 0, 0, 0))]

        assert await one.add(batch(1, *rows)) == 4
        assert await one.rows(HOUR + 3600) == {BOB: ONE}
        assert await one.rows(HOUR) is None
    assert server.client.get(KEY) == b"of another program"


@pytest.mark.parametrize("name", ["hours", "requests", "rows"])
async def test_calls_are_dropped_while_another_program_uses_a_key(server: ValkeyServer, name: str) -> None:
    key = f"models-proxy:prod:usage:{name}"
    server.client.lpush(key, "of another program")
    async with replica(server) as one:
        assert await one.add(batch(1, (HOUR, ALICE, ONE), used={"alice": 1.0})) == 1
        assert await one.rows(HOUR) == {}
        server.client.delete(key)
        assert await one.add(batch(2, (HOUR, ALICE, ONE), used={"alice": 1.0})) == 0
        assert await one.rows(HOUR) == {ALICE: ONE}


async def test_a_full_server_counts_nothing_and_later_each_call_once(server: ValkeyServer) -> None:
    async with replica(server) as one:
        await one.add(batch(1, (HOUR, ALICE, ONE)))
        server.client.config_set("maxmemory", 1)
        try:
            assert await one.add(batch(2, (HOUR, ALICE, ONE), (HOUR, BOB, ONE))) is None
        finally:
            server.client.config_set("maxmemory", 0)
    async with replica(server) as two:
        assert await two.rows(HOUR) == {ALICE: ONE}


async def test_values_of_other_programs_are_ignored(server: ValkeyServer) -> None:
    index = "models-proxy:prod:usage:hours"
    server.client.hset(index, mapping={"x": "1 2", "-3600": "1 2", "7200": "many", "daily_before": "soon", "0": "5 1"})
    server.client.hset(KEY, mapping={"a": "1 2 3 4", "a\x1fb\x1fc": "1 2", "d\x1fe\x1ff": "1 0 0 -2", b"\xff": "1"})
    async with replica(server) as one:
        found = await one.index()
        assert await one.rows(HOUR) is None  # not UTF-8
        server.client.hdel(KEY, b"\xff")
        assert await one.rows(HOUR) == {}
    assert found is not None
    assert (dict(found.hours), found.daily_before) == ({0: (5, 1)}, None)


async def test_names_cannot_be_those_of_another_row(server: ValkeyServer) -> None:
    async with replica(server) as one:
        await one.add(batch(1, (HOUR, Names("alice\x1fm", "", "a"), ONE)))

        assert await one.rows(HOUR) == {Names("alice?m", "", "a"): ONE}


async def test_nothing_is_known_while_the_store_is_down() -> None:
    with ValkeyServer() as server:
        async with replica(server) as one:
            server.kill()
            assert await one.add(batch(1, (HOUR, ALICE, ONE))) is None
            assert await one.index() is None
            assert await one.rows(HOUR) is None
            assert await one.used_since(0.0) is None
            assert not await one.merge(HOUR, HOUR + 3600)
            assert not await one.claim_maintenance(60)


def test_batches_are_bounded() -> None:
    rows = [(HOUR, Names(f"k{number}", "m", "a"), ONE) for number in range(1100)]
    used = {f"k{number}": 1.0 for number in range(450)}
    divided = [*batches(rows, used, iter(range(1, 9)))]

    assert [(each.number, len(each.rows), len(each.used)) for each in divided] == [
        (1, 200, 200),
        (2, 200, 200),
        (3, 200, 50),
        (4, 200, 0),
        (5, 200, 0),
        (6, 100, 0),
    ]
    assert [row for each in divided for row in each.rows] == rows
