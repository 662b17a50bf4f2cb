"""The calls of the last hour, by minute."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from proxy.cooperative import run_now
from proxy.telemetry.counters import MAX_KEYS, OTHER
from proxy.telemetry.events import Outcome, grouped
from proxy.telemetry.recent import MINUTES, KeyMinute, LastHour, ProviderMinute, RecentCalls, percentile, total_of
from tests.fakes import FakeClock
from tests.telemetry.calls import record

NOON = 1_800_000_000.0
"""The begin of a minute."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time=NOON)


def hour_of(clock: FakeClock, *parts: RecentCalls) -> LastHour:
    hour = LastHour(clock.time())
    for part in parts:
        run_now(hour.add(part.packed()))
    return hour


def counted(clock: FakeClock, **fields: Any) -> RecentCalls:
    recent = RecentCalls(clock.time)
    recent.calls_ended(grouped([record(**{"provider": "a", **fields})]))
    return recent


def calls_by_minute(hour: LastHour) -> dict[int, int]:
    """Minutes ago -> calls, without the minutes that had none."""
    return {MINUTES - 1 - at: of.calls for at, of in enumerate(hour.of_provider("a")) if of.calls}


def test_calls_are_in_the_minute_of_their_end(clock: FakeClock) -> None:
    recent = RecentCalls(clock.time)
    for minutes in (0, 0.9, 1, 5):
        clock.set_time(NOON + minutes * 60)
        recent.calls_ended(grouped([record(provider="a")]))

    assert calls_by_minute(hour_of(clock, recent)) == {5: 2, 4: 1, 0: 1}


def test_calls_are_forgotten_after_an_hour(clock: FakeClock) -> None:
    recent = counted(clock)

    clock.set_time(NOON + 3540)
    assert calls_by_minute(hour_of(clock, recent)) == {59: 1}
    clock.set_time(NOON + 3600)
    assert calls_by_minute(hour_of(clock, recent)) == {}
    assert hour_of(clock, recent).first == NOON / 60 + 1


def test_a_clock_that_is_set_back_and_forth_loses_and_doubles_nothing(clock: FakeClock) -> None:
    recent = RecentCalls(clock.time)
    for seconds in (0, 120, 0, 60, 120):
        clock.set_time(NOON + seconds)
        recent.calls_ended(grouped([record(provider="a")]))

    assert calls_by_minute(hour_of(clock, recent)) == {2: 2, 1: 1, 0: 2}


def test_what_is_counted_of_a_key_and_of_a_provider(clock: FakeClock) -> None:
    recent = RecentCalls(clock.time)
    failed: dict[str, Any] = {"key": "k", "first_byte": None, "input_tokens": 0, "output_tokens": 0}
    recent.calls_ended(
        grouped(
            [
                record(provider="a", key="k", first_byte=0.5, input_tokens=3, output_tokens=4),
                record(**{**failed, "provider": "a", "first_byte": 1.5, "outcome": "stream_broken"}),
                record(**failed, provider="a", outcome="rejected"),
                record(**failed, provider="", outcome="failed"),
                record(**failed, provider="a", outcome="client_disconnected"),
            ]
        )
    )
    hour = hour_of(clock, recent)

    assert hour.of_key("k")[-1] == KeyMinute(5, 3, 3, 4, 2, 2.0)
    total = total_of(hour.of_provider("a"))
    assert (total.calls, total.errors, sum(total.first_bytes.values())) == (4, 1, 2)
    assert run_now(hour.sums_of_keys()) == {"k": KeyMinute(5, 3, 3, 4, 2, 2.0)}


def test_calls_of_several_keys_at_one_provider_and_calls_without_a_provider(clock: FakeClock) -> None:
    recent = RecentCalls(clock.time)
    calls = [
        record(key="k", provider="a", first_byte=0.01),
        record(key="l", provider="a", first_byte=0.01),
        record(key="l", provider="", outcome="rejected", first_byte=None),
    ]
    recent.calls_ended(grouped(calls))

    minute = hour_of(clock, recent).minutes[-1]
    assert minute.providers == {"a": ProviderMinute(calls=2, first_bytes={0: 2})}
    assert {name: (of.calls, of.errors) for name, of in minute.keys.items()} == {"k": (1, 0), "l": (2, 1)}


