"""State shared through a real Valkey server, between clients with injected clocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from redis.exceptions import ResponseError

from proxy.config.store import StoreSettings
from proxy.sharing import MAX_HINT, MAX_RECORD, Busy, Published, Turn
from proxy.sharing.client import ForeignValue, Unavailable, _limited
from proxy.sharing.interface import WAIT_SECONDS
from proxy.sharing.lists import POLL_SECONDS
from proxy.sharing.valkey import Valkey
from tests.fakes import FakeClock
from tests.processes import TIMEOUT
from tests.valkey_servers import ValkeyServer

pytestmark = pytest.mark.anyio

NAME = "0123456789abcdef"
KEY = f"models-proxy:list:{NAME}"
LEASE = 10.0


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


class Process:
    """One process that shares state: its clock, and what it received."""

    def __init__(self, url: str, namespace: str = "prod", **settings: object) -> None:
        self.clock = FakeClock()
        store = StoreSettings(valkey=SecretStr(url), namespace=namespace, lease=LEASE, **settings)  # type: ignore[arg-type]
        self.sharing = Valkey(store, self.clock)
        self.known: dict[str, int] = {NAME: 0}
        self.lists: list[Published] = []
        self.hints: list[bytes] = []
        self.sharing.follow(lambda: self.known, self._receive)
        self.sharing.listen(lambda hint, age: self.hints.append(hint))

    def _receive(self, name: str, published: Published) -> None:
        assert name == NAME
        self.known[name] = published.version
        self.lists.append(published)

    async def turn(self) -> Turn:
        answer = await self.sharing.begin(NAME, self.known[NAME])
        assert isinstance(answer, Turn)
        return answer

    async def publish(self, data: bytes) -> int:
        """Fetch and publish a list, as a replica does. Returns its version."""
        turn = await self.turn()
        self.known[NAME] = turn.token
        assert await self.sharing.publish(NAME, turn.token, "list", data, 60.0)
        return turn.token


@asynccontextmanager
async def process(url: str, namespace: str = "prod", **settings: object) -> AsyncIterator[Process]:
    """A process that is running."""
    async with running(Process(url, namespace, **settings)) as process:
        yield process


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    """Do what a process does by itself. Before, it sends no commands but those of the test."""
    task = asyncio.create_task(process.sharing.run())
    try:
        await asyncio.sleep(0)
        yield process
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    ends_at = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < ends_at, "the condition did not become true"
        await asyncio.sleep(0.01)


async def test_a_list_that_is_read_slowly_delays_no_fetch_and_arrives_later(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_in_time(seconds: float, task: asyncio.Task[object]) -> bool:
        assert seconds <= WAIT_SECONDS
        if task.get_name() != "store.valkey: list":
            await asyncio.wait({task})
        return task.done()

    monkeypatch.setattr("proxy.sharing.lists._ends_within", is_in_time)
    late = Process(server.url)  # it does not run, so that nothing else reads the list
    async with process(server.url) as one:
        await one.publish(b"")
        assert await late.sharing.begin(NAME, 0) is None
        await until(lambda: late.lists)
        await late.sharing._client.close()
    assert late.lists[0].list == b""


def subscribers(server: ValkeyServer) -> int:
    ((_, number),) = server.client.pubsub_numsub("models-proxy:lists")
    return int(number)


# -- leases ------------------------------------------------------------------------------------------------------------


async def test_one_process_fetches_and_others_are_told_to_wait(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        turn = await one.sharing.begin(NAME, 0)
        busy = await two.sharing.begin(NAME, 0)

    assert isinstance(turn, Turn)
    assert isinstance(busy, Busy)
    assert 0 < busy.seconds <= LEASE


async def test_a_published_list_reaches_the_others_by_a_message(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        await until(lambda: subscribers(server) == 2)
        version = await one.publish(b"a list")
        await until(lambda: two.lists)

    (published,) = two.lists
    assert (published.version, published.list, published.failure) == (version, b"a list", None)
    assert 0 <= published.list_age < TIMEOUT
    assert one.lists == []


async def test_a_lost_message_costs_at_most_one_poll(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        await until(lambda: subscribers(server) == 2)
        server.client.client_kill_filter(_type="pubsub")
        await one.publish(b"a list")
        await until(lambda: subscribers(server) == 2)
        for _ in range(3):
            await two.clock.advance(POLL_SECONDS)
            await asyncio.sleep(0.05)

    assert [published.list for published in two.lists] == [b"a list"]


async def test_a_process_that_begins_later_gets_what_was_published(server: ValkeyServer) -> None:
    async with process(server.url) as one:
        version = await one.publish(b"a list")
    async with process(server.url) as two:
        answer = await two.sharing.begin(NAME, 0)
        nothing_newer = await two.sharing.begin(NAME, version)

    assert isinstance(answer, Published)
    assert (answer.version, answer.list) == (version, b"a list")
    assert isinstance(nothing_newer, Turn)


async def test_a_failure_is_published_beside_the_list_until_the_next_one(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        first = await one.publish(b"a list")
        turn = await one.turn()
        assert await one.sharing.publish(NAME, turn.token, "failure", b"refused", 60.0)
        new = await two.sharing.begin(NAME, 0)
        known = await two.sharing.begin(NAME, first)
        one.known[NAME] = turn.token
        await one.publish(b"another list")
        healthy = await two.sharing.begin(NAME, turn.token)

    assert isinstance(new, Published)
    assert (new.list, new.failure) == (b"a list", b"refused")
    assert isinstance(known, Published)
    assert (known.list, known.failure) == (None, b"refused")
    assert isinstance(healthy, Published)
    assert (healthy.list, healthy.failure) == (b"another list", None)


async def test_a_dead_holder_is_replaced_and_its_late_write_changes_nothing(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        stopped = await one.turn()
        server.client.hset(KEY, "until", "0")  # its time is over
        version = await two.publish(b"of the second")

        assert not await one.sharing.publish(NAME, stopped.token, "list", b"of the first", 60.0)
        assert server.client.hget(KEY, "list") == b"of the second"
        assert version > stopped.token


async def test_a_lease_is_extended_while_the_fetch_lasts(server: ValkeyServer) -> None:
    async with process(server.url) as one:
        await one.turn()
        server.client.hset(KEY, "until", "1")
        await one.clock.advance(LEASE / 3)
        await until(lambda: server.client.hget(KEY, "until") != b"1")

        assert isinstance(await one.sharing.begin(NAME, 0), Busy)


async def test_an_abandoned_fetch_and_an_orderly_end_free_the_lease_at_once(server: ValkeyServer) -> None:
    async with process(server.url) as two:
        async with process(server.url) as one:
            turn = await one.turn()
            one.sharing.abandon(NAME, turn.token)
            await until(lambda: server.client.hget(KEY, "until") == b"0")
            await one.turn()
        assert isinstance(await two.sharing.begin(NAME, 0), Turn)


async def test_a_forced_fetch_supersedes_the_one_in_progress(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        earlier = await one.turn()
        forced = await two.sharing.begin(NAME, 0, force=True)
        assert isinstance(forced, Turn)

        assert not await one.sharing.publish(NAME, earlier.token, "list", b"earlier", 60.0)
        assert await two.sharing.publish(NAME, forced.token, "list", b"forced", 60.0)


async def test_tokens_increase_after_all_keys_are_lost(server: ValkeyServer) -> None:
    async with process(server.url) as one:
        before = await one.publish(b"a list")
        server.client.flushall()
        after = await one.publish(b"a list")

    assert after > before


async def test_a_jump_of_the_servers_clock_does_not_extend_a_lease(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        await one.turn()
        later = int(server.client.hget(KEY, "until") or 0) + 3_600_000_000  # as if an hour had been set back
        server.client.hset(KEY, "until", str(later))

        assert isinstance(await two.sharing.begin(NAME, 0), Turn)


async def test_a_version_from_the_future_is_no_obstacle(server: ValkeyServer) -> None:
    """The server's clock was set back, or a replica without the newest keys became the master."""
    async with process(server.url) as one:
        future = int(time.time() * 1_000_000) + 86_400_000_000
        one.known[NAME] = future
        assert await one.publish(b"a list") > future


