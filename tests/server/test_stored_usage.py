"""Usage in `store.directory`: what a restart keeps, also after the process was killed, and what faults do."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.server.stored_usage import FLUSH_SECONDS, StoredUsage
from proxy.server.usage import MAX_STORED_DAYS
from proxy.store import usage_files as files_module
from proxy.store.directory import ListDirectory
from proxy.store.disk import DirectoryLocked, Disk
from proxy.store.envelope import seal
from proxy.store.usage_files import LOCK, UsageFiles
from proxy.telemetry.days import DAY, HOUR, Days
from proxy.telemetry.events import grouped
from proxy.telemetry.usage import Usage, total_of
from proxy.telemetry.usage_query import Labels, PreparedQuery, Query
from proxy.telemetry.usage_records import decoded, encoded
from proxy.telemetry.usage_rows import ClosedRows, Counts, Names
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, run_pending_tasks, started
from tests.store.files import FakeFiles, FakeThread
from tests.telemetry.calls import record

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 29, 12, 30, tzinfo=UTC).timestamp()
TODAY = "usage-2026-11-29-"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time=NOON)


@pytest.fixture
def files(clock: FakeClock) -> FakeFiles:
    return FakeFiles(clock)


async def later(clock: FakeClock, seconds: float) -> None:
    """Let time pass, with one write at its end."""
    clock.set_time(clock.time() + seconds)
    await clock.advance(FLUSH_SECONDS)


class Process:
    """One that counts usage, and keeps it in files."""

    def __init__(self, clock: FakeClock, files: FakeFiles, zone: str = "UTC", max_rows: int = 1000) -> None:
        self.clock = clock
        self.thread = FakeThread()
        self.usage = Usage(clock.time, Days(UTC), lambda model: True, max_days=MAX_STORED_DAYS, max_rows=max_rows)
        self.directory = ListDirectory("/lists", files, self.thread.submit, clock, lambda: ())
        self.stored = StoredUsage(self.usage, self.directory, UsageFiles(files), clock, zone)

    def use(self, key: str = "alice", **fields: Any) -> None:
        self.usage.calls_ended(
            grouped([record(key=key, model="m", provider="a", input_tokens=1, output_tokens=2, **fields)])
        )

    def totals(self, *by: str) -> Mapping[Labels, int]:
        """Requests."""
        answer = PreparedQuery(self.usage, Query(0, 2**40, by)).answer()
        return {labels: counts[0] for labels, counts in answer.totals}

    def tidy(self) -> None:
        for start, rows in [*self.usage.hours_to_close()]:
            self.usage.close(start, ClosedRows(rows))
        self.usage.remove_old()


@asynccontextmanager
async def living(clock: FakeClock, files: FakeFiles, **settings: Any) -> AsyncIterator[Process]:
    process = Process(clock, files, **settings)
    await process.stored.start()
    yield process
    await process.stored.stop()


async def test_a_killed_process_loses_what_it_did_not_write_yet(clock: FakeClock, files: FakeFiles) -> None:
    killed = Process(clock, files)
    await killed.stored.start()
    killed.use()
    await clock.advance(FLUSH_SECONDS)
    killed.use()
    await clock.advance(FLUSH_SECONDS)
    killed.use()

    async with living(clock, files) as process:
        assert process.totals("hour", "key", "model", "provider") == {("2026-11-29T12:00:00Z", "alice", "m", "a"): 2}
        assert FLUSH_SECONDS < 5


async def test_usage_of_several_processes_is_added(clock: FakeClock, files: FakeFiles) -> None:
    for _ in range(3):
        async with living(clock, files) as process:
            process.use()
            process.use("bob")
            process.usage.count()
            await later(clock, 60)
    async with living(clock, files) as process:
        assert process.totals("hour", "key") == {
            ("2026-11-29T12:00:00Z", "alice"): 3,
            ("2026-11-29T12:00:00Z", "bob"): 3,
        }
        assert process.usage.rows == 2


async def test_what_was_counted_before_usage_is_restored_is_added(clock: FakeClock, files: FakeFiles) -> None:
    async with living(clock, files) as process:
        process.use()
    later = Process(clock, files)
    later.thread.hangs = True
    await run_pending_tasks()
    later.use()
    later.usage.count()
    later.thread.go_on()
    await later.stored.start()

    assert (later.totals("key"), later.usage.rows) == ({("alice",): 2}, 1)
    await later.stored.stop()


async def test_the_last_request_of_each_key_is_restored(clock: FakeClock, files: FakeFiles) -> None:
    async with living(clock, files) as process:
        process.usage.add({}, {"alice": 5.0, "bob": 7.0})
        await later(clock, HOUR)  # in the files of days
        process.usage._used_now["alice"] = 6.0  # in the log
    async with living(clock, files) as process:
        assert process.usage.last_used() == {"alice": 6.0, "bob": 7.0}


async def test_files_of_days_replace_the_log(clock: FakeClock, files: FakeFiles) -> None:
    async with living(clock, files) as process:
        process.use()
        await clock.advance(FLUSH_SECONDS)
        process.use()
        await clock.advance(FLUSH_SECONDS)
        assert [name.rstrip("0123456789abcdef") for name in sorted(files.content)][:1] == [TODAY]
        await later(clock, HOUR)
        assert not any(name.startswith("usage-log-") for name in files.content)
    async with living(clock, files) as process:
        assert process.totals("day") == {("2026-11-29",): 2}


async def test_a_long_log_is_replaced_before_the_hour_ends(
    clock: FakeClock, files: FakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.server.stored_usage.LOG_BYTES", 100)
    async with living(clock, files) as process:
        for _ in range(3):
            process.use()
            await clock.advance(FLUSH_SECONDS)
        assert not any(name.startswith("usage-log-") for name in files.content)


@pytest.mark.parametrize("step", range(2, 7))
async def test_nothing_is_lost_or_counted_twice_wherever_the_process_is_killed(
    step: int, clock: FakeClock, files: FakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`step`: the change of a file that is the last one."""
    killed = Process(clock, files)
    await killed.stored.start()
    done = 0
    for name in ("write", "append", "remove"):
        change = getattr(files, name)

        def limited(*arguments: Any, change: Any = change) -> None:
            nonlocal done
            done += 1
            if done > step:
                raise OSError(errno.EIO, "killed")
            change(*arguments)

        monkeypatch.setattr(files, name, limited)
    killed.use()
    await clock.advance(FLUSH_SECONDS)
    await later(clock, HOUR)
    monkeypatch.undo()

    async with living(clock, files) as process:
        assert process.totals("hour") == {("2026-11-29T12:00:00Z",): 1}


