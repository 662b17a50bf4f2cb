"""Decisions on the limits of callers: quotas, several limits at once, memory, reloads, other processes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache

import pytest

from proxy.config import Config
from proxy.config.call_limits import CallLimits, Rate, Unit
from proxy.limits import records
from proxy.limits import state as limit_state
from proxy.limits.admission import Rejection
from proxy.limits.claims import Claim, Decision, Usage
from proxy.limits.dropped import WARNING_SECONDS
from proxy.limits.limiter import Limiter
from proxy.limits.quota import Quota, Quotas, Rule
from proxy.limits.sliding_window import SlidingWindow
from tests.fakes import FakeClock, config_of, digest

pytestmark = pytest.mark.anyio

PROVIDER = "providers: [{name: a, base_url: 'http://127.0.0.1/v1'}]\n"
LIMITED = (
    PROVIDER
    + "groups: {staff: {models: ['*'], limits: {requests: 5/m}, group_limits: {tokens: 9/d}}, free: {models: ['*']}}\n"
    + f"keys: [{{name: alice, hash: '{digest('sk-canary-a')}', group: staff}}]"
)
CONFIG = config_of(LIMITED)
REQUESTS, TOKENS = Rule("", "requests", "m", 3), Rule("staff", "tokens", "d", 100)
CALLS = Rule("", "concurrent", "", 1)
WITHOUT_STAFF = config_of(
    PROVIDER
    + f"groups: {{free: {{models: ['*']}}}}\nkeys: [{{name: alice, hash: '{digest('sk-canary-a')}', group: free}}]"
)


@pytest.fixture
def limiter(clock: FakeClock) -> Limiter:
    return Limiter(CONFIG, clock.monotonic, clock.time)


@cache
def quota(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the same object for equal rules, as `Quotas` does: a limiter compares no further."""
    return rules


def granted(limiter: Limiter, *rules: Rule, identity: str = "alice", tokens: int = 0) -> bool:
    return limiter.admit_now(quota(rules), identity, tokens).is_granted


# -- quotas ------------------------------------------------------------------------------------------------------------


def test_callers_with_equal_limits_share_one_quota() -> None:
    quotas = Quotas(CONFIG.groups)
    staff = quotas.of_member("staff")
    assert staff == Quota((Rule("", "requests", "m", 5), Rule("staff", "tokens", "d", 9)), (), counts_tokens=True)
    assert quotas.of(CONFIG.keys[0].limits, "staff") is staff
    assert quotas.of(CallLimits(requests=(Rate(5, "m"),)), "staff") is staff
    assert [quotas.of_member(group) for group in ("free", "unknown", None)] == [None] * 3


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_a_new_minute_admits_again(limiter: Limiter, clock: FakeClock) -> None:
    assert [granted(limiter, REQUESTS) for _ in range(4)] == [True, True, True, False]
    assert granted(limiter, REQUESTS, identity="bob")


async def test_the_longest_wait_of_several_limits_counts(limiter: Limiter, clock: FakeClock) -> None:
    hour, minute = Rule("", "requests", "h", 1), Rule("", "requests", "m", 1)
    granted(limiter, minute, hour)
    await clock.advance(20)
    refused = limiter.admit_now((minute, hour), "alice")
    assert refused.rejection == Rejection(hour, 3580.0)
    assert refused.rejection.reason == "at most 1 requests per hour (each caller)"


def test_a_caller_without_a_credential_is_one_caller(limiter: Limiter) -> None:
    assert [granted(limiter, REQUESTS, identity="") for _ in range(4)] == [True, True, True, False]


def test_estimated_tokens_are_replaced_by_those_that_were_used(limiter: Limiter) -> None:
    first = limiter.admit_now((TOKENS,), "alice", 90)
    assert granted(limiter, TOKENS, tokens=90)  # something is left
    assert not granted(limiter, TOKENS, tokens=1)
    limiter.end(first, 5)
    assert granted(limiter, TOKENS, tokens=1)


def test_an_end_without_anything_to_settle_changes_nothing(limiter: Limiter) -> None:
    admission = limiter.admit_now((REQUESTS,), "alice")
    limiter.end(admission, 0)
    assert limiter.state.scopes["key:alice"].counters["requests/m"].used == 1