# -- values that others wrote ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"token": "x", "until": "y", "list": "z", "list_version": "w"}, id="no numbers"),
        pytest.param({"list": "z", "list_version": "-1", "list_at": ""}, id="negative"),
        pytest.param({"unknown": "field"}, id="other fields"),
    ],
)
async def test_foreign_fields_do_not_hinder_a_fetch(server: ValkeyServer, value: dict[str, str]) -> None:
    for field in value:
        server.client.hset(KEY, field, value[field])
    async with process(server.url) as one, process(server.url) as two:
        await one.publish(b"a list")
        answer = await two.sharing.begin(NAME, 0)

    assert isinstance(answer, Published)
    assert answer.list == b"a list"


async def test_a_key_of_another_type_is_reported_once(server: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    server.client.set(KEY, "foreign")
    async with process(server.url) as one:
        answers = [await one.sharing.begin(NAME, 0) for _ in range(3)]

    assert answers == [None, None, None]
    assert caplog.messages == ["store.valkey: a value was ignored: a key has a value of another type"]
    assert one.sharing.state.foreign >= 3  # the poll finds it, too
    assert one.sharing.state.is_up


async def test_a_value_that_a_script_cannot_read_does_not_end_the_use_of_the_store(
    server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(server.url) as one:
        connection = one.sharing._connection
        for _ in range(2):
            reply = await connection.run(lambda seconds: connection.client.run("return #1", KEY, seconds=seconds))
            assert reply is None

    assert caplog.messages == ["store.valkey: a value was ignored: a script cannot read the value of a key"]
    assert one.sharing.state.is_up


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user_script:26: bad data format in input. script: 5a, on @user_script:26.", ForeignValue),
        ("WRONGTYPE Operation against a key holding the wrong kind of value script: 5a", ForeignValue),
        ("Error running script (call to f_5a): @user_script:4: WRONGTYPE Operation against a key", ForeignValue),
        ("Error running script (call to f_5a): @user_script:26: user_script:26: bad data format", ForeignValue),
        ("Error running script (call to f_5a): @user_script:1: @user_script: 1: -READONLY You can't", Unavailable),
        ("MISCONF Errors writing to the AOF file script: 5a, on @user_script:4.", Unavailable),
    ],
)
async def test_errors_about_a_value_are_told_apart_from_those_of_the_server(
    text: str, expected: type[Exception]
) -> None:
    async def command() -> None:
        raise ResponseError(text)

    with pytest.raises(expected):
        await _limited(command(), 1.0)


