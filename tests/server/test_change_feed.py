"""The change feed of a server: what is recorded, where it is kept, and what other processes see of it."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from proxy.errors import UpstreamError
from proxy.server.app import Proxy
from proxy.server.change_feed import ChangeFeed
from proxy.server.stored_feed import FILE, StoredFeed
from proxy.store import Store
from proxy.store.directory import ListDirectory
from proxy.telemetry.changes import Change
from proxy.telemetry.events import CircuitChange
from tests.fakes import FakeClock, FakeFetch, config_of, run_pending_tasks, started
from tests.sharing.memory import Medium, SharedMemory
from tests.store.files import FakeFiles, FakeThread

pytestmark = pytest.mark.anyio

ONE = "cache: {ttl: 100s, max_stale: 1000s}\nproviders: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]\n"
TWO = ONE.replace("}]", "}, {name: b, base_url: 'http://127.0.0.1:9/b/v1'}]")


def shown(changes: Sequence[Change]) -> list[tuple[str, str, str]]:
    return [(change.type, change.provider, change.model or change.after) for change in changes]


def recorded(app: Proxy) -> list[tuple[str, str, str]]:
    return shown(app.changes.current.changes)


# -- events ------------------------------------------------------------------------------------------------------------


async def test_the_first_list_is_no_change(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    async with started(config_of(ONE), fetch, clock) as app:
        assert recorded(app) == []


async def test_a_changed_list_is_recorded_when_it_is_fetched(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    async with started(config_of(ONE), fetch, clock) as app:
        fetch.lists("a", "n", "o")
        await clock.advance(100)

        assert recorded(app) == [("model_added", "a", "o"), ("model_removed", "a", "m")]


async def test_a_failing_provider_is_recorded_once_and_so_is_its_recovery(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.fails("a", UpstreamError("timeout", "timed out after 5 s"))
    async with started(config_of(ONE), fetch, clock) as app:
        await clock.advance(60)
        fetch.lists("a", "m")
        await clock.advance(600)

        failing, recovered = app.changes.current.changes
    assert (failing.type, failing.before, failing.after, failing.reason) == (
        "provider_failing",
        "ok",
        "failing",
        "timed out after 5 s",
    )
    assert (recovered.type, recovered.part, recovered.before, recovered.after, recovered.reason) == (
        "provider_recovered",
        "list",
        "failing",
        "ok",
        "",
    )


async def test_models_that_expire_are_removed(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(ONE), fetch, clock) as app:
        fetch.fails("a")
        await clock.advance(2000)

        assert recorded(app) == [
            ("provider_failing", "a", "stale"),
            ("model_removed", "a", "m"),
            ("provider_failing", "a", "failing"),
        ]


async def test_circuit_breakers_of_whole_providers_are_recorded(fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(ONE), fetch, clock) as app:
        for model, before, after in (
            ("m", "ok", "open"),
            (None, "ok", "open"),
            (None, "open", "half_open"),
            (None, "half_open", "ok"),
        ):
            app.telemetry.circuit_changed(CircuitChange("a", model, None, before, after))  # type: ignore[arg-type]
        await run_pending_tasks()

        calls = [(change.type, change.after) for change in app.changes.current.changes if change.part == "calls"]
    assert calls == [("provider_failing", "open"), ("provider_recovered", "ok")]


async def test_changed_rules_and_removed_providers_are_recorded(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    fetch.lists("b", "x")
    async with started(config_of(TWO), fetch, clock) as app:
        await app.replace(config_of(ONE.replace("/v1'", "/v1', exclude: [m]")))
        await run_pending_tasks()

        assert sorted(recorded(app)) == [("model_removed", "a", "m"), ("model_removed", "b", "x")]


async def test_a_bug_while_recording_does_not_end_the_feed(
    fetch: FakeFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    feed = ChangeFeed(clock, None, None)
    async with feed.running():
        feed.offers_changed("a", None, {})  # type: ignore[arg-type]
        await run_pending_tasks()
        feed.circuit_changed(CircuitChange("a", None, None, "ok", "open"))
        await run_pending_tasks()

    assert shown(feed.current.changes) == [("provider_failing", "a", "open")]
    (message,) = caplog.messages
    assert message.startswith("internal error while recording changes: TypeError")


# -- the directory -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def feed_in(files: FakeFiles, clock: FakeClock) -> AsyncIterator[ChangeFeed]:
    config = config_of(ONE)
    directory = ListDirectory("/lists", files, FakeThread().submit, clock, lambda: config.providers)
    store = Store(config, FakeFetch(), clock)
    await directory.start(lambda: store)
    feed = ChangeFeed(clock, None, StoredFeed(directory))
    async with feed.running():
        await run_pending_tasks()
        yield feed
    await directory.stop()


def opens(feed: ChangeFeed, provider: str) -> None:
    feed.circuit_changed(CircuitChange(provider, None, None, "ok", "open"))


async def test_a_restart_keeps_the_feed(clock: FakeClock) -> None:
    files = FakeFiles(clock)
    async with feed_in(files, clock) as feed:
        opens(feed, "a")
        await clock.advance(5)
        assert FILE in files.content
        opens(feed, "b")  # written at the end
        await run_pending_tasks()
        before = feed.current
    async with feed_in(files, clock) as feed:
        assert feed.current.changes == before.changes
        opens(feed, "a")  # it is open still
        await run_pending_tasks()
        assert feed.current.changes == before.changes


async def test_a_change_is_on_the_disk_at_once_and_further_ones_after_some_seconds(clock: FakeClock) -> None:
    files = FakeFiles(clock)
    async with feed_in(files, clock) as feed:
        await clock.advance(1.5)
        before = files.written.count(FILE)
        counts = []
        for provider in ("a", "b", "c"):
            opens(feed, provider)
            await run_pending_tasks()
            counts.append(files.written.count(FILE) - before)
        await clock.advance(5)

        assert counts == [1, 1, 1]
        assert files.written.count(FILE) - before == 2


async def test_differences_to_the_list_before_a_restart_are_recorded(clock: FakeClock, tmp_path: object) -> None:
    text = f"store: {{directory: '{tmp_path}'}}\n{ONE}"
    for models in (["m", "n"], ["n", "o"]):
        fetch = FakeFetch()
        fetch.lists("a", *models)
        app = Proxy(config_of(text), clock=clock, fetch=fetch)
        async with app.lifespan():
            while fetch.requests["a"] == 0:
                await clock.advance(1)
            await run_pending_tasks()
        await clock.advance(200)

    assert recorded(app) == [("model_added", "a", "o"), ("model_removed", "a", "m")]


async def test_a_damaged_file_is_ignored(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    files = FakeFiles(clock)
    files.content[FILE] = b"damaged"
    async with feed_in(files, clock) as feed:
        opens(feed, "a")
        await clock.advance(5)
    assert caplog.messages == ["store.directory: the file changes is ignored: not written by models-proxy"]
    async with feed_in(files, clock) as feed:
        assert len(feed.current.changes) == 1


async def test_a_full_disk_delays_the_file_only(clock: FakeClock) -> None:
    files = FakeFiles(clock)
    async with feed_in(files, clock) as feed:
        files.error = OSError(errno.ENOSPC, "No space left on device")
        opens(feed, "a")
        await clock.advance(5)
        assert len(feed.current.changes) == 1
        files.error = None
        await clock.advance(5)
        assert FILE in files.content


# -- other processes ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def replicas(
    clock: FakeClock, medium: Medium, fetch: FakeFetch, text: str = ONE, number: int = 2
) -> AsyncIterator[list[Proxy]]:
    async with AsyncExitStack() as stack:
        apps = [Proxy(config_of(text), clock=clock, fetch=fetch, sharing=SharedMemory(medium)) for _ in range(number)]
        for app in apps:
            await stack.enter_async_context(app.lifespan())
        await run_pending_tasks()
        yield apps


async def test_replicas_have_one_feed_with_each_change_once(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m", "n")
    async with replicas(clock, Medium(clock), fetch, number=3) as apps:
        for models in (["n", "o"], ["n"], ["n", "p"]):
            fetch.lists("a", *models)
            await clock.advance(100)
        fetch.fails("a")
        await clock.advance(200)

        feeds = [app.changes.current.changes for app in apps]
    assert feeds[0] == feeds[1] == feeds[2]
    assert shown(feeds[0]) == [
        ("model_added", "a", "o"),
        ("model_removed", "a", "m"),
        ("model_removed", "a", "o"),
        ("model_added", "a", "p"),
        ("provider_failing", "a", "stale"),
    ]


async def test_each_change_is_passed_on_by_one_replica(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    passed_on: list[Change] = []
    async with replicas(clock, Medium(clock), fetch) as apps:
        for app in apps:
            app.changes.on_recorded = passed_on.extend
            app.telemetry.circuit_changed(CircuitChange("a", None, None, "ok", "open"))
        fetch.lists("a", "m", "n")
        await clock.advance(100)

    assert sorted(shown(passed_on)) == [("model_added", "a", "n"), ("provider_failing", "a", "open")]


async def test_changes_are_recorded_while_the_shared_store_is_down_and_shared_later(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    medium = Medium(clock)
    async with replicas(clock, medium, fetch) as apps:
        medium.is_down = True
        apps[0].telemetry.circuit_changed(CircuitChange("a", None, None, "ok", "open"))
        apps[1].telemetry.circuit_changed(CircuitChange("a", None, None, "ok", "open"))
        await run_pending_tasks()
        assert [len(app.changes.current.changes) for app in apps] == [1, 1]
        medium.is_down = False
        await clock.advance(10)

        feeds = [app.changes.current.changes for app in apps]
    assert feeds[0] == feeds[1]
    assert shown(feeds[0]) == [("provider_failing", "a", "open")]


async def test_while_the_shared_store_is_down_notifications_of_all_replicas_have_the_same_ids(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    fetch.lists("a", "m")
    medium = Medium(clock)
    passed_on: list[list[Change]] = [[], []]
    async with replicas(clock, medium, fetch) as apps:
        for app, changes in zip(apps, passed_on, strict=True):
            app.changes.on_recorded = changes.extend
        fetch.lists("a", "m", "n")
        await clock.advance(100)
        assert sorted(map(len, passed_on)) == [0, 1]
        medium.is_down = True
        for models in (["n"], ["m", "n"]):
            fetch.lists("a", *models)
            await clock.advance(100)
        medium.is_down = False
        await clock.advance(100)

        ids = [{change.webhook_id for change in changes} for changes in passed_on]
        recorded = [[change.webhook_id for change in app.changes.current.changes] for app in apps]
    assert len(recorded[0]) == 3
    assert recorded[0] == recorded[1]
    assert ids[0] | ids[1] == {*recorded[0]}
    assert ids[0] & ids[1] == {*recorded[0][1:]}


async def test_a_new_replica_has_the_feed_of_the_others(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    medium = Medium(clock)
    async with replicas(clock, medium, fetch, number=1) as apps:
        fetch.lists("a", "m", "n")
        await clock.advance(100)
        async with replicas(clock, medium, fetch, number=1) as others:
            assert others[0].changes.current.changes == apps[0].changes.current.changes


@pytest.mark.parametrize("content", [{"list": b"foreign"}, {"failure": b"foreign"}])
async def test_foreign_bytes_in_the_shared_store_are_ignored(
    content: Mapping[str, bytes], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    medium = Medium(clock)
    foreign = SharedMemory(medium)
    feed = ChangeFeed(clock, SharedMemory(medium), None)
    await foreign.begin(feed.name, 0)
    for kind, data in content.items():
        await foreign.publish(feed.name, 1, kind, data, 60.0)  # type: ignore[arg-type]
    async with feed.running():
        opens(feed, "a")
        await run_pending_tasks()

    assert shown(feed.current.changes) == [("provider_failing", "a", "open")]
    expected = ["the change feed in the shared store was ignored: not written by models-proxy"]
    assert caplog.messages == (expected if "list" in content else [])


async def test_a_replica_that_could_not_reach_the_others_at_its_start_follows_them_later(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    medium = Medium(clock)
    medium.is_down = True
    one, other = (ChangeFeed(clock, SharedMemory(medium), None) for _ in range(2))
    async with one.running(), other.running():
        await run_pending_tasks()
        medium.is_down = False
        opens(one, "a")
        await run_pending_tasks()
        await clock.advance(5)

        assert shown(other.current.changes) == [("provider_failing", "a", "open")]


async def test_a_refresh_without_changes_publishes_nothing(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    medium = Medium(clock)
    async with replicas(clock, medium, fetch) as apps:
        await clock.advance(1000)

        published = medium.lists[apps[0].changes.name].parts["list"]
        await clock.advance(1000)

        assert medium.lists[apps[0].changes.name].parts["list"] == published  # at the start
        assert apps[0].changes.current.changes == ()