async def test_a_caller_with_high_estimates_is_admitted_while_its_usage_is_below_the_limit(
    limiter: Limiter, clock: FakeClock
) -> None:
    rules = (Rule("", "tokens", "m", 60_000),)
    outcomes = []
    for _ in range(300):  # 54,000 tokens in each minute
        admission = limiter.admit_now(rules, "alice", 10_000)
        outcomes.append(admission.is_granted)
        await clock.advance(0.5)
        limiter.end(admission, 900)
        await clock.advance(0.5)
    assert outcomes == [True] * 300


@pytest.mark.parametrize(("seconds", "used"), [(59, 100), (60, 90), (90, 90)])
async def test_an_estimate_that_has_expired_is_not_taken_back_from_what_others_have_used_since(
    seconds: int, used: int, limiter: Limiter, clock: FakeClock
) -> None:
    rule = Rule("staff", "tokens", "m", 1000)
    slow = limiter.admit_now((rule,), "alice", 900)
    await clock.advance(seconds)
    limiter.admit_now((rule,), "bob", 90)
    limiter.end(slow, 10)
    assert limiter.state.scopes["group:staff"].counters["tokens/m"].used == used


async def test_an_estimate_of_yesterday_is_not_taken_back_from_what_is_used_today(
    limiter: Limiter, clock: FakeClock
) -> None:

    def used_of(name: str) -> int:
        return limiter.state.scopes[f"key:{name}"].counters["tokens/d"].used

    clock.set_time(1_800_057_590.0)  # 10 s before midnight
    rule = Rule("", "tokens", "d", 1000)
    slow, fast = (limiter.admit_now((rule,), name, 900) for name in ("alice", "bob"))
    limiter.end(fast, 10)
    assert used_of("bob") == 10
    await clock.advance(20)
    limiter.admit_now((rule,), "alice", 90)
    limiter.end(slow, 10)
    assert used_of("alice") == 90


async def test_what_another_member_of_a_group_has_used_expires_for_all_of_them(
    limiter: Limiter, clock: FakeClock
) -> None:
    together, at_a_time = Rule("staff", "requests", "m", 1), Rule("", "concurrent", "", 2)
    granted(limiter, at_a_time)
    slow = limiter.admit_now(quota((together, at_a_time)), "alice")
    await clock.advance(61)
    assert not granted(limiter, together, at_a_time)  # the window of the group is empty now
    await clock.advance(1)
    assert granted(limiter, together, identity="bob")
    limiter.end(slow, 0)
    await clock.advance(61)
    assert granted(limiter, together, at_a_time)


async def test_restored_counters_expire_in_time_although_their_caller_is_known(
    limiter: Limiter, clock: FakeClock
) -> None:
    earlier, call = Limiter(CONFIG, clock.monotonic, clock.time), (REQUESTS, Rule("", "concurrent", "", 9))
    for _ in range(3):
        earlier.admit_now((REQUESTS,), "alice")
    stored = records.packed("key:alice", earlier.state.scopes["key:alice"], 0.0)
    await clock.advance(50)
    assert granted(limiter, *call)
    records.restore(limiter.state, stored, clock.monotonic(), 0.0)
    assert not granted(limiter, *call)
    await clock.advance(11)
    assert granted(limiter, *call)


async def test_tokens_of_a_call_that_ends_after_midnight_count_for_the_new_day(
    limiter: Limiter, clock: FakeClock
) -> None:
    clock.set_time(1_800_057_590.0)  # 10 s before midnight
    slow = limiter.admit_now((Rule("", "tokens", "d", 1000),), "alice", 900)
    await clock.advance(20)
    limiter.end(slow, 950)
    (status,) = await limiter.statuses(Quota((Rule("", "tokens", "d", 1000),), ()), "alice")
    assert status.remaining == 950


async def test_tokens_of_a_call_that_ends_after_the_clock_was_set_count_for_the_present_day(
    limiter: Limiter, clock: FakeClock
) -> None:
    rules = Rule("", "tokens", "d", 1000), Rule("", "concurrent", "", 9)
    slow = limiter.admit_now(rules, "alice", 10)
    clock.set_time(clock.time() + 86_400)
    await clock.advance(10)
    limiter.end(slow, 900)
    assert limiter.admit_now(rules, "alice", 10).tokens_left == (1000, 100, 57_590.0)


