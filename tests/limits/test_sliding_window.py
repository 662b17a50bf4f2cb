"""Sliding windows of time."""

from __future__ import annotations

from datetime import UTC
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.calendar import Calendar, Moment
from proxy.limits.sliding_window import EXACT, SLOTS, SlidingWindow

MINUTE = 60.0


def at(now: float) -> Moment:
    return Moment(Calendar(UTC), now)


def minute(limit: int = 100) -> SlidingWindow:
    return SlidingWindow(MINUTE, limit)


def admitted(limit: int, times: list[float], seconds: float = MINUTE) -> list[float]:
    """The times at which a window lets a request through."""
    window = SlidingWindow(seconds, limit)
    passed = []
    for now in times:
        window.advance(at(now))
        if window.used < limit:
            window.add(1, at(now))
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
    window = minute(limit)
    passed: list[float] = []
    now = 0.0
    for _ in range(40_000):
        now += random.expovariate(30.0)
        window.advance(at(now))
        if window.used < limit:
            window.add(1, at(now))
            passed.append(now)
        assert len(window.entries()) <= SLOTS + 2
    starts = [time for time in passed[::50] if time < now - MINUTE]
    counts = [sum(begin <= time < begin + MINUTE for time in passed) for begin in starts]
    assert max(counts) <= limit
    assert min(counts) >= limit * (SLOTS - 6) // SLOTS


def test_what_is_above_the_limit_is_paid_in_later_windows() -> None:
    window = minute()
    window.add(350, at(0.0))
    used = []
    for now in (0.0, 59.9, 60.0, 120.0, 180.0, 239.9, 240.0):
        window.advance(at(now))
        used.append(window.used)
    assert used == [350, 350, 250, 150, 50, 50, 0]


def test_a_debt_is_paid_at_once_by_a_long_pause() -> None:
    window = SlidingWindow(1.0, 1)
    window.add(10**15, at(0.0))
    window.advance(at(10.0**9))
    assert window.used == 10**15 - 10**9


def test_a_lower_limit_does_not_make_a_debt_of_what_was_in_the_window() -> None:
    window = minute(1000)
    window.add(800, at(0.0))
    window.set_limit(10, at(10.0))
    window.add(6, at(20.0))
    wait = window.wait(9, at(20.0))
    window.advance(at(20.0 + wait))
    assert (wait, window.used) == (40.0, 6)
    window.advance(at(120.0))
    assert window.used == 0


def test_a_debt_is_paid_by_entries_of_different_times() -> None:
    window = minute()
    window.add(60, at(0.0))
    window.add(100, at(30.0))
    assert (window.in_window, window.debt) == (100, 60)
    window.advance(at(60.0))
    assert window.used == 100
    assert window.wait(99, at(60.0)) == 30.0
    window.advance(at(90.0))
    assert window.used == 60
    assert window.reset(at(90.0)) == 30.0


def test_a_part_can_be_taken_back() -> None:
    window = minute()
    window.add(50, at(0.0))
    window.add(80, at(1.0))
    window.add(-70, at(2.0))
    assert (window.used, window.debt) == (60, 0)
    window.add(-100, at(3.0))
    assert window.used == 0


def test_what_is_taken_back_is_the_oldest_so_that_nothing_expires_too_soon() -> None:
    window = minute(1000)
    window.add(900, at(0.0))
    window.add(100, at(50.0))
    window.add(-890, at(55.0))
    window.advance(at(60.0))
    assert window.used == 100


def test_what_is_taken_back_is_what_a_call_has_added_and_not_the_usage_of_others() -> None:
    window = minute(1000)
    for now, amount in ((0.0, 100), (20.0, 500), (40.0, 100)):
        window.add(amount, at(now))
    window.add(-490, at(45.0), since=20.0)
    assert window.entries() == [(0.0, 100), (20.0, 10), (40.0, 100)]
    window.add(-210, at(46.0), since=20.0)  # more than is left of it: its other usage was forgotten
    assert window.entries() == []


def test_an_entry_that_is_taken_back_receives_nothing_that_is_used_later() -> None:
    window = minute(1000)
    for now, amount in ((58.0, 100), (60.0, 500), (60.1, -500), (60.2, 70)):
        window.add(amount, at(now), since=60.0)
    assert window.entries() == [(58.0, 100), (60.2, 70)]


def test_a_debt_is_counted_when_it_was_made_as_soon_as_there_is_room() -> None:
    window = minute()
    window.add(90, at(0.0))
    window.add(10, at(50.0))
    window.add(90, at(51.0))
    window.add(-90, at(52.0), since=0.0)
    assert (window.entries(), window.debt) == ([(50.0, 10), (51.0, 90)], 0)


