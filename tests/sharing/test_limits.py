"""Limits of callers that replicas count together in a real Valkey server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import structs
from pydantic import SecretStr

from proxy.config.call_limits import Unit
from proxy.config.store import StoreSettings
from proxy.limits.admission import Rejection
from proxy.limits.claims import Claim, Decision
from proxy.limits.limiter import Limiter
from proxy.limits.quota import Rule
from proxy.limits.state import LimitState
from proxy.sharing import limits as shared_limits
from proxy.sharing.limit_script import DECIDE, STALE_SECONDS
from proxy.sharing.valkey import Valkey
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started
from tests.sharing.test_valkey import until
from tests.valkey_servers import ValkeyServer

pytestmark = pytest.mark.anyio

CONFIG = config_of("providers: [{name: a, base_url: 'http://127.0.0.1/v1'}]")
REQUESTS = Claim("key:alice", "requests", "m", 100, 1)
CALLS = Claim("group:staff", "concurrent", "", 3, 1)


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[Valkey]:
    """The store of one replica, while it runs."""
    sharing = Valkey(StoreSettings(valkey=SecretStr(url), namespace="prod"), FakeClock())
    running = asyncio.create_task(sharing.run())
    try:
        await asyncio.sleep(0)
        yield sharing
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def granted(sharing: Valkey, *claims: Claim) -> bool:
    decision = await sharing.limits.claim(claims)
    assert decision is not None
    return decision.is_granted


async def test_replicas_together_let_exactly_the_limit_through(server: ValkeyServer) -> None:
    async with replica(server.url) as one, replica(server.url) as two:

        async def client(sharing: Valkey) -> int:
            return sum([await granted(sharing, REQUESTS) for _ in range(5)])

        counts = await asyncio.gather(*(client(sharing) for sharing in (one, two) for _ in range(16)))
    assert sum(counts) == 100


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"foreign", id="text"),
        pytest.param(msgspec.msgpack.encode(1), id="no map"),
        pytest.param(msgspec.msgpack.encode({"requests/m": "text", "tokens/d": [1]}), id="no counters"),
        pytest.param(msgspec.msgpack.encode({"requests/m": [["x"], [1], 0], "tokens/d": ["x", 1, 1]}), id="no numbers"),
    ],
)
async def test_a_foreign_value_is_replaced_and_the_store_stays_in_use(server: ValkeyServer, value: bytes) -> None:
    server.client.set("models-proxy:prod:limits:key:alice", value)
    claims = [structs.replace(REQUESTS, limit=2), Claim("key:alice", "tokens", "d", 9, 0)]
    async with replica(server.url) as one, replica(server.url) as two:
        decisions = [await each.limits.claim(claims) for each in (one, two, one)]

        assert [decision and decision.is_granted for decision in decisions] == [True, True, False]
        assert one.state.is_up


async def test_a_rejection_uses_nothing_and_contains_the_wait(server: ValkeyServer) -> None:
    async with replica(server.url) as one:
        small = structs.replace(REQUESTS, limit=1)
        assert await granted(one, small)
        decision = await one.limits.claim([small, structs.replace(REQUESTS, scope="key:bob")])
        other = await one.limits.claim([structs.replace(REQUESTS, scope="key:bob")])
    assert decision is not None
    assert other is not None
    assert not decision.is_granted
    assert [usage.used for usage in decision.usage] == [1, 0]
    assert 58 < decision.usage[0].wait <= 60
    assert other.usage[0].used == 1


async def test_calls_in_progress_are_those_of_all_replicas(server: ValkeyServer) -> None:
    async with replica(server.url) as one, replica(server.url) as two:
        assert [await granted(one, CALLS), await granted(two, CALLS), await granted(two, CALLS)] == [True] * 3
        assert not await granted(one, CALLS)
        two.limits.report([CALLS.with_amount(-1)])
        await two.limits.flush()
        assert await granted(one, CALLS)
        assert not await granted(two, CALLS)


async def test_tokens_that_are_reported_later_count_for_all(server: ValkeyServer) -> None:
    tokens = Claim("key:alice", "tokens", "h", 1000, 10)
    async with replica(server.url) as one, replica(server.url) as two:
        assert await granted(one, tokens)
        one.limits.report([tokens.with_amount(2490)])
        await one.limits.flush()
        decision = await two.limits.claim([tokens])
    assert decision is not None
    assert not decision.is_granted
    assert decision.usage[0].used == 2500
    assert 7190 < decision.usage[0].wait <= 7200  # the debt of another hour


async def test_a_replica_that_ends_writes_what_is_pending_and_closes_its_connections(server: ValkeyServer) -> None:
    tokens = Claim("key:alice", "tokens", "h", 1000, 0)
    async with replica(server.url) as one:
        one.limits.report([tokens.with_amount(70)])
    await until(lambda: len(server.client.client_list()) == 1)  # that of the test
    async with replica(server.url) as two:
        decision = await two.limits.claim([tokens])
    assert decision is not None
    assert decision.usage[0].used == 70


async def test_replicas_are_counted(server: ValkeyServer) -> None:
    async with replica(server.url) as one, replica(server.url) as two:
        await until(lambda: server.client.zcard("models-proxy:prod:limits:processes") == 2)
        await asyncio.gather(one.limits.flush(), two.limits.flush())
        await until(lambda: max(one.limits.processes, two.limits.processes) == 2)


async def test_days_begin_again_with_their_number(server: ValkeyServer) -> None:
    daily = Claim("key:alice", "requests", "d", 1, 1)
    async with replica(server.url) as one:
        one.limits.configure(CONFIG)
        clock: FakeClock = one.limits._clock  # type: ignore[assignment]
        clock.set_time(1_800_000_000.0)
        assert await granted(one, daily)
        decision = await one.limits.claim([daily])
        clock.set_time(1_800_000_000.0 + 86_400)
        again = await granted(one, daily)
    assert decision is not None
    assert not decision.is_granted
    assert decision.usage[0].wait == decision.usage[0].reset == 86_400 - 1_800_000_000 % 86_400
    assert again


async def test_after_a_limit_was_lowered_its_wait_and_reset_are_those_of_one_process(server: ValkeyServer) -> None:
    high, low = (Rule("", "requests", "d", limit) for limit in (5, 2))
    clock = FakeClock()
    async with replica(server.url) as one:
        one.limits.configure(CONFIG)
        shared, alone = (Limiter(CONFIG, clock.monotonic, clock.time, limits) for limits in (one.limits, None))
        outcomes = []
        for limiter in (shared, alone):
            for _ in range(5):
                await limiter.admit([high], "alice")
            admission = await limiter.admit([low], "alice")
            outcomes.append((admission.rejection, admission.requests))
    midnight = 86_400 - clock.time() % 86_400
    assert outcomes == [(Rejection(low, midnight), (2, 0, midnight))] * 2


# -- the script and the process decide alike ---------------------------------------------------------------------------


class Script:
    """The script with a time of the test."""

    def __init__(self, server: ValkeyServer) -> None:
        first, second = "local time = redis.call('TIME')\n", "local now = time[1] + time[2] / 1000000\n"
        assert DECIDE.lstrip().startswith(first + second)
        self._call = server.client.register_script(DECIDE.replace(first + second, "local now = tonumber(ARGV[2])\n"))
        self.now = 1000.0

    def decide(
        self,
        changes: Sequence[Claim],
        claims: Sequence[Claim],
        period: int = 1,
        process: str = "me",
        known: Sequence[int] = (1, 1, 0, 0),
    ) -> tuple[bool, list[list[float]]]:
        last = {"": known, "d": period, "month": period}
        rows = [
            [(1, each.kind, each.unit, each.limit, each.amount, last.get(each.unit, each.since)) for each in part]
            for part in (changes, claims)
        ]
        reply: Any = self._call(keys=["test"], args=[msgspec.msgpack.encode((process, *rows)), repr(self.now)])
        decided = msgspec.msgpack.decode(reply)
        return decided[0], decided[1]


@pytest.mark.parametrize("seed", range(6))
def test_the_script_decides_as_the_process_does(seed: int, server: ValkeyServer) -> None:
    random = Random(seed)
    script = Script(server)
    state = LimitState(lambda: script.now, lambda: 1_800_000_000.0, UTC)
    limits: list[Claim] = [
        Claim("key:a", "requests", "s", 3, 1),
        Claim("key:a", "requests", "m", random.choice((20, 200)), 1),
        Claim("key:a", "tokens", "m", random.choice((30, 1000)), 0),
        Claim("key:a", "tokens", "d", 3000, 0),
    ]
    outcomes = set()
    running: list[tuple[float, int]] = []
    for _ in range(250):
        script.now += random.choice((0.0, 0.05, 0.7, 3.0, 40.0))
        estimate = random.randrange(20)
        claims = [claim.with_amount(estimate) if claim.kind == "tokens" else claim for claim in limits]
        expected = state.claim(claims)
        granted, usage = script.decide((), claims)
        outcomes.add(granted)
        assert granted == expected.is_granted
        for claim, ours, theirs in zip(claims, expected.usage, usage, strict=True):
            assert theirs[0] == ours.used
            if claim.unit != "d":
                assert theirs[1] == pytest.approx(ours.wait, abs=1e-6)
                assert theirs[2] == pytest.approx(ours.reset, abs=1e-6)
        if granted:
            running.append((script.now, estimate))
        if running and random.random() < 0.7:
            since, estimate = running.pop(random.randrange(len(running)))
            amount = random.choice((-estimate, -(estimate // 2), 5, 40, 300))
            changes = [
                claim.with_amount(amount).with_since(since if amount < 0 else 0.0)
                for claim in limits
                if claim.kind == "tokens" and (claim.unit == "m" or amount > 0)
            ]
            state.apply(changes)
            script.decide(changes, ())
    assert outcomes == {True, False}


def test_a_higher_limit_counts_a_debt_at_once(server: ValkeyServer) -> None:
    script = Script(server)
    low, high = (Claim("key:a", "tokens", "m", limit, 0) for limit in (100, 1_200_000))
    script.decide([low.with_amount(1_000_000)], ())
    used = []
    for seconds in (10.0, 49.0, 1.0, 10.0):
        script.now += seconds
        used.append(script.decide((), [high])[1][0][0])
    assert used == [1_000_000, 1_000_000, 999_900, 0]


def test_a_lower_limit_does_not_make_a_debt_of_what_was_in_the_window(server: ValkeyServer) -> None:
    script = Script(server)
    high, low = (Claim("key:a", "tokens", "m", limit, 0) for limit in (1000, 10))
    script.decide([high.with_amount(800)], ())
    script.now += 20.0
    script.decide([low.with_amount(6)], ())
    used = []
    for seconds in (10.0, 50.0, 60.0):
        script.now += seconds
        used.append(script.decide((), [low])[1][0][0])
    assert used == [806, 6, 0]


def test_the_surplus_of_an_estimate_is_returned_where_it_was_counted(server: ValkeyServer) -> None:
    script = Script(server)
    estimate = Claim("key:a", "tokens", "m", 60_000, 10_000)
    outcomes = []
    for _ in range(120):  # 54,000 tokens in each minute
        outcomes.append(script.decide((), [estimate])[0])
        script.now += 0.5
        script.decide([estimate.with_amount(900 - 10_000).with_since(script.now - 0.5)], ())
        script.now += 0.5
    assert outcomes == [True] * 120


def test_what_has_expired_is_not_returned(server: ValkeyServer) -> None:
    script = Script(server)
    estimate = Claim("key:a", "tokens", "m", 1000, 400)
    script.decide((), [estimate])
    script.now += 60
    script.decide((), [estimate])
    script.decide([estimate.with_amount(-300).with_since(script.now - 60)], ())
    assert script.decide((), [estimate.with_amount(0)])[1][0][0] == 400


async def test_replicas_return_the_surplus_of_each_call_where_the_server_counted_it(server: ValkeyServer) -> None:
    tokens = Claim("key:alice", "tokens", "h", 100, 40)
    async with replica(server.url) as one, replica(server.url) as two:
        counted = [await each.limits.claim([tokens]) for each in (one, two)]
        assert counted[0] is not None
        assert counted[1] is not None
        two.limits.report([tokens.with_amount(-30).with_since(counted[1].at)])
        await two.limits.flush()
        times, counts, _ = msgspec.msgpack.decode(server.client.get("models-proxy:prod:limits:key:alice"))["tokens/h"]  # type: ignore[arg-type]
    assert (times, counts) == ([each.at for each in counted if each], [40, 10])


def test_pending_changes_of_one_limit_are_kept_for_each_part_of_its_window() -> None:
    limits = Valkey(StoreSettings(valkey=SecretStr("redis://127.0.0.1:1"), namespace="prod"), FakeClock()).limits
    change = Claim("key:alice", "tokens", "m", 1000, -10)
    limits.report([change.with_since(since) for since in (600.5, 600.2, 630.0)] + [change.with_amount(5)] * 2)
    (pending,) = limits._pending.values()
    assert [*pending.values()] == [
        change.with_amount(-20).with_since(600.2),
        change.with_since(630.0),
        change.with_amount(10),
    ]


def test_debts_of_days_are_carried_over_as_in_the_process(server: ValkeyServer) -> None:
    script = Script(server)
    daily = Claim("key:a", "tokens", "d", 100, 0)
    script.decide([daily.with_amount(350)], ())
    used = [script.decide((), [daily], period)[1][0][0] for period in (1, 2, 3, 2, 4, 5)]
    assert used == [350, 250, 150, 150, 50, 0]


def test_a_limit_that_changes_within_a_day_forgets_nothing_and_makes_no_debt(server: ValkeyServer) -> None:
    script = Script(server)
    low, daily, high = (Claim("key:a", "tokens", "d", limit, 0) for limit in (10, 100, 300))
    script.decide([daily.with_amount(90)], ())
    used = [script.decide((), [claim], period)[1][0][0] for claim, period in ((low, 1), (daily, 1), (low, 2))]
    assert used == [90, 90, 0]
    script.decide([low.with_amount(350)], (), 2)
    assert script.decide((), [high], 2) == (False, [[350, 1, 300]])
    assert [script.decide((), [low], period)[1][0][0] for period in (2, 3, 4)] == [350, 50, 40]


def test_a_replica_whose_clock_was_far_ahead_does_not_stop_the_days_of_all(server: ValkeyServer) -> None:
    script = Script(server)
    daily = Claim("key:a", "tokens", "d", 100, 0)
    script.decide([daily.with_amount(50)], (), 9000)
    assert [script.decide((), [daily], period)[1][0][0] for period in (8, 7, 8, 9)] == [50, 50, 50, 0]


def test_calls_of_a_replica_that_died_are_over_after_some_seconds(server: ValkeyServer) -> None:
    script = Script(server)
    call = Claim("key:a", "concurrent", "", 1, 1)
    assert script.decide((), [call], process="dead")[0]
    script.now += STALE_SECONDS - 1
    assert not script.decide((), [call])[0]
    script.now += 1
    assert script.decide((), [call])[0]
    assert msgspec.msgpack.decode(server.client.get("test"))["concurrent/"].keys() == {"me"}  # type: ignore[arg-type]


def test_what_nothing_is_used_of_expires(server: ValkeyServer) -> None:
    script = Script(server)
    script.decide((), [Claim("key:a", "requests", "s", 5, 1)])
    assert 0 < server.client.pttl("test") <= 60_000
    script.decide((), [Claim("key:a", "requests", "month", 5, 1)])
    assert server.client.pttl("test") > 31 * 86_400_000


@pytest.mark.parametrize(("unit", "days"), [("m", 100 / 1440), ("h", 100 / 24), ("d", 100), ("month", 3100)])
def test_a_debt_is_kept_until_it_is_paid(unit: Unit, days: float, server: ValkeyServer) -> None:
    script = Script(server)
    tokens = Claim("key:a", "tokens", unit, 1000, 0)
    script.decide([tokens.with_amount(100_000)], ())
    assert server.client.pttl("test") >= days * 86_400_000


def test_a_debt_is_kept_for_ten_years_at_most(server: ValkeyServer) -> None:
    script = Script(server)
    script.decide([Claim("key:a", "tokens", "month", 1, 10**12)], ())
    assert 3650 < server.client.pttl("test") / 86_400_000 <= 3660


# -- without the server ------------------------------------------------------------------------------------------------


RULES = (Rule("", "requests", "m", 100), Rule("", "concurrent", "", 4))


async def admitted(limiter: Limiter, number: int) -> int:
    admissions = [await limiter.admit(RULES[:1], "alice") for _ in range(number)]
    return sum(admission.is_granted for admission in admissions)


async def test_without_the_server_each_replica_admits_its_part_of_what_remained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ValkeyServer() as server:
        async with replica(server.url) as one, replica(server.url) as two:
            clock = FakeClock()
            limiters = [Limiter(CONFIG, clock.monotonic, clock.time, each.limits) for each in (one, two)]
            await until(lambda: server.client.zcard("models-proxy:prod:limits:processes") == 2)
            await until(lambda: max(one.limits.processes, two.limits.processes) == 2)
            one.limits.processes = two.limits.processes = 2
            before = [await admitted(limiter, 20) for limiter in limiters]
            await admitted(limiters[0], 1)  # both have seen how much is used
            await admitted(limiters[1], 1)
            server.kill()
            after = [await admitted(limiter, 80) for limiter in limiters]
            alone = [limiter.local_since for limiter in limiters]
            await clock.advance(60)
            later = [await admitted(limiter, 80) for limiter in limiters]
    assert before == [20, 20]
    assert sum(after) <= 100 - 42
    assert min(after) >= 28
    assert later == [50, 50]
    assert alone == [1_800_000_000.0] * 2
    assert "limits: counting locally, because the other processes are unreachable" in caplog.text


async def test_what_was_admitted_alone_is_counted_when_the_server_is_back() -> None:
    with ValkeyServer() as server:
        async with replica(server.url) as one:
            clock = FakeClock()
            limiter = Limiter(CONFIG, clock.monotonic, clock.time, one.limits)
            server.kill()
            assert await admitted(limiter, 30) == 30
            server.start()
            store_clock: FakeClock = one._connection._clock  # type: ignore[assignment]
            for _ in range(50):
                await store_clock.advance(1)
                if one.state.is_up:
                    break
                await asyncio.sleep(0.02)
            await until(lambda: not one.limits._pending)
            assert await admitted(limiter, 100) == 70
            assert limiter.local_since is None


def test_a_replica_that_has_not_reached_the_server_expects_its_workers_and_the_last_known_replicas() -> None:
    limits = Valkey(StoreSettings(valkey=SecretStr("redis://127.0.0.1:1"), namespace="prod"), FakeClock()).limits
    limits.configure(config_of("server: {workers: 2}\nproviders: [{name: a, base_url: 'http://127.0.0.1/v1'}]"))
    expected = [limits.processes]
    limits.expect(6)
    limits.expect(1)
    assert [*expected, limits.processes] == [2, 6]


async def test_calls_in_progress_are_a_part_of_the_limit_while_a_replica_counts_alone() -> None:
    with ValkeyServer() as server:
        async with replica(server.url) as one:
            clock = FakeClock()
            limiter = Limiter(CONFIG, clock.monotonic, clock.time, one.limits)
            server.kill()
            one.limits.processes = 2
            admissions = [await limiter.admit(RULES[1:], "alice") for _ in range(3)]
            assert [each.is_granted for each in admissions] == [True, True, False]
            limiter.end(admissions[0], 0)
            assert (await limiter.admit(RULES[1:], "alice")).is_granted


async def test_pending_changes_are_bounded_and_the_lost_ones_are_reported(
    server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_limits, "MAX_PENDING", 3)
    sharing = Valkey(StoreSettings(valkey=SecretStr(server.url), namespace="prod"), FakeClock())
    sharing.limits.report([Claim(f"key:{number}", "tokens", "m", 10, 1) for number in range(5)])
    assert len(sharing.limits._pending) == 3
    assert sharing.limits.dropped == {"unsent": 2}
    assert caplog.text.count("the oldest are dropped") == 1
    await sharing.limits.flush()
    assert not sharing.limits._pending
    await sharing._client.close()


@pytest.mark.parametrize("reply", [b"", b"\xc1", msgspec.msgpack.encode((True, [])), msgspec.msgpack.encode("x")])
def test_a_reply_of_another_form_decides_nothing(reply: bytes, server: ValkeyServer) -> None:
    sharing = Valkey(StoreSettings(valkey=SecretStr(server.url), namespace="prod"), FakeClock())
    decide: Callable[..., Decision | None] = sharing.limits._decision
    assert decide([REQUESTS], reply) is None


async def test_a_server_that_does_not_respond_delays_one_request_only(caplog: pytest.LogCaptureFixture) -> None:
    with ValkeyServer() as server:
        async with replica(server.url) as one:
            clock = FakeClock()
            limiter = Limiter(CONFIG, clock.monotonic, clock.time, one.limits)
            assert await admitted(limiter, 1) == 1
            server.stop()
            assert await admitted(limiter, 120) == 99
            server.resume()
    assert "store.valkey is not available: timed out" in caplog.text


async def test_health_contains_where_limits_are_counted() -> None:
    key = "sk-canary-admin"
    with ValkeyServer() as server:
        config = config_of(
            f"store: {{valkey: '{server.url}', namespace: test}}\nproviders: [{{name: a, kind: static, models: [m]}}]\n"
            f"keys: [{{name: ops, hash: '{digest(key)}', models: ['*'], admin: true, limits: {{list_requests: 9/h}}}}]"
        )
        async with started(config, FakeFetch(), FakeClock()) as app:
            shown = []
            for _ in range(2):
                await reply_to(app, "/v1/models", {"x-api-key": key})
                shown.append((await reply_to(app, "/health", {"x-api-key": key})).json["store"]["limits"])
                server.kill()
    assert shown == ["shared", "local"]


async def test_health_of_a_replica_that_has_never_reached_the_server_shows_local_limits() -> None:
    key = "sk-canary-admin"
    config = config_of(
        "store: {valkey: 'redis://127.0.0.1:1', namespace: test}\n"
        "providers: [{name: a, kind: static, models: [m]}]\n"
        f"keys: [{{name: ops, hash: '{digest(key)}', models: ['*'], admin: true}}]"
    )
    async with started(config, FakeFetch(), FakeClock()) as app:
        assert (await reply_to(app, "/health", {"x-api-key": key})).json["store"]["limits"] == "local"