async def test_a_call_that_ends_after_counters_were_restored_is_counted_with_what_has_not_expired(
    limiter: Limiter, clock: FakeClock
) -> None:
    rules = Rule("", "tokens", "m", 1000), Rule("", "concurrent", "", 9)
    earlier = Limiter(CONFIG, clock.monotonic, clock.time)
    earlier.admit_now(rules, "alice", 1000)
    stored = records.packed("key:alice", earlier.state.scopes["key:alice"], 0.0)
    await clock.advance(50)
    slow = limiter.admit_now(rules, "alice", 10)
    records.restore(limiter.state, stored, clock.monotonic(), 0.0)
    await clock.advance(20)
    limiter.end(slow, 900)
    window = limiter.state.scopes["key:alice"].counters["tokens/m"]
    assert isinstance(window, SlidingWindow)
    assert (window.used, window.debt) == (890, 0)


def test_a_call_whose_counters_were_dropped_since_is_counted_when_it_ends(limiter: Limiter) -> None:
    second = (Rule("", "tokens", "h", 100),)
    admission = limiter.admit_now(second, "alice", 0)
    for number in range(20):
        granted(limiter, REQUESTS, identity=f"user {number}")
    assert "key:alice" not in limiter.state.scopes
    limiter.end(admission, 70)
    assert limiter.state.scopes["key:alice"].counters["tokens/h"].used == 70


async def test_the_limits_of_a_group_are_counted_together_after_they_were_unused(
    limiter: Limiter, clock: FakeClock
) -> None:
    rules = (Rule("staff", "requests", "m", 3),)
    granted(limiter, *rules, identity="bob")
    assert limiter.admit_now(rules, "alice").is_granted
    await clock.advance(60)
    for number in range(40):
        granted(limiter, REQUESTS, identity=f"user {number}")
    results = [limiter.admit_now(rules, name).is_granted for name in ("alice", "bob", "alice", "bob")]
    assert results == [True, True, True, False]


async def test_a_call_from_before_a_reload_ends_within_the_present_limits(limiter: Limiter) -> None:
    old, new = ((REQUESTS, Rule("staff", "tokens", "d", limit)) for limit in (100, 500))
    slow = limiter.admit_now(old, "alice", 60)
    for name in ("alice", "bob"):
        assert limiter.admit_now(new, name, 30).is_granted
    limiter.end(slow, 70)
    assert limiter.admit_now(new, "bob", 300).tokens_left == (500, 70, 57_600.0)


async def test_a_call_that_is_admitted_late_with_the_limits_before_a_reload_sets_them_for_itself_only(
    limiter: Limiter,
) -> None:
    old, new = ((REQUESTS, Rule("staff", "requests", "d", limit)) for limit in (2, 100))
    admitted = [limiter.admit_now(rules, name).is_granted for rules, name in ((new, "alice"), (new, "bob"))]
    late = limiter.admit_now(old, "alice").is_granted
    assert (admitted, late, limiter.admit_now(new, "bob").is_granted) == ([True, True], False, True)


@pytest.mark.parametrize("unit", ["m", "d"])
async def test_a_usage_query_with_the_limits_before_a_reload_does_not_restore_them(
    unit: Unit, limiter: Limiter
) -> None:
    old, new = ((Rule("", "requests", unit, limit),) for limit in (100, 3))
    first = limiter.admit_now(new, "alice").is_granted
    (shown,) = await limiter.statuses(Quota(old, ()), "alice")
    later = [limiter.admit_now(new, "alice").is_granted for _ in range(3)]
    assert (first, shown.limit, shown.remaining, later) == (True, 100, 99, [True, True, False])


async def test_alternating_limits_of_one_caller_forget_nothing(limiter: Limiter) -> None:
    """Such as those of the groups that the tokens of one user name."""
    small, large = ((Rule("", "requests", "d", limit),) for limit in (2, 5))
    outcomes = [granted(limiter, *rules) for _ in range(6) for rules in (large, small)]
    assert outcomes == [True, True, True, False, True, False, True, False, False, False, False, False]


