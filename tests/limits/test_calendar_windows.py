"""Windows of the calendar: days and months."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.calendar import Calendar, Moment, Period
from proxy.limits.windows import CalendarWindow


def on(period: int) -> Moment:
    """A moment in a day."""
    return Moment(Calendar(UTC), periods={"d": Period(period, 0.0, 86_400.0)}, offset=period * 86_400.0)


def day(period: int, used: int, limit: int = 100) -> CalendarWindow:
    return CalendarWindow("d", limit, period, used)


def used_in(window: CalendarWindow, *periods: int) -> list[int]:
    used = []
    for period in periods:
        window.advance(on(period))
        used.append(window.used)
    return used


def test_a_calendar_window_begins_again_with_its_period() -> None:
    window = CalendarWindow("d", 100)
    window.advance(on(7))
    window.add(100, on(7))
    assert used_in(window, 7, 8) == [100, 0]


def test_a_calendar_window_carries_a_debt_over() -> None:
    assert used_in(day(7, 350), 7, 8, 9, 9, 10, 11) == [350, 250, 150, 150, 50, 0]


def test_a_clock_that_is_set_back_over_midnight_continues_the_later_period() -> None:
    window = day(8, 5)
    assert used_in(window, 7, 8) == [5, 5]
    assert window.period == 8


def test_a_clock_that_was_far_ahead_does_not_stop_the_days() -> None:
    window = day(7, 5)
    window.advance(on(9000))
    window.add(100, on(9000))
    assert used_in(window, 8, 9) == [100, 0]


def test_a_lower_limit_makes_no_debt() -> None:
    window = day(7, 1055, 1000)
    window.set_limit(10, on(7))
    window.set_limit(20, on(7))
    noon = Moment(Calendar(UTC))
    noon.set(0.0, 6.5 * 86_400)  # in the day with this number
    window.period = noon.periods["d"].number
    window.advance(noon)
    assert [window.wait(used, noon) / 86_400 for used in (1055, 55, 54, 35, 34, 0)] == [0, 0.5, 1.5, 1.5, 2.5, 3.5]
    window.period = 7
    assert [window.is_used(on(period)) for period in (7, 8, 9, 10, 11)] == [True, True, True, True, False]
    assert used_in(window, 7, 8, 9, 10, 11) == [1055, 55, 35, 15, 0]


def test_nothing_is_forgotten_while_a_lower_limit_is_valid() -> None:
    """Tokens of one user can name different groups, and a reload can be undone."""
    window = day(7, 80)
    window.set_limit(10, on(7))
    window.set_limit(100, on(7))
    assert used_in(window, 7, 8) == [80, 0]


def test_the_wait_for_a_debt_is_that_of_several_days_or_months() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    noon = unix(berlin, 2026, 10, 23, 12)
    moment = Moment(Calendar(berlin))
    moment.set(0.0, noon)
    today, month = (moment.periods[unit].number for unit in ("d", "month"))
    daily, monthly = day(today, 250), CalendarWindow("month", 100, month, 250)
    for window in (daily, monthly):
        window.advance(moment)
    assert [daily.wait(used, moment) for used in (250, 200, 99)] == [
        0.0,
        unix(berlin, 2026, 10, 24) - noon,
        unix(berlin, 2026, 10, 25) - noon,
    ]
    assert daily.reset(moment) == unix(berlin, 2026, 10, 26) - noon  # one of these days has 25 hours
    assert [monthly.wait(99, moment), monthly.reset(moment)] == [
        unix(berlin, 2026, 12, 1) - noon,
        unix(berlin, 2027, 1, 1) - noon,
    ]
    assert day(today, 10**15).wait(99, moment) > 900 * 86_400


def unix(zone: ZoneInfo, *moment: int) -> float:
    return datetime(*moment, tzinfo=zone).timestamp()  # type: ignore[arg-type,misc]


def test_days_and_months_are_those_of_the_time_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    calendar = Calendar(berlin)
    last = unix(berlin, 2026, 10, 31, 23, 59, 59)
    midnight = unix(berlin, 2026, 11, 1)
    october = Period(2026 * 12 + 10, unix(berlin, 2026, 10, 1), midnight)
    november = Period(2026 * 12 + 11, midnight, unix(berlin, 2026, 12, 1))
    december = Period(2026 * 12 + 12, unix(berlin, 2026, 12, 1), unix(berlin, 2027, 1, 1))
    today = Period(datetime(2026, 10, 31, tzinfo=UTC).toordinal(), unix(berlin, 2026, 10, 31), midnight)
    assert calendar.period("d", last) == today
    months = [calendar.period("month", time) for time in (last, midnight, unix(berlin, 2026, 12, 5))]
    assert months == [october, november, december]


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


ZONES = ["UTC", "America/Havana", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Apia"]
"""Clocks change at midnight, by half an hour, and by a whole day."""


@given(st.sampled_from(ZONES), st.integers(631_152_000, 2_145_916_800))
def test_periods_are_those_of_the_calendar_in_every_time_zone(name: str, time: int) -> None:
    zone = ZoneInfo(name)
    calendar = Calendar(zone)

    def numbers(at: float) -> tuple[int, int]:
        local = datetime.fromtimestamp(at, zone)
        return local.toordinal(), local.year * 12 + local.month

    periods = calendar.period("d", time), calendar.period("month", time)
    assert tuple(period.number for period in periods) == numbers(time)
    for index, period in enumerate(periods):
        assert numbers(period.ends_at - 1)[index] == period.number
        assert numbers(period.ends_at)[index] > period.number


def test_what_was_before_midnight_or_the_first_of_the_month_is_no_longer_counted() -> None:
    noon = Moment(Calendar(UTC))
    noon.set(0.0, datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp())
    for unit, begin in (("d", 43_200), ("month", 43_200 + 86_400)):
        window = CalendarWindow(unit)
        assert [window.has_forgotten(seconds, noon) for seconds in (begin, begin + 1)] == [False, True]