async def test_days_are_removed_after_90_days(clock: FakeClock, files: FakeFiles) -> None:
    async with living(clock, files) as process:
        process.use()
        process.usage.count()
        for _ in range(91):
            await later(clock, DAY)
            process.use()
            process.tidy()
        await later(clock, HOUR)
        assert min(process.totals("day")) == ("2026-11-30",)
        assert not any(name.startswith(TODAY) for name in files.content)
        assert len([name for name in files.content if name.startswith("usage-20")]) == 91
    async with living(clock, files) as process:
        assert len(process.totals("day")) == 91


async def test_too_many_rows_become_days_also_in_the_files(clock: FakeClock, files: FakeFiles) -> None:
    clock.set_time(NOON - 12 * HOUR)
    async with living(clock, files, max_rows=40) as process:
        for _ in range(36):
            process.use()
            process.usage.count()
            await later(clock, HOUR)
            process.tidy()
        old = process.usage.too_many()
        assert old
        assert old.day == date(2026, 11, 29)
        process.usage.reduce(old, total_of(old))
        process.stored.day_changed(old.day)
        await later(clock, HOUR)
    async with living(clock, files) as process:
        assert process.totals("day") == {("2026-11-29",): 24, ("2026-11-30",): 12}
        assert process.usage.state[0] == 13
        assert process.usage.state[3] == "2026-11-30"


async def test_files_of_another_time_zone_are_replaced(clock: FakeClock, files: FakeFiles) -> None:
    async with living(clock, files) as process:
        process.use()
        await later(clock, HOUR)
        before = {name for name in files.content if name.startswith(TODAY)}
        process.stored.configure("Asia/Tokyo")
        await later(clock, HOUR)
        after = {name for name in files.content if name.startswith(TODAY)}
        assert (len(before), len(after), before & after) == (1, 1, set())
    async with living(clock, files, zone="Europe/Berlin") as process:
        await later(clock, HOUR)
        assert not after & {*files.content}
        assert process.totals() == {(): 1}