async def test_malformed_messages_are_ignored(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two:
        await until(lambda: subscribers(server) == 2)
        for message in (b"", b"\xff\xfe", b"name", NAME.encode() + b" x", NAME.encode() + b" 9" * 4000):
            server.client.publish("models-proxy:lists", message)
        server.client.publish("models-proxy:prod:hints", b"x")
        await one.publish(b"a list")
        await until(lambda: two.lists)

    assert [published.list for published in two.lists] == [b"a list"]


# -- hints and records -------------------------------------------------------------------------------------------------


async def test_a_process_that_starts_later_gets_the_hints_of_the_last_minute(server: ValkeyServer) -> None:
    recent = "models-proxy:prod:hints:recent"
    async with process(server.url) as one:
        one.sharing.announce(b"a hint")
        await until(lambda: server.client.zcard(recent))
        seconds, micro = server.client.time()
        server.client.zadd(recent, {b"another1an old hint": (seconds - 61) * 1_000_000 + micro})
        server.client.zadd(recent, {b"another1a later hint": (seconds - 30) * 1_000_000 + micro})
        ages: dict[bytes, float] = {}
        async with process(server.url) as two, process(server.url, "other") as other:
            two.sharing.listen(lambda hint, age: ages.update({hint: age}))
            await until(lambda: len(ages) == 2)

    assert {*ages} == {b"a hint", b"a later hint"}
    assert 30 <= ages[b"a later hint"] < 30 + TIMEOUT
    assert b"a hint" not in one.hints, "it is its own"
    assert other.hints == []
    assert 0 < server.client.pttl(recent) <= 60_000


async def test_hints_reach_the_others_of_the_namespace(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two, process(server.url, "test") as other:
        await until(lambda: subscribers(server) == 3)
        one.sharing.announce(b"x" * (MAX_HINT + 1))
        one.sharing.announce(b"a hint")
        await until(lambda: two.hints)

    assert {*two.hints} == {b"a hint"}, "it may arrive twice: as a message, and among those before the start"
    assert b"a hint" not in one.hints, "it is its own"
    assert other.hints == []


async def test_records_are_shared_within_the_namespace(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two, process(server.url, "test") as other:
        one.sharing.put("id-1", b"first", 60.0)
        one.sharing.put("id-1", b"second", 60.0)
        one.sharing.put("id-2", b"x" * (MAX_RECORD + 1), 60.0)
        one.sharing.put("id-3", b"third", 60.0)
        await until(lambda: len(server.client.keys("models-proxy:prod:id:*")) == 2)

        assert await two.sharing.get(["id-1", "id-2", "id-3", "id-4"]) == {"id-1": b"second", "id-3": b"third"}
        assert await other.sharing.get(["id-1"]) == {}
        one.sharing.delete("id-1")
        await until(lambda: len(server.client.keys("models-proxy:prod:id:*")) == 1)
        assert await two.sharing.get(["id-1"]) == {}


# -- a store that cannot be used ---------------------------------------------------------------------------------------


async def test_a_refused_store_is_used_again_after_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with ValkeyServer() as server:
        async with process(server.url) as one:
            assert isinstance(await one.sharing.begin(NAME, 0), Turn)
            server.kill()
            assert await one.sharing.begin(NAME, 0) is None
            assert not one.sharing.state.is_up
            one.sharing.put("id-1", b"written later", 60.0)
            await one.clock.advance(9.0)
            server.start()
            await one.clock.advance(4.0)
            await until(lambda: one.sharing.state.is_up)

            assert isinstance(await one.sharing.begin(NAME, 0), Turn)
            await until(lambda: server.client.get("models-proxy:prod:id:id-1") == b"written later")

    assert caplog.messages == [
        "store.valkey is not available: connection refused or lost; lists and calls continue without it",
        "store.valkey is available again",
    ]


async def test_a_silent_store_costs_200_ms_once(server: ValkeyServer) -> None:
    now = asyncio.get_running_loop().time
    one = Process(server.url)
    await one.sharing.begin(NAME, 0)
    server.stop()
    try:
        began = now()
        assert await one.sharing.get(["id-1"]) == {}
        first = now() - began
        assert one.sharing.state.reason == "timed out"
        began = now()
        for _ in range(100):
            assert await one.sharing.get(["id-1"]) == {}
            assert await one.sharing.begin(NAME, 0) is None
        later = now() - began
    finally:
        server.resume()
    async with running(one):
        await one.clock.advance(4.0)
        await until(lambda: one.sharing.state.is_up)

    assert 0.19 <= first < 2.0, "a busy machine adds to the 0.2 s"
    assert later < 20.0, "it would be 40 s if each of them waited"


async def test_a_fetch_begins_without_a_late_decision_and_its_lease_is_freed(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.sharing.lists._BEGIN_SECONDS", TIMEOUT)  # beyond the pauses of a busy machine
    one = Process(server.url)
    version = await one.publish(b"models")
    server.stop()
    try:
        assert await one.sharing.begin(NAME, version, force=True) is None
        assert one.sharing.state.is_up  # the time limit of the command is not over
    finally:
        server.resume()
    async with running(one):
        await until(lambda: server.client.hmget(KEY, "token") != [b"%d" % version])
        await until(lambda: server.client.hmget(KEY, "until") == [b"0"])


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        pytest.param("maxmemory", "1", "out of memory (maxmemory)", id="full"),
        pytest.param("min-replicas-to-write", "1", "returned the error NOREPLICAS", id="without replicas"),
    ],
)
async def test_a_store_that_rejects_writes_is_not_used(
    server: ValkeyServer, option: str, value: str, reason: str
) -> None:
    async with process(server.url) as one:
        server.client.config_set(option, value)
        assert await one.sharing.begin(NAME, 0) is None
        assert one.sharing.state.reason == reason
        await one.clock.advance(8.0)
        assert not one.sharing.state.is_up
        server.client.config_set(option, "0")
        await one.clock.advance(4.0)
        await until(lambda: one.sharing.state.is_up)


async def test_many_commands_at_once_wait_for_a_connection(server: ValkeyServer) -> None:
    async with process(server.url) as one:
        await asyncio.gather(*(one.sharing.get([f"id-{number}"]) for number in range(300)))

        assert one.sharing.state.reason in ("", "timed out")  # on a slow machine
        assert server.client.info("clients")["connected_clients"] <= 20


async def test_a_store_that_rejects_some_commands_is_logged_once(
    server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.client.execute_command("ACL", "SETUSER", "default", "-mget")
    async with process(server.url) as one:
        for _ in range(5):
            assert await one.sharing.get(["id-1"]) == {}
            assert one.sharing.state.reason == "a command is not permitted: check the permissions of the user"
            await one.clock.advance(4.1)
            await until(lambda: one.sharing.state.is_up)

    assert caplog.messages == [
        "store.valkey is not available: a command is not permitted: check the permissions of the user; lists and calls "
        "continue without it",
        "store.valkey is available again",
    ]


async def test_a_replica_that_is_read_only_is_not_used(server: ValkeyServer) -> None:
    with ValkeyServer("--replicaof", f"127.0.0.1 {server.port}") as replica:
        async with process(replica.url) as one:
            await until(lambda: replica.client.info("replication")["master_link_status"] == "up")
            assert await one.sharing.begin(NAME, 0) is None
            assert one.sharing.state.reason == "read-only: it is a replica"


async def test_a_password_is_required_to_be_right() -> None:
    with ValkeyServer("--requirepass", "fake-password") as server:
        async with process(server.url, valkey_password=SecretStr("fake-password")) as one:
            assert isinstance(await one.sharing.begin(NAME, 0), Turn)
        async with process(server.url, valkey_password=SecretStr("wrong-password")) as two:
            assert await two.sharing.begin(NAME, 0) is None
            assert two.sharing.state.reason == "authentication failed: check the user and password"


async def test_processes_agree_on_the_first_value_of_a_name(server: ValkeyServer) -> None:
    async with process(server.url) as one, process(server.url) as two, process(server.url, "other") as stranger:
        assert await one.sharing.agree("secret", b"first") == b"first"
        assert await two.sharing.agree("secret", b"second") == b"first"
        assert await stranger.sharing.agree("secret", b"third") == b"third"
        server.client.set("models-proxy:prod:id:secret", b"x" * (MAX_RECORD + 1))
        assert await one.sharing.agree("secret", b"first") is None