def test_lists_between_calls_do_not_let_a_window_grow(limiter: Limiter) -> None:
    calls, lists = (Rule("", "requests", "m", 10_000),), (Rule("", "list_requests", "m", 10_000),)
    for _ in range(200):
        limiter.admit_now(calls, "alice")
        limiter.admit_now(lists, "alice")
    windows = limiter.state.scopes["key:alice"].counters.values()
    assert [len(window.entries()) for window in windows if isinstance(window, SlidingWindow)] == [1, 1]


async def test_a_rejection_reports_what_remains_today_and_not_yesterday(limiter: Limiter, clock: FakeClock) -> None:
    clock.set_time(1_800_057_590.0)  # 10 s before midnight
    rules = (Rule("", "requests", "h", 1), Rule("", "tokens", "d", 100))
    limiter.end(limiter.admit_now(rules, "alice", 10), 90)
    await clock.advance(20)
    rejected = limiter.admit_now(rules, "alice", 10)
    assert (rejected.rejection, rejected.tokens_left) == (
        Rejection(rules[0], 3580.0),
        (100, 100, 86_390.0),
    )


def test_unused_tokens_are_reported_as_unused(limiter: Limiter) -> None:
    rules = (Rule("", "tokens", "m", 100), Rule("", "tokens", "h", 100), Rule("", "requests", "m", 5))
    admission = limiter.admit_now(rules, "alice")
    assert (admission.tokens_left, admission.requests) == ((100, 100, 0.0), (5, 4, 60.0))


@pytest.mark.parametrize(("tokens", "left"), [(30, (100, 70, 3600.0)), (250, (100, 0, 10_800.0))])
def test_of_equal_limits_the_longest_is_reported(tokens: int, left: tuple[int, int, float], limiter: Limiter) -> None:
    rules = (Rule("", "tokens", "h", 100), Rule("", "tokens", "m", 100))
    assert limiter.admit_now(rules, "alice", tokens).tokens_left == left


async def test_a_clock_that_is_set_to_another_day_is_read_within_a_second(limiter: Limiter, clock: FakeClock) -> None:
    rules = Rule("", "requests", "d", 1), Rule("", "requests", "month", 10)
    assert [granted(limiter, *rules) for _ in range(2)] == [True, False]
    clock.set_time(clock.time() + 86_400)
    await clock.advance(1)
    assert granted(limiter, *rules)


async def test_a_day_is_that_of_the_present_time_zone(limiter: Limiter, clock: FakeClock) -> None:
    rules = Rule("", "requests", "d", 1), Rule("", "requests", "month", 10)
    await clock.advance(3 * 3600)  # 11:00 UTC
    assert [granted(limiter, *rules) for _ in range(2)] == [True, False]
    limiter.configure(config_of(f"server: {{timezone: Pacific/Kiritimati}}\n{LIMITED}"))  # 01:00 of the next day
    assert granted(limiter, *rules)


# -- memory ------------------------------------------------------------------------------------------------------------


async def test_callers_with_unused_limits_are_dropped(limiter: Limiter, clock: FakeClock) -> None:
    for number in range(100):
        granted(limiter, REQUESTS, identity=f"user {number}")
    await clock.advance(60)
    for _ in range(3):  # 100 of them are checked each second
        await clock.advance(1)
        granted(limiter, REQUESTS, identity="alice")
    assert limiter.state.scopes.keys() == {"key:alice"}


async def test_debts_and_calls_in_progress_are_kept(limiter: Limiter, clock: FakeClock) -> None:
    minute, day = Rule("", "tokens", "m", 10), Rule("", "tokens", "d", 10)
    limiter.end(limiter.admit_now((minute,), "minute", 1), 35)
    limiter.end(limiter.admit_now((day,), "day", 1), 35)
    limiter.admit_now((CALLS,), "calls")
    await clock.advance(200)
    granted(limiter, REQUESTS, identity="alice")
    assert limiter.state.scopes.keys() == {"key:minute", "key:day", "key:calls", "key:alice"}
    await clock.advance(2 * 86_400)
    granted(limiter, REQUESTS, identity="alice")
    assert not granted(limiter, day, identity="day")
    assert "key:minute" not in limiter.state.scopes


def test_the_number_of_callers_is_bounded(limiter: Limiter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_state, "MAX_SCOPES", 10)
    for number in range(100):
        granted(limiter, REQUESTS, identity=f"user {number}")
    assert len(limiter.state.scopes) <= 12


