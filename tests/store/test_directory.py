"""`store.directory`: which lists are written and restored, and that a fault of the directory changes nothing else."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from proxy.config import Config
from proxy.store import Store
from proxy.store.directory import DirectoryStatus, ListDirectory
from proxy.store.disk import DirectoryLocked, FileInfo
from proxy.store.fingerprint import fingerprint
from proxy.store.list_files import MAX_BYTES, MAX_FILES, removable
from tests.fakes import FakeClock, FakeFetch, config_of, middle, run_pending_tasks
from tests.store.files import FakeFiles, FakeThread
from tests.store.stores import ONE, TWO, listed, report

pytestmark = pytest.mark.anyio


@pytest.fixture
def files(clock: FakeClock) -> FakeFiles:
    return FakeFiles(clock)


class Process:
    """One life of the proxy: a store, and the directory."""

    def __init__(self, text: str, fetch: FakeFetch, clock: FakeClock, files: FakeFiles, disk: FakeThread) -> None:
        self.config: Config = config_of(text)
        by_name = {provider.name: provider for provider in self.config.providers}
        self.directory = ListDirectory("/lists", files, disk.submit, clock, lambda: self.config.providers)

        def keep(name: str) -> None:
            record = self.store.record(name)
            assert record
            self.directory.save(by_name[name], record)

        self.store = Store(self.config, fetch, clock, uniform=middle, on_accepted=keep)

    @property
    def status(self) -> DirectoryStatus:
        return self.directory.status


@asynccontextmanager
async def living(
    text: str, fetch: FakeFetch, clock: FakeClock, files: FakeFiles, disk: FakeThread | None = None
) -> AsyncIterator[Process]:
    process = Process(text, fetch, clock, files, disk or FakeThread())
    await process.directory.start(lambda: process.store)
    running = asyncio.create_task(process.store.run())
    await run_pending_tasks()
    yield process
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await process.directory.stop()


def file_of(text: str, number: int = 0) -> str:
    return fingerprint(config_of(text).providers[number]).name + ".list"


async def test_list_is_restored_at_the_next_start(fetch: FakeFetch, clock: FakeClock, files: FakeFiles) -> None:
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        assert [*files.content] == [file_of(ONE)]
        assert process.status == DirectoryStatus("/lists", "", 1, 0, 0)
    fetch.fails("a")
    later = FakeClock(monotonic=3.0, time=clock.time() + 200)
    async with living(ONE, fetch, later, files) as process:
        assert listed(process.store) == ["m"]
        shown = report(process.store, "a")
        assert (shown.state, shown.age, shown.origin) == ("stale", 200, "restored")


@pytest.mark.parametrize(
    "changed",
    [
        ONE.replace("/a/v1", "/b/v1"),
        ONE.replace('/a/v1"', '/a/v1", api_key: sk-fake'),
        ONE.replace('/a/v1"', '/a/v1", max_models: 7'),
    ],
)
async def test_list_of_other_settings_is_neither_restored_nor_removed(
    changed: str, fetch: FakeFetch, clock: FakeClock, files: FakeFiles
) -> None:
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files):
        pass
    fetch.fails("a")
    async with living(changed, fetch, clock, files) as process:
        assert listed(process.store) == []
    assert file_of(ONE) in files.content


async def test_newest_list_is_written_once_per_second(fetch: FakeFetch, clock: FakeClock, files: FakeFiles) -> None:
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        for number in range(5):
            fetch.lists("a", f"m{number}")
            await process.store.refresh(["a"], 1.0, accept=True)
        await clock.advance(0.9)
        assert len(files.written) == 1
        await clock.advance(0.1)
        assert len(files.written) == 2
        await clock.advance(10)
        assert len(files.written) == 2
    fetch.fails("a")
    async with living(ONE, fetch, clock, files) as process:
        assert listed(process.store) == ["m4"]


async def test_list_that_was_not_written_yet_is_written_when_the_process_ends(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles
) -> None:
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        fetch.lists("a", "n")
        await process.store.refresh(["a"], 1.0, accept=True)
        assert len(files.written) == 1
    assert len(files.written) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not written by models-proxy"),
        (b"PK\3\4", "not written by models-proxy"),
        (b"MODELS-PROXY\0", "truncated"),
    ],
)
async def test_unusable_file_is_reported_and_replaced(
    content: bytes,
    reason: str,
    fetch: FakeFetch,
    clock: FakeClock,
    files: FakeFiles,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files.content[file_of(ONE)] = content
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        assert process.status.ignored_files == 1
        assert len(files.content[file_of(ONE)]) > len(content)
    assert f"store.directory: /lists: the file of a is ignored: {reason}" in caplog.text


async def test_fault_is_logged_once_and_ends_when_the_directory_works_again(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files.error = OSError(errno.ENOSPC, "No space left on device")
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        assert listed(process.store) == ["m"]
        assert process.status.problem == "No space left on device"
        await clock.advance(3600)
        assert listed(process.store) == ["m"]
        files.error = None
        await clock.advance(300)
        assert process.status.problem == ""
        assert [*files.content] == [file_of(ONE)]
    effect = "what cannot be written is kept in memory only until that is fixed"
    assert caplog.messages == [
        f"store.directory: /lists: No space left on device; {effect}",
        "store.directory: /lists: everything is written again",
    ]


async def test_a_fault_lasts_until_what_has_failed_is_written(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles
) -> None:
    """As on a full disk: a new file does not fit, but a line in another file does."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with living(ONE, fetch, clock, files) as process:
        with pytest.raises(OSError, match="No space"):
            await process.directory.write(full, "limits")
        await process.directory.write(lambda: None, "usage")
        after_usage = process.status.problem
        await process.directory.write(lambda: None, "limits")

    assert (after_usage, process.status.problem) == ("No space left on device", "")


