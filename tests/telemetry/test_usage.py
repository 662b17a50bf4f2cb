"""What is counted of calls, by hour, and what happens when there are too many rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.telemetry.days import DAY, HOUR, Days
from proxy.telemetry.events import grouped
from proxy.telemetry.usage import Usage, UsageState, total_of
from proxy.telemetry.usage_query import GROUPS, Labels, PreparedQuery, Query, TooManyTotals, packed, together
from proxy.telemetry.usage_rows import ClosedRows, Counts, Names, OpenRows
from tests.fakes import FakeClock
from tests.telemetry.calls import record

NOON = datetime(2026, 11, 29, 12, 30, tzinfo=UTC).timestamp()
FOREVER = 2**40


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time=NOON)


def new_usage(clock: FakeClock, *listed: str, max_days: int = 90, max_rows: int = 1000, zone: str = "") -> Usage:
    days = Days(ZoneInfo(zone) if zone else UTC)
    return Usage(clock.time, days, frozenset(listed).__contains__, max_days=max_days, max_rows=max_rows)


def totals(
    usage: Usage, *by: str, begin: int = 0, end: int = FOREVER, key: str | None = None
) -> Mapping[Labels, Counts]:
    answer = PreparedQuery(usage, Query(begin, end, by, key)).answer()
    return {labels: Counts(*counts) for labels, counts in answer.totals}


def use(usage: Usage, key: str = "alice", model: str = "m", provider: str = "a", **fields: Any) -> None:
    usage.calls_ended(
        grouped([record(key=key, model=model, provider=provider, **{"input_tokens": 1, "output_tokens": 2, **fields})])
    )


def later(usage: Usage, clock: FakeClock, seconds: float) -> None:
    usage.count()
    clock.set_time(clock.time() + seconds)


def close_hours(usage: Usage) -> None:
    for start, rows in [*usage.hours_to_close()]:
        usage.close(start, ClosedRows(rows))


def test_calls_are_counted_by_hour_key_model_and_provider(clock: FakeClock) -> None:
    usage = new_usage(clock)
    use(usage)
    use(usage)
    use(usage, provider="b")
    later(usage, clock, HOUR)
    use(usage, key="")

    assert totals(usage, *GROUPS) == {
        ("2026-11-29T12:00:00Z", "2026-11-29", "alice", "m", "a"): Counts(2, 0, 2, 4),
        ("2026-11-29T12:00:00Z", "2026-11-29", "alice", "m", "b"): Counts(1, 0, 1, 2),
        ("2026-11-29T13:00:00Z", "2026-11-29", "", "m", "a"): Counts(1, 0, 1, 2),
    }
    assert totals(usage) == {(): Counts(4, 0, 4, 8)}


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [
        ("ok", 0),
        ("client_disconnected", 0),
        ("rejected", 1),
        ("rate_limited", 1),
        ("failed", 1),
        ("timeout", 1),
        ("stream_broken", 1),
        ("shut_down", 1),
    ],
)
def test_calls_that_end_with_an_error_are_failed(outcome: str, failed: int, clock: FakeClock) -> None:
    usage = new_usage(clock, "m")
    use(usage, outcome=outcome)

    assert totals(usage, "model") == {("m",): Counts(1, failed, 1, 2)}


def test_ids_that_clients_invent_are_not_recorded(clock: FakeClock) -> None:
    usage = new_usage(clock, "listed")
    for number in range(100):
        use(usage, model=f"unknown-{number}", is_known=False, provider="", outcome="rejected")
        use(usage, model=f"accepted-{number}", outcome="rejected")
    use(usage, model="listed", outcome="failed")
    use(usage, model="accepted")

    assert totals(usage, "model", "provider") == {
        ("", ""): Counts(100, 100, 100, 200),
        ("", "a"): Counts(100, 100, 100, 200),
        ("listed", "a"): Counts(1, 1, 1, 2),
        ("accepted", "a"): Counts(1, 0, 1, 2),
    }


def test_the_last_request_of_each_key_is_kept(clock: FakeClock) -> None:
    usage = new_usage(clock)

    def requests(*keys: str) -> None:
        usage.requests_ended([(("/v1/models", "GET", 200, key), 0.001) for key in keys])

    requests("alice", "alice", "bob", "")
    later(usage, clock, 10)
    requests("bob")

    assert usage.last_used() == {"alice": NOON, "bob": NOON + 10}
    assert usage.take_used() == {"alice": NOON, "bob": NOON + 10}
    assert usage.take_used() == {}
    assert (usage.last_used("bob"), usage.last_used("carol")) == ({"bob": NOON + 10}, {})


def test_days_and_hours_are_those_of_the_time_zone(clock: FakeClock) -> None:
    clock.set_time(datetime(2026, 11, 29, 18, 29, 59, tzinfo=UTC).timestamp())
    usage = new_usage(clock, zone="Asia/Kolkata")  # UTC + 5:30
    use(usage)
    later(usage, clock, 1)
    use(usage)

    assert totals(usage, "hour", "day") == {
        ("2026-11-29T17:30:00Z", "2026-11-29"): Counts(1, 0, 1, 2),
        ("2026-11-29T18:30:00Z", "2026-11-30"): Counts(1, 0, 1, 2),
    }
    midnight = usage.days.begin_of(date(2026, 11, 30))
    assert totals(usage, begin=midnight) == totals(usage, end=midnight) == {(): Counts(1, 0, 1, 2)}


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
def test_each_second_belongs_to_one_hour_when_clocks_are_changed(day: date) -> None:
    days = Days(ZoneInfo("Europe/Berlin"))
    begin = days.begin_of(day)
    hours = [days.hour_of(begin + seconds) for seconds in range(0, 26 * HOUR, 60)]

    assert hours == sorted(hours)
    assert {hour - begin for hour in hours} == {HOUR * number for number in range(26)}


def test_hours_that_have_ended_keep_their_counts_in_a_small_form(clock: FakeClock) -> None:
    usage = new_usage(clock)
    for key in ("carol", "alice", "bob"):
        use(usage, key=key, model=f"m-{key}")
    later(usage, clock, HOUR)
    before = totals(usage, "key", "model")
    (start, rows), *others = [*usage.hours_to_close()]
    assert others == []
    usage.close(start, ClosedRows(rows))

    assert totals(usage, "key", "model") == before
    assert totals(usage, "model", key="bob") == {("m-bob",): Counts(1, 0, 1, 2)}
    assert totals(usage, "model", key="bo") == totals(usage, "model", key="zoe") == {}
    assert [*usage.hours_to_close()] == []


def test_a_row_that_is_added_to_a_past_hour_is_not_lost(clock: FakeClock) -> None:
    usage = new_usage(clock)
    use(usage)
    later(usage, clock, HOUR)
    ((start, rows),) = usage.hours_to_close()
    usage.add({start: {Names("alice", "m", "a"): Counts(1, 1, 1, 1)}}, {})
    usage.close(start, ClosedRows(rows))  # refused: computed before
    close_hours(usage)
    usage.add({start: {Names("alice", "m", "a"): Counts(1, 1, 1, 1)}}, {"alice": 5.0})

    assert totals(usage) == {(): Counts(3, 2, 3, 4)}
    assert (usage.rows, usage.last_used()) == (1, {"alice": 5.0})


def test_old_days_are_removed(clock: FakeClock) -> None:
    usage = new_usage(clock, max_days=1)
    for _ in range(3):
        use(usage)
        later(usage, clock, DAY)
        close_hours(usage)
        usage.remove_old()

    assert totals(usage, "day") == {("2026-12-01",): Counts(1, 0, 1, 2)}
    assert usage.state == UsageState(1, 1000, "2026-12-01", None)


def reduce_all(usage: Usage) -> None:
    while old := usage.too_many():
        usage.reduce(old, total_of(old))


def test_too_many_rows_become_days_the_oldest_first(clock: FakeClock) -> None:
    usage = new_usage(clock, max_rows=100)
    clock.set_time(NOON - 12.5 * HOUR)
    for _ in range(60):
        use(usage, key="alice")
        use(usage, key="bob")
        close_hours(usage)
        reduce_all(usage)
        later(usage, clock, HOUR)

    assert totals(usage, "day", "key") == {
        (f"2026-{day}", key): Counts(requests, 0, requests, 2 * requests)
        for day, requests in (("11-29", 24), ("11-30", 24), ("12-01", 12))
        for key in ("alice", "bob")
    }
    hours = sorted(hour for hour, key in totals(usage, "hour", "key") if key == "alice")
    assert (hours[:3], len(hours)) == (["2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z", "2026-11-30T01:00:00Z"], 37)
    assert usage.daily_before == date(2026, 11, 30)


def test_without_hours_to_add_up_the_oldest_day_is_removed(clock: FakeClock) -> None:
    usage = new_usage(clock, max_rows=10)
    for day in range(30):
        use(usage, key=f"k{day}")
        later(usage, clock, DAY)
        close_hours(usage)
        reduce_all(usage)

    assert usage.rows == 8
    assert min(totals(usage, "day")) == ("2026-12-21",)


def test_further_rows_of_the_present_hour_are_counted_as_other(clock: FakeClock) -> None:
    usage = new_usage(clock, max_rows=10)
    for key in range(20):
        for model in range(5):
            use(usage, key=f"k{key}", model=f"m{model}")

    found = totals(usage, "key", "model")
    assert usage.rows == 12
    assert sum(counts.requests for counts in found.values()) == 100
    assert found[("k2", "other")] == Counts(5, 0, 5, 10)
    assert found[(":other", "other")].requests == 85


def test_a_key_named_other_sees_none_of_the_calls_that_are_counted_as_other(clock: FakeClock) -> None:
    usage = new_usage(clock, max_rows=10)
    use(usage, key="other")
    for key in range(20):
        use(usage, key=f"jwt:https://idp|{key}")

    assert totals(usage, "key")[(":other",)] == Counts(10, 0, 10, 20)
    assert totals(usage, "model", key="other") == {("m",): Counts(1, 0, 1, 2)}
    later(usage, clock, HOUR)
    close_hours(usage)
    assert totals(usage, "model", key="other") == {("m",): Counts(1, 0, 1, 2)}


def test_answers_of_several_processes_are_added(clock: FakeClock) -> None:
    one, other = new_usage(clock), new_usage(clock)
    use(one)
    use(other)
    use(other, key="bob")
    one.add({}, {"alice": 1.0})
    other.add({}, {"alice": 2.0})
    query = Query(0, FOREVER, ("key",))
    answer = together([packed(PreparedQuery(usage, query).answer()) for usage in (one, other)])

    assert {labels: Counts(*counts) for labels, counts in answer.totals} == {
        ("alice",): Counts(2, 0, 2, 4),
        ("bob",): Counts(1, 0, 1, 2),
    }
    assert answer.last_used == {"alice": 2.0}


def test_an_answer_that_is_too_long_is_refused(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.telemetry.usage_query.MAX_TOTALS", 2)
    usage = new_usage(clock)
    for key in ("a", "b", "c"):
        use(usage, key=key)

    assert len(totals(usage, "model")) == 1
    with pytest.raises(TooManyTotals):
        totals(usage, "key")
    parts = [packed(PreparedQuery(usage, Query(0, FOREVER, ("key",), key)).answer()) for key in ("a", "b", "c")]
    with pytest.raises(TooManyTotals):
        together(parts)


def test_counts_are_bounded() -> None:
    row = Names("alice", "m", "a")
    assert [*ClosedRows({row: Counts(1, 0, 2**70, 2**63)}).items()] == [(row, Counts(1, 0, 2**63 - 1, 2**63 - 1))]


def test_the_counts_of_selected_rows_are_not_read_before_they_are_used() -> None:
    """A query selects rows on the event loop, and adds them up in a thread."""
    reads: list[str] = []

    class Row(list[int]):
        def __iter__(self) -> Iterator[int]:
            reads.append("read")
            return super().__iter__()

    first, second = Names("alice", "m", "a"), Names("bob", "m", "a")
    rows = {first: Row([1, 0, 2, 3])}
    selected = OpenRows(rows)
    rows[second] = Row([9, 9, 9, 9])

    assert reads == []
    assert [*selected.items()] == [(first, Counts(1, 0, 2, 3))]
    assert [*selected.items("bob")] == []
