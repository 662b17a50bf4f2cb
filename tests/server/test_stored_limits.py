"""What callers have used of their limits, in `store.directory`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from proxy.limits import records
from proxy.limits.admission import Rejection
from proxy.limits.calendar import Calendar, Moment
from proxy.limits.claims import Decision, Usage
from proxy.limits.limiter import Limiter
from proxy.limits.quota import Quota, Rule
from proxy.limits.sliding_window import SlidingWindow
from proxy.limits.state import LimitState
from proxy.server import stored_limits
from proxy.server.list_directory import list_directory
from proxy.server.stored_limits import FLUSH_SECONDS, MAX_PROCESSES, Kept, LimitFiles, StoredLimits
from proxy.store import Store
from proxy.store.disk import Disk
from proxy.store.envelope import seal
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started
from tests.limits.test_limiter import Others
from tests.listening import until
from tests.server.workers.test_shared_limits import Workers

pytestmark = pytest.mark.anyio

PROVIDER = "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]\n"
HOUR, DAY = Rule("", "requests", "h", 10), Rule("", "requests", "d", 20)
TOKENS = Rule("staff", "tokens", "h", 100)


class FailingFiles(LimitFiles):
    """Files that cannot be written until the directory works."""

    works = False
    writes = 0

    def write(self, kept: Kept) -> None:
        self.writes += 1
        if not self.works:
            raise OSError(28, "No space left on device")
        super().write(kept)


@asynccontextmanager
async def living(
    path: Path, clock: FakeClock, files: LimitFiles | None = None, limiter: Limiter | None = None, *, stops: bool = True
) -> AsyncIterator[Limiter]:
    """The limits of a process. `stops`: False for one that is killed."""
    config = config_of(f"store: {{directory: {path}}}\n{PROVIDER}")
    limiter = limiter or Limiter(config, clock.monotonic, clock.time)
    directory = list_directory(config, clock, lambda: config.providers)
    assert directory
    stored = StoredLimits(limiter, files or LimitFiles(str(path)), directory, clock)
    store = Store(config, FakeFetch(), clock)
    await directory.start(lambda: store)
    await stored.start()
    yield limiter
    if stops:
        await stored.stop()
    assert stored.writes.running
    stored.writes.running.cancel()
    await directory.stop()


async def used(limiter: Limiter, *rules: Rule) -> list[int]:
    statuses = await limiter.statuses(Quota(rules, ()), "alice")
    return [status.limit - status.remaining for status in statuses]


async def test_counters_survive_a_restart_with_their_age(clock: FakeClock, tmp_path: Path) -> None:
    async with living(tmp_path, clock) as limiter:
        for _ in range(4):
            limiter.admit_now((HOUR, DAY), "alice")
        await clock.advance(1800)
        limiter.admit_now((HOUR, DAY), "alice")
    later = FakeClock(monotonic=5.0, time=clock.time() + 600)
    async with living(tmp_path, later) as limiter:
        assert await used(limiter, HOUR, DAY) == [5, 5]
        await later.advance(1201)
        assert await used(limiter, HOUR, DAY) == [1, 5]
        later.set_time(later.time() + 86_400)
        await later.advance(1)  # the time is read once a second
        assert await used(limiter, DAY) == [0]


async def test_a_debt_survives_a_restart(clock: FakeClock, tmp_path: Path) -> None:
    async with living(tmp_path, clock) as limiter:
        limiter.end(limiter.admit_now((TOKENS,), "alice", 10), 250)
    later = FakeClock(monotonic=5.0, time=clock.time() + 3600)
    async with living(tmp_path, later) as limiter:
        refused = limiter.admit_now((TOKENS,), "bob", 10)
        left = await used(limiter, TOKENS)
    assert (refused.rejection, left) == (Rejection(TOKENS, 3600.0), [100])


async def test_a_debt_that_survives_a_restart_is_shown_with_its_reset_before_the_first_request(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with living(tmp_path, clock) as limiter:
        limiter.end(limiter.admit_now((TOKENS,), "alice", 10), 250)
    later = FakeClock(monotonic=5.0, time=clock.time() + 600)
    async with living(tmp_path, later) as limiter:
        (status,) = await limiter.statuses(Quota((TOKENS,), ()), "alice")
    assert (status.remaining, status.reset) == (0, 2 * 3600.0 + 3000.0)


async def test_a_process_that_is_killed_loses_two_seconds(clock: FakeClock, tmp_path: Path) -> None:
    async with living(tmp_path, clock, stops=False) as limiter:
        limiter.admit_now((DAY,), "alice")
        await clock.advance(FLUSH_SECONDS)
        await until(lambda: (tmp_path / "limits-1").exists())
        limiter.admit_now((DAY,), "alice")
    async with living(tmp_path, clock) as limiter:
        assert await used(limiter, DAY) == [1]


async def test_calls_in_progress_are_not_kept(clock: FakeClock, tmp_path: Path) -> None:
    rule = Rule("", "concurrent", "", 1)
    async with living(tmp_path, clock) as limiter:
        limiter.admit_now((rule,), "alice")
    async with living(tmp_path, clock) as limiter:
        assert limiter.admit_now((rule,), "alice").is_granted


async def test_each_process_has_a_file_of_its_own_and_the_greater_value_counts(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with living(tmp_path, clock) as one, living(tmp_path, clock) as two:
        for limiter, number in ((one, 3), (two, 5)):
            for _ in range(number):
                limiter.admit_now((DAY, HOUR), "alice")
        two.admit_now((DAY,), "bob")
    assert {"limits-1", "limits-2"} <= {file.name for file in Disk(str(tmp_path)).list()}
    async with living(tmp_path, clock) as limiter:
        assert await used(limiter, DAY, HOUR) == [5, 5]
        assert {"key:alice", "key:bob"} == limiter.state.scopes.keys()


async def test_counters_of_removed_keys_go(clock: FakeClock, tmp_path: Path) -> None:
    async with living(tmp_path, clock) as limiter:
        limiter.admit_now((DAY,), "alice")
        await clock.advance(FLUSH_SECONDS)
        limiter.configure(config_of(PROVIDER))
    async with living(tmp_path, clock) as limiter:
        assert not limiter.state.scopes


async def test_a_write_that_fails_is_repeated(clock: FakeClock, tmp_path: Path) -> None:
    files = FailingFiles(str(tmp_path))
    async with living(tmp_path, clock, files) as limiter:
        limiter.admit_now((DAY,), "alice")
        await clock.advance(FLUSH_SECONDS)
        await until(lambda: files.writes == 1)
        files.works = True
    async with living(tmp_path, clock) as limiter:
        assert await used(limiter, DAY) == [1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"something else",
        seal(b"limits", 2, b"", b"\xc1"),
        seal(b"limits", 2, b"", msgspec.msgpack.encode((1, [b"\xc1"]))),
        seal(b"limits", 2, b"", msgspec.msgpack.encode((1, [msgspec.msgpack.encode(("key:a", {"x/d": ([], 0)}, {}))]))),
    ],
)
async def test_what_cannot_be_used_is_reported_and_ignored(
    content: bytes, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Disk(str(tmp_path)).write("limits-1", content)
    async with living(tmp_path, clock) as limiter:
        assert limiter.admit_now((DAY,), "alice").is_granted
    assert "is ignored" in caplog.text


async def test_counters_that_do_not_fit_are_reported_and_the_others_are_written(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stored_limits, "MAX_BYTES", 2000)
    async with living(tmp_path, clock) as limiter:
        for number in range(100):
            limiter.admit_now((DAY,), f"user {number}")
        await clock.advance(FLUSH_SECONDS)
        await until(lambda: limiter.not_stored > 0)
        lost = limiter.report.not_stored
        assert limiter.shown == {"limits_not_stored": lost}
    assert "some are not written, and are lost on restart" in caplog.text
    async with living(tmp_path, clock) as limiter:
        assert len(limiter.state.scopes) == 100 - lost
    assert 50 < lost < 90


async def test_a_replica_that_starts_without_the_others_has_its_last_counters_and_their_last_number(
    clock: FakeClock, tmp_path: Path
) -> None:
    config = config_of(PROVIDER)
    before, after = Others(Decision(True, [Usage(8, 0.0, 600.0)])), Others(None)
    after.processes = 1
    async with living(tmp_path, clock, limiter=Limiter(config, clock.monotonic, clock.time, before)) as limiter:
        await limiter.admit((DAY,), "alice")
    async with living(tmp_path, clock, limiter=Limiter(config, clock.monotonic, clock.time, after)) as limiter:
        granted = [(await limiter.admit((DAY,), "alice")).is_granted for _ in range(5)]
    assert after.processes == 4
    assert granted == [True] * 3 + [False] * 2  # a quarter of the 12 that remained


def test_more_processes_than_files_are_an_error(tmp_path: Path) -> None:
    files = [LimitFiles(str(tmp_path)) for _ in range(MAX_PROCESSES)]
    for each in files:
        each.write(Kept(1, []))
    with pytest.raises(OSError, match="more than 80 processes use the directory"):
        LimitFiles(str(tmp_path)).write(Kept(1, []))


async def test_workers_hand_what_they_restore_to_the_supervisor(clock: FakeClock, tmp_path: Path) -> None:
    before = Workers(clock)
    async with living(tmp_path, clock, limiter=before.limiters[0]) as limiter:
        for _ in range(6):
            await limiter.admit((HOUR,), "alice")
    after = Workers(clock)
    async with (
        living(tmp_path, clock, limiter=after.limiters[0]),
        living(tmp_path, clock, limiter=after.limiters[1]) as limiter,
    ):
        granted = [(await limiter.admit((HOUR,), "alice")).is_granted for _ in range(5)]
    assert granted == [True] * 4 + [False]


def test_many_times_are_joined_and_never_expire_too_soon(clock: FakeClock) -> None:
    state = LimitState(clock.monotonic, clock.time, UTC)
    scope = state.scope("key:a")
    window = scope.counters["requests/m"] = SlidingWindow(60.0, 100)
    for second in range(50):
        window.add(1, Moment(Calendar(UTC), float(second)))
    data = records.packed("key:a", scope, 0.0)
    restored = LimitState(clock.monotonic, clock.time, UTC)
    records.restore(restored, data, 50.0, 0.0)
    restored_window = restored.scopes["key:a"].counters["requests/m"]
    assert isinstance(restored_window, SlidingWindow)
    entries = restored_window.entries()
    assert sum(count for _, count in entries) == 50
    assert len(entries) <= 16
    assert [time for time, _ in entries][-1] == 49.0
    assert entries[0] == (3.0, 4)


async def test_the_limits_of_a_server_survive_its_restart(fetch: FakeFetch, clock: FakeClock, tmp_path: Path) -> None:
    key = "sk-canary-alice"
    config = config_of(
        f"store: {{directory: {tmp_path}}}\n{PROVIDER}"
        f"keys: [{{name: alice, hash: '{digest(key)}', models: ['*'], limits: {{list_requests: 2/d}}}}]"
    )
    fetch.lists("a", "m")
    statuses = []
    for _ in range(2):
        async with started(config, fetch, clock) as app:
            statuses += [(await reply_to(app, "/v1/models", {"x-api-key": key})).status for _ in range(2)]
    assert statuses == [200, 200, 429, 429]