async def test_counters_that_are_dropped_in_use_are_counted_and_reported_once_an_hour(
    limiter: Limiter, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limit_state, "MAX_SCOPES", 10)
    for number in range(100):
        granted(limiter, Rule("", "requests", "d", 5), identity=f"user {number}")
    dropped, warnings = limiter.report.dropped, [record.getMessage() for record in caplog.records]
    await clock.advance(WARNING_SECONDS)
    for number in range(100, 110):
        granted(limiter, REQUESTS, identity=f"user {number}")
    assert dropped == {"memory": 89}
    assert [text.partition(":")[2].partition(":")[0] for text in warnings] == [
        " more than 200000 callers and groups have used their limits"
    ]
    assert len(caplog.records) == 2


async def test_counters_of_other_processes_are_forgotten_when_they_are_unused(
    together: Limiter, others: Others, clock: FakeClock
) -> None:
    others.decision = Decision(True, [Usage(1, 0.0, 60.0)])
    for number in range(10):
        await together.admit((REQUESTS,), f"user {number}")
    await clock.advance(60)
    await together.admit((REQUESTS,), "alice")
    assert together.state.scopes.keys() == {"key:alice"}


async def test_callers_that_are_limited_together_only_are_forgotten_too(limiter: Limiter, clock: FakeClock) -> None:
    rules = (Rule("staff", "requests", "m", 1000),)
    for number in range(20):
        granted(limiter, *rules, identity=f"user {number}")
    await clock.advance(1)
    granted(limiter, *rules)
    assert {f"key:{identity}" for identity in limiter.state.accounts} <= limiter.state.scopes.keys()
    assert limiter.state.scopes.keys() == {"group:staff", "key:alice"}


def test_a_call_ends_in_the_counters_it_began_in_after_two_reloads(limiter: Limiter) -> None:
    own, rules = Rule("", "requests", "m", 100), Rule("staff", "tokens", "m", 1000)
    began = limiter.admit_now((own, rules), "alice", 900)
    limiter.configure(WITHOUT_STAFF)
    assert granted(limiter, own)
    limiter.configure(CONFIG)
    limiter.admit_now((own, rules), "alice", 800)
    limiter.end(began, 10)
    assert limiter.state.scopes["group:staff"].counters["tokens/m"].used == 800


# -- reloads -----------------------------------------------------------------------------------------------------------


def test_a_reload_discards_counters_of_removed_callers(limiter: Limiter) -> None:
    for identity in ("alice", "bob", ""):
        granted(limiter, REQUESTS, TOKENS, identity=identity)
    granted(limiter, Rule("old", "requests", "m", 5))
    limiter.configure(CONFIG)
    assert limiter.state.scopes.keys() == {"key:alice", "key:", "group:staff"}


def test_calls_in_progress_of_a_removed_key_are_released_later(limiter: Limiter) -> None:
    admission = limiter.admit_now((CALLS,), "bob")
    limiter.configure(CONFIG)
    assert not granted(limiter, CALLS, identity="bob")
    limiter.end(admission, 0)
    limiter.configure(CONFIG)
    assert "key:bob" not in limiter.state.scopes


# -- other processes ---------------------------------------------------------------------------------------------------


class Others:
    """Decides as a test sets it; None: the others are unreachable."""

    processes = 4
    dropped: Mapping[str, int] = {"unsent": 0}
    is_reachable = True

    def __init__(self, decision: Decision | None) -> None:
        self.decision = decision
        self.reported: list[Claim] = []

    def configure(self, config: Config) -> None:
        self.timezone = config.server.timezone

    def expect(self, processes: int) -> None:
        self.processes = max(self.processes, processes)

    async def claim(self, claims: Sequence[Claim]) -> Decision | None:
        return self.decision

    def restore(self, records: Sequence[bytes]) -> None: ...

    def report(self, changes: Sequence[Claim]) -> None:
        self.reported += changes


@pytest.fixture
def others() -> Others:
    return Others(None)


@pytest.fixture
def together(others: Others, clock: FakeClock) -> Limiter:
    return Limiter(CONFIG, clock.monotonic, clock.time, others)


