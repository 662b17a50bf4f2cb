"""Windows of time: sliding ones, and those of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.windows import EXACT, SLOTS, Calendar, CalendarWindow, Period, SlidingWindow

MINUTE = 60.0


def admitted(limit: int, times: list[float], seconds: float = MINUTE) -> list[float]:
    """The times at which a window lets a request through."""
    window = SlidingWindow()
    passed = []
    for now in times:
        window.advance(now, seconds, limit)
        if window.used < limit:
            window.add(1, now, seconds, limit)
            passed.append(now)
    return passed


def most_in_any_window(times: list[float], seconds: float = MINUTE) -> int:
    return max((sum(begin <= time < begin + seconds for time in times) for begin in times), default=0)


@given(st.lists(st.floats(0, 300), max_size=200), st.integers(1, 20))
def test_no_interval_of_a_sliding_window_contains_more_than_the_limit(times: list[float], limit: int) -> None:
    assert most_in_any_window(admitted(limit, sorted(times))) <= limit


def test_a_window_of_100_lets_exactly_100_of_a_flood_through_in_every_minute() -> None:
    passed = admitted(100, [step * 0.0625 for step in range(9600)])  # ten minutes
    counts = [sum(begin <= time < begin + MINUTE for time in passed) for begin in range(0, 540)]
    assert set(counts) == {100}


def test_a_large_window_is_never_above_its_limit_and_keeps_few_entries() -> None:
    random = Random(1)
    limit = 10 * EXACT
    window = SlidingWindow()
    passed: list[float] = []
    now = 0.0
    for _ in range(40_000):
        now += random.expovariate(30.0)
        window.advance(now, MINUTE, limit)
        if window.used < limit:
            window.add(1, now, MINUTE, limit)
            passed.append(now)
        assert len(window.entries()) <= SLOTS + 2
    starts = [time for time in passed[::50] if time < now - MINUTE]
    counts = [sum(begin <= time < begin + MINUTE for time in passed) for begin in starts]
    assert max(counts) <= limit
    assert min(counts) >= limit * (SLOTS - 6) // SLOTS


def test_what_is_above_the_limit_is_paid_in_later_windows() -> None:
    window = SlidingWindow()
    window.add(350, 0.0, MINUTE, 100)
    used = []
    for now in (0.0, 59.9, 60.0, 120.0, 180.0, 239.9, 240.0):
        window.advance(now, MINUTE, 100)
        used.append(window.used)
    assert used == [350, 350, 250, 150, 50, 50, 0]


def test_a_debt_is_paid_at_once_by_a_long_pause() -> None:
    window = SlidingWindow()
    window.add(10**15, 0.0, 1.0, 1)
    window.advance(10.0**9, 1.0, 1)
    assert window.used == 10**15 - 10**9


def test_a_debt_is_paid_by_entries_of_different_times() -> None:
    window = SlidingWindow()
    window.add(60, 0.0, MINUTE, 100)
    window.add(100, 30.0, MINUTE, 100)
    assert (window.in_window, window.debt) == (100, 60)
    window.advance(60.0, MINUTE, 100)
    assert window.used == 100
    assert window.seconds_until(99, 60.0, MINUTE, 100) == 30.0
    window.advance(90.0, MINUTE, 100)
    assert window.used == 60
    assert window.seconds_until_empty(90.0, MINUTE, 100) == 30.0


def test_a_part_can_be_taken_back() -> None:
    window = SlidingWindow()
    window.add(50, 0.0, MINUTE, 100)
    window.add(80, 1.0, MINUTE, 100)
    window.add(-70, 2.0, MINUTE, 100)
    assert (window.used, window.debt) == (60, 0)
    window.add(-100, 3.0, MINUTE, 100)
    assert window.used == 0


def test_the_wait_ends_when_enough_has_expired() -> None:
    window = SlidingWindow()
    for second in range(3):
        window.add(1, float(second), MINUTE, 3)
    waits = [window.seconds_until(used, 2.0, MINUTE, 3) for used in (3, 2, 1, 0)]
    assert waits == [0.0, 58.0, 59.0, 60.0]
    for now in (60.0, 61.0, 62.0):
        window.advance(now, MINUTE, 3)
        window.add(1, now, MINUTE, 3)
        assert window.used == 3


def test_the_wait_for_a_debt_counts_whole_windows() -> None:
    window = SlidingWindow()
    window.add(300, 0.0, MINUTE, 100)
    wait = window.seconds_until(99, 0.0, MINUTE, 100)
    window.advance(wait - 1.1, MINUTE, 100)
    assert window.used >= 100
    window.advance(wait, MINUTE, 100)
    assert window.used < 100


@pytest.mark.parametrize("total", [0, 30, 70, 71, 140])
def test_a_window_takes_over_what_others_have_counted(total: int) -> None:
    window = SlidingWindow()
    window.add(30, 0.0, MINUTE, 100)
    window.add(41, 10.0, MINUTE, 100)
    window.adopt(total, 20.0, MINUTE, 100)
    assert window.used == total


# -- days and months ---------------------------------------------------------------------------------------------------


def test_a_calendar_window_begins_again_with_its_period() -> None:
    window = CalendarWindow()
    window.advance(7, 100)
    window.used = 100
    window.advance(7, 100)
    assert window.used == 100
    window.advance(8, 100)
    assert window.used == 0


def test_a_calendar_window_carries_a_debt_over() -> None:
    window = CalendarWindow(7, 350, 100)
    used = []
    for period in (7, 8, 9, 9, 10, 11):
        window.advance(period, 100)
        used.append(window.used)
    assert used == [350, 250, 150, 150, 50, 0]


def test_a_clock_that_is_set_back_continues_the_later_period() -> None:
    window = CalendarWindow(8, 5, 100)
    window.advance(7, 100)
    assert (window.period, window.used) == (8, 5)


def test_a_lower_limit_makes_no_debt() -> None:
    window = CalendarWindow(7, 1050, 1000)
    window.advance(7, 10)
    assert window.used == 60
    window.advance(8, 10)
    assert window.used == 50


def unix(zone: ZoneInfo, *moment: int) -> float:
    return datetime(*moment, tzinfo=zone).timestamp()  # type: ignore[arg-type,misc]


def test_days_and_months_are_those_of_the_time_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    calendar = Calendar(berlin)
    last = unix(berlin, 2026, 10, 31, 23, 59, 59)
    midnight = unix(berlin, 2026, 11, 1)
    assert calendar.period("d", last) == Period(datetime(2026, 10, 31, tzinfo=UTC).toordinal(), midnight)
    assert calendar.period("month", last) == Period(2026 * 12 + 10, midnight)
    assert calendar.period("month", midnight) == Period(2026 * 12 + 11, unix(berlin, 2026, 12, 1))
    assert calendar.period("month", unix(berlin, 2026, 12, 5)) == Period(2026 * 12 + 12, unix(berlin, 2027, 1, 1))


def test_days_with_a_change_of_the_clock_have_25_or_23_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    calendar = Calendar(berlin)
    for day, hours in (((2026, 10, 25), 25), ((2026, 3, 29), 23)):
        begin = unix(berlin, *day)
        assert calendar.period("d", begin + 60).ends_at - begin == hours * 3600


def test_days_are_numbered_consecutively_over_years() -> None:
    calendar = Calendar(UTC)
    noon = datetime(2026, 12, 30, 12, tzinfo=UTC).timestamp()
    days = [calendar.period("d", noon + 86_400 * step).number for step in range(5)]
    assert all(later - earlier == 1 for earlier, later in pairwise(days))
    middle = datetime(2026, 12, 15, tzinfo=UTC).timestamp()
    months = [calendar.period("month", middle + 86_400 * 30 * step).number for step in range(5)]
    assert all(later - earlier == 1 for earlier, later in pairwise(months))