def test_a_higher_limit_counts_a_debt_at_once() -> None:
    window = minute()
    window.add(1_000_000, at(0.0))
    window.set_limit(1_200_000, at(10.0))
    assert (window.wait(999_999, at(10.0)), window.reset(at(10.0)), window.debt) == (50.0, 60.0, 0)
    used = []
    for now in (59.0, 60.0, 70.0):
        window.advance(at(now))
        used.append(window.used)
    assert used == [1_000_000, 999_900, 0]


def test_a_higher_limit_below_a_debt_counts_a_part_of_it() -> None:
    window = minute()
    window.add(500, at(0.0))
    window.set_limit(300, at(10.0))
    assert (window.entries(), window.debt, window.used) == ([(0.0, 100), (10.0, 200)], 200, 500)


Call = tuple[int, int, int, int]
"""Quarters of a second since the last call, an estimate, what was used, and quarters of a second that it takes."""
CALLS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60), st.integers(0, 260)), max_size=60
)


class Used:
    """What calls have really used, with estimates for those in progress: each amount with its time."""

    def __init__(self) -> None:
        self.amounts: list[tuple[float, int]] = []

    def add(self, time: float, amount: int) -> None:
        self.amounts.append((time, amount))

    def within(self, seconds: float, now: float) -> int:
        return sum(amount for time, amount in self.amounts if time + seconds > now)


SCALES = pytest.mark.parametrize("scale", [1, 50], ids=["exact", "in slots"])


@SCALES
@given(calls=CALLS)
def test_a_window_counts_at_least_what_was_used_and_nothing_else_below_the_limit(scale: int, calls: list[Call]) -> None:
    settle(calls, scale)


@SCALES
@pytest.mark.parametrize("seed", range(3))
def test_calls_with_high_estimates_are_admitted_as_long_as_their_usage_is_below_the_limit(
    seed: int, scale: int
) -> None:
    random = Random(seed)
    calls = [(random.randint(14, 18), 10, random.randint(1, 6), random.randint(0, 30)) for _ in range(300)]
    assert settle(calls, scale) == 300


def settle(calls: list[Call], scale: int) -> int:
    """Compare a window with what was used after each begin and end of a call. Return how many calls are admitted."""
    limit, slot = 100 * scale, MINUTE / SLOTS if scale > 1 else 0.0
    window, used, was_exceeded = minute(limit), Used(), False
    events: list[tuple[float, bool, int]] = []  # time, whether it begins, and the call
    begin = 0.0
    for number, (gap, _, _, duration) in enumerate(calls):
        begin += gap / 4
        events += [(begin, True, number), (begin + duration / 4, False, number)]
    admitted: dict[int, float] = {}
    for now, begins, number in sorted(events, key=lambda event: event[0]):
        _, estimate, spent, _ = calls[number]
        window.advance(at(now))
        if begins and window.used < limit:
            admitted[number] = now
            window.add(estimate * scale, at(now))
            used.add(now, estimate * scale)
        elif begins:
            assert was_exceeded, "a call is rejected only if the limit is really reached"
        elif number in admitted:
            since, more = admitted[number], (spent - estimate) * scale
            if more > 0 or not window.has_forgotten(now - since, at(now)):
                window.add(more, at(now), since)
                used.add(now if more > 0 else since, more)
        was_exceeded = was_exceeded or used.within(MINUTE + slot, now) >= limit
        assert window.used >= used.within(MINUTE, now), "never more than the limit in a minute"
        if not was_exceeded:
            assert window.used <= used.within(MINUTE + slot, now)
        entries = window.entries()
        assert sum(count for _, count in entries) == window.in_window
        assert entries == sorted(entries, key=lambda entry: entry[0])
        assert window.debt == 0 or window.in_window == limit
    return len(admitted)


def test_the_wait_ends_when_enough_has_expired() -> None:
    window = minute(3)
    for second in range(3):
        window.add(1, at(float(second)))
    waits = [window.wait(used, at(2.0)) for used in (3, 2, 1, 0)]
    assert waits == [0.0, 58.0, 59.0, 60.0]
    for now in (60.0, 61.0, 62.0):
        window.advance(at(now))
        window.add(1, at(now))
        assert window.used == 3


def test_the_wait_for_a_debt_counts_whole_windows() -> None:
    window = minute()
    window.add(300, at(0.0))
    wait = window.wait(99, at(0.0))
    window.advance(at(wait - 1.1))
    assert window.used >= 100
    window.advance(at(wait))
    assert window.used < 100


@pytest.mark.parametrize("total", [0, 30, 70, 71, 140])
def test_a_window_takes_over_what_others_have_counted(total: int) -> None:
    window = minute()
    window.add(30, at(0.0))
    window.add(41, at(10.0))
    window.adopt(total, at(20.0))
    assert window.used == total


def test_a_debt_that_others_have_counted_is_paid_when_nothing_else_is_counted() -> None:
    window = minute()
    window.add(150, at(0.0))
    window.adopt(50, at(10.0))
    used = []
    for now in (10.0, 69.0, 70.0):
        window.advance(at(now))
        used.append(window.used)
    assert used == [50, 50, 0]