def test_failed_attempts_of_calls_that_another_provider_answered_are_errors_of_the_first(clock: FakeClock) -> None:
    recent = RecentCalls(clock.time)
    attempts = Counter[tuple[str, Outcome]]({("a", "failed"): 7, ("a", "ok"): 9})
    recent.attempts = lambda: attempts
    recent.begin_minute()
    attempts["a", "timeout"] += 2  # since the start there were others
    attempts["a", "rejected"] += 5
    recent.calls_ended(grouped([record(provider="b")]))
    attempts["a", "rate_limited"] += 1
    first = hour_of(clock, recent)
    attempts["a", "failed"] += 1
    clock.set_time(NOON + 60)
    second = hour_of(clock, recent)

    assert [of.failures for of in first.of_provider("a")[-2:]] == [0, 3]
    assert [of.failures for of in second.of_provider("a")[-2:]] == [4, 0]
    assert total_of(second.of_provider("b")).errors == 0


def test_the_calls_of_several_processes_are_added(clock: FakeClock) -> None:
    hour = hour_of(clock, counted(clock, key="k"), counted(clock, key="k", outcome="failed"))

    assert hour.of_key("k")[-1].calls == 2
    assert (hour.of_provider("a")[-1].calls, hour.of_provider("a")[-1].failures) == (2, 1)
    assert sum(hour.of_provider("a")[-1].first_bytes.values()) == 2


def test_further_keys_are_counted_together_and_users_by_their_login(clock: FakeClock) -> None:
    recent = RecentCalls(clock.time)
    recent.calls_ended(grouped([record(key=f"key-{number}") for number in range(MAX_KEYS + 5)]))
    clock.set_time(NOON + 60)
    recent.calls_ended(grouped([record(key=f"jwt:https://login.example|{number}") for number in range(3)]))
    hour = hour_of(clock, recent)

    assert (len(hour.minutes[-2].keys), hour.minutes[-2].keys[OTHER].calls) == (MAX_KEYS + 1, 5)
    assert {name: of.calls for name, of in hour.minutes[-1].keys.items()} == {"jwt:https://login.example": 3}


def test_other_bytes_are_errors() -> None:
    with pytest.raises(ValueError, match=r"."):
        run_now(LastHour(NOON).add([(int(NOON) // 60, b"canary")]))


@pytest.mark.parametrize(("seconds", "share"), [(0.004, 0.5), (0.3, 0.5), (0.3, 0.95), (2.0, 0.95), (140.0, 0.5)])
def test_percentiles_are_exact_to_a_quarter(seconds: float, share: float, clock: FakeClock) -> None:
    hour = hour_of(clock, counted(clock, first_byte=seconds))
    found = percentile(hour.of_provider("a")[-1].first_bytes, share)

    assert found == pytest.approx(seconds, rel=0.25, abs=0.01)


def test_percentiles_are_those_of_all_calls(clock: FakeClock) -> None:
    recent = RecentCalls(clock.time)
    recent.calls_ended(
        grouped([record(provider="a", first_byte=0.1)] * 90 + [record(provider="a", first_byte=9.0)] * 10)
    )
    first_bytes = hour_of(clock, recent).of_provider("a")[-1].first_bytes

    assert percentile(first_bytes, 0.5) == pytest.approx(0.1, rel=0.25)
    assert percentile(first_bytes, 0.95) == pytest.approx(9.0, rel=0.25)
    assert percentile(ProviderMinute().first_bytes, 0.5) is None
    assert percentile({44: 1}, 1.0) == pytest.approx(184, rel=0.1)  # longer than all bounds