async def test_directory_is_tried_again_with_back_off(fetch: FakeFetch, clock: FakeClock, files: FakeFiles) -> None:
    tries: list[float] = []

    class Counting(FakeFiles):
        def lock(self) -> None:
            tries.append(clock.monotonic())
            raise OSError(errno.EACCES, "Permission denied")

    async with living(ONE, fetch, clock, Counting(clock)):
        await clock.advance(1500)
    assert [second - first for first, second in pairwise(tries[1:])] == [
        5, 10, 20, 40, 80, 160, 300, 300, 300,
    ]  # fmt: skip


async def test_lists_are_written_soon_after_something_else_could_be_written(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    fetch.lists("a", "m")
    files.error = OSError(errno.ENOSPC, "No space left on device")
    async with living(ONE, fetch, clock, files) as process:
        for _ in range(20):  # another part of the server, which tries more often
            with pytest.raises(OSError, match="No space"):
                await process.directory.write(lambda: files.write("other", b""))
            await clock.advance(2)
        files.error = None
        await process.directory.write(lambda: files.write("other", b""))
        await clock.advance(40)  # the list itself failed several times
        assert process.status.problem == ""
        assert file_of(ONE) in files.content


async def test_a_fault_of_something_else_ends_with_its_next_write(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles
) -> None:
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        files.error = OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(OSError, match="No space"):
            await process.directory.write(lambda: files.write("other", b""))
        assert process.status.problem == "No space left on device"
        files.error = None
        await process.directory.do(lambda: None)
        assert process.status.problem == "No space left on device"
        await process.directory.write(lambda: files.write("other", b""))
        assert process.status.problem == ""


class ReadOnly(FakeFiles):
    """Files that can be read only."""

    fault: OSError = OSError(errno.EROFS, "Read-only file system")

    def lock(self) -> None:
        raise self.fault


@pytest.mark.parametrize("fault", [ReadOnly.fault, DirectoryLocked(errno.EAGAIN, "locked")], ids=str)
async def test_lists_are_restored_from_a_directory_that_can_only_be_read(
    fault: OSError, fetch: FakeFetch, clock: FakeClock, files: FakeFiles
) -> None:
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files):
        pass
    fetch.fails("a")
    read_only = ReadOnly(clock)
    read_only.content, read_only.fault = files.content, fault
    async with living(ONE, fetch, clock, read_only) as process:
        assert listed(process.store) == ["m"]
        assert process.status.problem in ("Read-only file system", "another process uses the directory")