async def test_a_process_that_counts_locally_admits_its_part_and_logs_that_once(
    together: Limiter, others: Others, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rule = Rule("", "requests", "m", 20)
    results = [(await together.admit((rule,), "alice")).is_granted for _ in range(8)]
    assert results == [True] * 5 + [False] * 3
    assert (together.where_counted, together.report.is_local) == ("local", True)
    assert others.reported == [Claim("key:alice", "requests", "m", 20, 1)] * 5
    others.decision = Decision(True, [Usage(6, 0.0, 60.0)])
    await together.admit((rule,), "alice")
    assert (together.where_counted, together.local_since) == ("shared", None)
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "limits: counting locally",
        "limits: counting together with the other processes again",
    ]


def test_a_process_that_has_not_reached_the_others_counts_locally(together: Limiter, others: Others) -> None:
    others.is_reachable = False
    assert (together.where_counted, together.report.is_local) == ("local", True)


async def test_a_process_without_requests_counts_with_the_others_as_soon_as_it_is_connected(
    together: Limiter, others: Others
) -> None:
    where = []
    for others.is_reachable in (False, True):
        await together.admit((REQUESTS,), "alice")  # fails
        where.append(together.where_counted)
    others.is_reachable = False
    await together.admit((REQUESTS,), "alice")
    others.is_reachable = True
    assert (where, together.where_counted) == (["local", "local"], "shared")


async def test_what_remained_for_all_is_divided(together: Limiter, others: Others, clock: FakeClock) -> None:
    rule = Rule("", "requests", "d", 100)
    others.decision = Decision(True, [Usage(80, 0.0, 600.0)])
    await together.admit((rule,), "alice")
    others.decision = None
    results = [(await together.admit((rule,), "alice")).is_granted for _ in range(7)]
    assert results == [True] * 5 + [False] * 2


async def test_a_limit_that_is_smaller_than_the_number_of_processes_admits_one(together: Limiter) -> None:
    rule = Rule("", "requests", "h", 2)
    assert [(await together.admit((rule,), "alice")).is_granted for _ in range(3)] == [True, False, False]


async def test_what_was_counted_once_for_all_is_taken_back_once_by_a_process_that_counts_locally_since(
    together: Limiter, others: Others
) -> None:
    others.decision = Decision(True, [Usage(50, 0.0, 60.0)])
    admission = await together.admit((TOKENS,), "alice", 20)
    others.decision = None
    await together.admit((TOKENS,), "bob", 1)  # counts 4, for the four processes
    together.end(admission, 10)
    assert together.state.scopes["group:staff"].counters["tokens/d"].used == 50 + 4 - 10


async def test_calls_and_tokens_that_end_are_reported(together: Limiter, others: Others) -> None:
    others.decision = Decision(True, [Usage(1, 0.0, 0.0), Usage(10, 0.0, 60.0)])
    admission = await together.admit((CALLS, TOKENS), "alice", 10)
    assert together.state.scopes["key:alice"].in_flight == 1
    together.end(admission, 25)
    assert others.reported == [
        Claim("key:alice", "concurrent", "", 1, -1),
        Claim("group:staff", "tokens", "d", 100, 15),
    ]
    assert together.state.scopes["key:alice"].in_flight == 0


async def test_the_end_of_a_call_from_before_a_reload_keeps_the_present_limit_of_all(
    together: Limiter, others: Others
) -> None:
    low, high = (Rule("", "tokens", "m", limit) for limit in (100, 1000))
    others.decision = Decision(True, [Usage(10, 0.0, 60.0)])
    slow = await together.admit((low,), "alice", 10)
    await together.admit((high,), "alice", 10)
    together.end(slow, 20)
    assert together.state.scopes["key:alice"].counters["tokens/m"].limit == 1000


async def test_statuses_are_those_of_all_processes_and_use_nothing(together: Limiter, others: Others) -> None:
    quota = Quota((REQUESTS, CALLS), (Rule("", "list_requests", "s", 7),))
    others.decision = Decision(True, [Usage(2, 0.0, 30.0), Usage(7, 0.0, 1.0)])
    shown = [(each.kind, each.remaining, each.reset) for each in await together.statuses(quota, "alice")]
    assert shown == [("requests", 1, 30.0), ("concurrent", 1, 0.0), ("list_requests", 0, 1.0)]
    others.decision = None
    alone = [each.remaining for each in await together.statuses(quota, "alice")]
    assert alone == [3, 1, 7]
    assert await together.statuses(None, "alice") == []