async def test_usage_is_kept_while_the_directory_fails(
    clock: FakeClock, files: FakeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    async with living(clock, files) as process:
        process.use()
        files.error = OSError(errno.ENOSPC, "No space left on device")
        await clock.advance(10)
        process.use()
        await clock.advance(20)
        files.error = None
        await clock.advance(60)
    async with living(clock, files) as process:
        assert process.totals() == {(): 2}
    problem = "store.directory: /lists: No space left on device; what cannot be written is kept in memory only until"
    assert caplog.text.count(problem) == 1


async def test_nothing_is_written_before_usage_is_restored(clock: FakeClock, files: FakeFiles) -> None:
    async with living(clock, files) as process:
        process.use()
    files.error = OSError(errno.EIO, "Input/output error")
    async with living(clock, files) as process:
        process.use()
        await clock.advance(10)
        files.error = None
        await clock.advance(60)
        assert process.totals() == {(): 2}


async def test_another_process_with_the_same_directory_writes_nothing(clock: FakeClock, tmp_path: Path) -> None:
    first, second = UsageFiles(Disk(str(tmp_path), LOCK)), UsageFiles(Disk(str(tmp_path), LOCK))
    first.lock()
    with pytest.raises(DirectoryLocked):
        second.lock()
    Disk(str(tmp_path)).lock()  # that of lists
    first.unlock()
    second.lock()
    second.unlock()


@pytest.mark.parametrize("content", [b"", b"no record", seal(b"usage", 2, b"", b"of a later version")])
async def test_a_file_that_cannot_be_used_is_ignored_and_stays(
    content: bytes, clock: FakeClock, files: FakeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    name = "usage-2026-11-28-00000000"
    async with living(clock, files) as process:
        process.use()
    files.content[name] = content
    async with living(clock, files) as process:
        await later(clock, HOUR)
        assert process.totals() == {(): 1}
    assert (name in files.content) == bool(content)
    why = "written by a newer version" if b"later" in content else "truncated, or not written by models-proxy"
    expected = [f"store.directory: the file {name} is ignored: {why}"] if content else []
    assert [message for message in caplog.messages if name in message] == expected


def test_records_are_read_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.usage_records.ROWS_PER_RECORD", 2)
    rows = {Names(f"k{number}", "m", "a"): Counts(number, 0, 2**70, 1) for number in range(3)}
    records = [decoded(data) for data in encoded([(int(NOON), rows.items())], {"alice": 1.5}, date(2026, 1, 31))]

    assert [len(each.hours[int(NOON)]) for each in records] == [2, 1]
    assert records[0].hours[int(NOON)][Names("k1", "m", "a")] == Counts(1, 0, 2**63 - 1, 1)
    assert [(each.used, each.daily_before) for each in records] == [({"alice": 1.5}, date(2026, 1, 31)), ({}, None)]
    assert [*encoded([], {})] == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x94\x90\x91\x98\x00\x00\x00\x00\x01\x00\x00\x00\x80\xc0",  # the place of a name that does not exist
        b"\x94\x91\xa1a\x91\x98\x00\x00\x00\x00\xff\x00\x00\x00\x80\xc0",  # a negative count
        b"\x95\x90\x90\x80\xc0\xc0",  # a field that is unknown
    ],
)
def test_other_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(data)


async def test_a_restarted_server_shows_the_usage_of_earlier_ones(
    clock: FakeClock, fetch: FakeFetch, tmp_path: Path
) -> None:
    key = "sk-fake-of-operator"
    config = config_of(
        f"store: {{directory: '{tmp_path}'}}\nproviders: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]\n"
        f"keys: [{{name: ops, hash: '{digest(key)}', models: ['*'], admin: true}}]\n"
    )
    async with started(config, fetch, clock) as app:
        app.usage.usage.calls_ended(
            grouped([record(key="ops", model="m", provider="a", input_tokens=1, output_tokens=2)])
        )
    clock.set_time(NOON + 30 * DAY)
    async with started(config, fetch, clock) as app:
        usage = await reply_to(app, "/v1/usage?from=2026-11-29", {"x-api-key": key})
        health = await reply_to(app, "/health", {"x-api-key": key})
        await app.replace(config)

    assert usage.json["total"] == {"requests": 1, "failed": 0, "input_tokens": 1, "output_tokens": 2}
    assert health.json["store"]["usage"] == {
        "rows": 1,
        "max_rows": 1_000_000,
        "since": "2026-11-29",
        "daily_before": None,
        "dropped": 0,
    }
    assert files_module.LOCK == "usage-lock"