async def test_workers_of_one_server_share_the_directory_without_a_warning(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    locked = ReadOnly(clock)
    locked.fault = error = DirectoryLocked(errno.EAGAIN, "locked")
    error.is_sibling = True
    directory = ListDirectory(
        "/lists", locked, FakeThread().submit, clock, lambda: config_of(ONE).providers, is_shared=True
    )
    store = Store(config_of(ONE), fetch, clock, uniform=middle)
    await directory.start(lambda: store)
    await run_pending_tasks()

    assert directory.status == DirectoryStatus("/lists", "", 0, 0, 0)
    assert caplog.messages == []
    await directory.stop()


async def test_second_process_does_not_write_until_the_directory_is_free(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    files.error = DirectoryLocked(errno.EAGAIN, "another process uses the directory")
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        assert (listed(process.store), files.written) == (["m"], [])
        files.error = None
        await clock.advance(30)
        assert files.written == [file_of(ONE)]
    locked = "another process uses the directory; this one does not write to it until that one has ended"
    assert caplog.messages == [f"store.directory: /lists: {locked}"]


async def test_directory_that_does_not_respond_delays_nothing_but_the_start(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.store.directory.RESTORE_SECONDS", 0.01)
    monkeypatch.setattr("proxy.store.directory.SLOW_SECONDS", 0.01)
    monkeypatch.setattr("proxy.store.directory.STOP_SECONDS", 0.01)
    disk = FakeThread()
    disk.hangs = True
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files, disk) as process:
        assert listed(process.store) == ["m"]
        assert process.status.problem == "no response for 0 s"
        disk.go_on()
        await run_pending_tasks()
        assert (process.status.problem, files.written) == ("", [file_of(ONE)])
        disk.hangs = True
        fetch.lists("a", "n")
        await clock.advance(90)
        assert listed(process.store) == ["n"]


async def test_list_that_is_restored_late_does_not_replace_a_fetched_one(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.lists("a", "old-a")
    fetch.lists("b", "old-b")
    async with living(TWO, fetch, clock, files):
        pass
    await clock.advance(200)
    monkeypatch.setattr("proxy.store.directory.RESTORE_SECONDS", 0.01)
    disk = FakeThread()
    disk.hangs = True
    fetch.lists("a", "new-a")
    fetch.fails("b")
    async with living(TWO, fetch, clock, files, disk) as process:
        assert listed(process.store) == ["new-a"]
        disk.go_on()
        await run_pending_tasks()
        assert listed(process.store) == ["new-a", "old-b"]
        assert fetch.requests["b"] == 2, "the failure is later than the list"
        assert (report(process.store, "b").state, report(process.store, "b").failures) == ("stale", 1)


async def test_old_lists_of_other_settings_are_removed_and_nothing_else(
    fetch: FakeFetch, clock: FakeClock, files: FakeFiles
) -> None:
    now = clock.time()
    old, recent = "0" * 32 + ".list", "1" * 32 + ".list"
    modified = {old: now - 1001, recent: now - 999, "2" * 32 + ".list.tmp": now, "lost+found": 0.0, "notes.list": 0.0}
    files.modified = {**modified, file_of(ONE): now - 5000}
    files.content = dict.fromkeys(files.modified, b"")
    fetch.fails("a")
    async with living(ONE, fetch, clock, files):
        pass
    assert sorted(files.content) == sorted([recent, "lost+found", "notes.list", file_of(ONE)])


def test_number_and_size_of_other_lists_are_limited() -> None:
    many = [FileInfo(f"{number:032}.list", 10, float(number)) for number in range(MAX_FILES + 2)]
    large = [FileInfo(f"{number:032}.list", MAX_BYTES // 2, float(number)) for number in range(3)]

    assert removable(many, (), 0.0) == [many[1].name, many[0].name]
    assert removable(large, (), 0.0) == [large[0].name]


async def test_list_that_is_too_large_is_reported_and_others_are_written(
    fetch: FakeFetch,
    clock: FakeClock,
    files: FakeFiles,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("proxy.store.envelope.MAX_PAYLOAD", 1000)
    fetch.lists("a", *(f"m{number}" for number in range(100)))
    fetch.lists("b", "m")
    async with living(TWO, fetch, clock, files) as process:
        assert (process.status.writes, process.status.failed_writes) == (1, 0)
    assert [*files.content] == [file_of(TWO, 1)]
    assert "store.directory: the list of a is not written: larger than 1,000 bytes" in caplog.text


async def test_list_that_cannot_be_written_does_not_keep_the_others_out(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[float] = []

    class Refusing(FakeFiles):
        def write(self, name: str, data: bytes) -> None:
            if name == file_of(TWO):
                tried.append(clock.monotonic())
                raise OSError(errno.EFBIG, "File too large")
            super().write(name, data)

    files = Refusing(clock)
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    async with living(TWO, fetch, clock, files) as process:
        await clock.advance(600)
        assert len(files.written) > 5
        assert process.status.problem == "File too large"
    assert [second - first for first, second in pairwise(tried)][:5] == [5, 10, 20, 40, 80]
    assert len(caplog.messages) == 1


async def test_file_that_cannot_be_removed_does_not_keep_lists_from_being_written(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    class Keeping(FakeFiles):
        def remove(self, name: str) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

    files = Keeping(clock)
    files.content["0" * 32 + ".list"] = b"old"
    fetch.lists("a", "m")
    async with living(ONE, fetch, clock, files) as process:
        assert (files.written, process.status.problem) == ([file_of(ONE)], "")


async def test_bug_while_a_list_is_written_does_not_keep_the_others_out(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeFiles):
        def write(self, name: str, data: bytes) -> None:
            if name == file_of(TWO):
                raise KeyError
            super().write(name, data)

    files = Broken(clock)
    fetch.lists("a", "m")
    fetch.lists("b", "m")
    async with living(TWO, fetch, clock, files):
        await clock.advance(301)
        assert file_of(TWO, 1) in files.written
    assert "internal error while writing lists" in caplog.messages[0]
