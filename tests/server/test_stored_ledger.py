"""The ids that keys received, in `store.directory`."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.config import Config
from proxy.inference.ledger import Ledger, Origin
from proxy.server.stored_ledger import StoredLedger
from proxy.store import Store
from proxy.store.directory import ListDirectory
from tests.fakes import FakeClock, FakeFetch, config_of, digest, run_pending_tasks
from tests.store.files import FakeFiles, FakeThread

pytestmark = pytest.mark.anyio

PROVIDER = "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]\n"


def keys(*names: str) -> Config:
    listed = ", ".join(f"{{name: {name}, hash: '{digest(f'sk-fake-{name}')}', models: ['*']}}" for name in names)
    return config_of(f"keys: [{listed}]\n{PROVIDER}")


@pytest.fixture
def files(clock: FakeClock) -> FakeFiles:
    return FakeFiles(clock)


@asynccontextmanager
async def living(
    config: Config, clock: FakeClock, files: FakeFiles, thread: FakeThread | None = None
) -> AsyncIterator[tuple[Ledger, StoredLedger, ListDirectory]]:
    ledger = Ledger(clock.monotonic, config.identities)
    submit = (thread or FakeThread()).submit
    directory = ListDirectory("/lists", files, submit, clock, lambda: config.providers)
    store = Store(config, FakeFetch(), clock)
    stored = StoredLedger(ledger, directory, clock, config.keys)
    await directory.start(lambda: store)
    await stored.start()
    yield ledger, stored, directory
    await stored.stop()
    await directory.stop()


async def test_ids_are_restored_with_their_age(clock: FakeClock, files: FakeFiles) -> None:
    async with living(keys("alice"), clock, files) as (ledger, _, _):
        ledger.add("alice", "resp_1", ledger.origin("a", "m"))
        await clock.advance(1)
        assert sorted(files.content) == ["ledger-0000000001"]
    later = FakeClock(monotonic=10.0, time=clock.time() + 100)
    async with living(keys("alice"), later, files) as (ledger, _, _):
        assert ledger.find("alice", "resp_1") == Origin("a", "m", 10.0 - 101)
    assert sorted(files.content) == ["ledger-0000000002"]


async def test_changes_are_written_when_the_process_ends(clock: FakeClock, files: FakeFiles) -> None:
    async with living(keys("alice"), clock, files) as (ledger, _, _):
        ledger.add("alice", "resp_1", ledger.origin("a", "m"))
    async with living(keys("alice"), clock, files) as (ledger, _, _):
        assert ledger.provider_of("alice", "resp_1") == "a"


async def test_ids_of_a_key_that_is_added_by_a_reload_are_restored(clock: FakeClock, files: FakeFiles) -> None:
    async with living(keys("alice"), clock, files) as (ledger, stored, _):
        await stored.configure(keys("alice", "bob").keys)
        ledger.limit_to(["alice", "bob"])
        ledger.add("bob", "resp_1", ledger.origin("a", "m"))
    async with living(keys("bob"), clock, files) as (ledger, _, _):
        assert ledger.provider_of("bob", "resp_1") == "a"


async def test_changes_are_kept_while_the_directory_fails(
    clock: FakeClock, files: FakeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    async with living(keys("alice"), clock, files) as (ledger, _, directory):
        await clock.advance(1)
        files.error = OSError(errno.ENOSPC, "No space left on device")
        for number in range(3):
            ledger.add("alice", f"resp_{number}", ledger.origin("a", "m"))
            await clock.advance(1)
        assert directory.status.problem == "No space left on device"
        files.error = None
        await clock.advance(300)
        assert len(files.content) == 1
    async with living(keys("alice"), clock, files) as (ledger, _, _):
        assert [ledger.provider_of("alice", f"resp_{number}") for number in range(3)] == ["a", "a", "a"]
    assert len(caplog.messages) == 1


async def test_fault_of_the_directory_does_not_disturb_the_ledger(clock: FakeClock, files: FakeFiles) -> None:
    files.error = OSError(errno.ENOTDIR, "Not a directory")
    async with living(keys("alice"), clock, files) as (ledger, _, _):
        ledger.add("alice", "resp_1", ledger.origin("a", "m"))
        await clock.advance(100)
        assert ledger.provider_of("alice", "resp_1") == "a"


async def test_directory_that_does_not_respond_delays_the_start_only(
    clock: FakeClock, files: FakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with living(keys("alice"), clock, files) as (ledger, _, _):
        ledger.add("alice", "resp_1", ledger.origin("a", "m"))
    for module in ("proxy.store.directory", "proxy.server.periodic_writes"):
        monkeypatch.setattr(f"{module}.RESTORE_SECONDS", 0.01)
        monkeypatch.setattr(f"{module}.STOP_SECONDS", 0.01)
    thread = FakeThread()
    thread.hangs = True
    async with living(keys("alice"), clock, files, thread) as (ledger, _, _):
        ledger.add("alice", "resp_2", ledger.origin("a", "m"))
        assert ledger.provider_of("alice", "resp_1") == ""
        thread.go_on()
        await run_pending_tasks()
        assert [ledger.provider_of("alice", each) for each in ("resp_1", "resp_2")] == ["a", "a"]
    await asyncio.sleep(0)
