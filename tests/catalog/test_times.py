"""Creation times that are shown: not later than ten minutes before the response, and not changing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.catalog.times import RECENT, Reported, settle_times, without_recent
from proxy.cooperative import run_now
from proxy.dialects.entry import Entry
from tests.fakes import entry

NOW = 1_800_000_000
OLD = 1_700_000_000
ALWAYS = float("-inf")
Replica = tuple[tuple[Entry, ...], Mapping[str, Reported]]
"""What one proxy shows, and what it withholds."""
STARTED: Replica = ((), {})


def listed(**created: int) -> tuple[Entry, ...]:
    return tuple(entry({"id": own_id, "created": time}) for own_id, time in created.items())


def after(
    reported: int, shown: int | None, withheld: Reported | None = None, *, now: float = 1000.0
) -> tuple[int, Reported | None]:
    """What is shown for a model with this reported time, and what is withheld."""
    last = () if shown is None else listed(m=shown)
    before: Mapping[str, Reported] = {"m": withheld} if withheld else {}
    entries, still = run_now(settle_times(listed(m=reported), last, before, answered_at=NOW, now=now))
    return entries[0].created, still.get("m")


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        pytest.param(OLD, OLD, id="long ago"),
        pytest.param(NOW - 600, NOW - 600, id="ten minutes before the response"),
        pytest.param(NOW - 599, 0, id="a second later"),
        pytest.param(NOW, 0, id="the time of the request"),
        pytest.param(4_081_050_336, 0, id="the year 2099"),
        pytest.param(99_999_999_999, 0, id="the year 5138"),
        pytest.param(0, 0, id="unknown"),
    ],
)
def test_time_of_the_request_or_in_the_future_is_unknown(created: int, shown: int) -> None:
    assert [each.created for each in without_recent(listed(m=created), NOW)] == [shown]
    assert after(created, None)[0] == shown


@pytest.mark.parametrize(
    ("reported", "shown", "withheld", "result"),
    [
        pytest.param(OLD, None, None, (OLD, None), id="a new model"),
        pytest.param(OLD, OLD, None, (OLD, None), id="the same time"),
        pytest.param(OLD + 1, OLD, None, (0, Reported(OLD + 1, 1000.0)), id="another time"),
        pytest.param(OLD, 0, None, (0, Reported(OLD, 1000.0)), id="a time after none"),
        pytest.param(0, OLD, None, (0, None), id="none after a time"),
        pytest.param(OLD, 0, Reported(OLD, 400.1), (0, Reported(OLD, 400.1)), id="repeated for less than ten minutes"),
        pytest.param(OLD, 0, Reported(OLD, 400.0), (OLD, None), id="repeated for ten minutes"),
        pytest.param(OLD + 1, 0, Reported(OLD, 0.0), (0, Reported(OLD + 1, 1000.0)), id="changed again"),
        pytest.param(NOW, None, None, (0, Reported(NOW, ALWAYS)), id="recent at first"),
        pytest.param(NOW - 601, 0, Reported(NOW - 601, ALWAYS), (NOW - 601, None), id="no longer recent"),
    ],
)
def test_time_that_changes_is_unknown_until_it_was_repeated_for_ten_minutes(
    reported: int, shown: int | None, withheld: Reported | None, result: tuple[int, Reported | None]
) -> None:
    assert after(reported, shown, withheld) == result


def test_duplicates_with_different_times_do_not_count_as_a_change() -> None:
    twins = (entry({"id": "m", "created": OLD}), entry({"id": "m", "created": OLD + 5}))
    entries, withheld = run_now(settle_times(twins, twins, {}, answered_at=NOW, now=1000.0))

    assert (entries[0], withheld) == (twins[0], {})


TIMES = st.sampled_from([0, OLD, OLD + 1, OLD + 2])


@settings(max_examples=300, deadline=None)
@given(
    history=st.lists(st.tuples(st.sampled_from(["constant", "now", "other"]), TIMES), max_size=6),
    last=st.sampled_from(["constant", "now"]),
    gaps=st.lists(st.integers(1, 900), min_size=3, max_size=3),
)
def test_replicas_with_any_history_agree_once_the_provider_repeats_itself_for_ten_minutes(
    history: list[tuple[str, int]], last: str, gaps: list[int]
) -> None:
    """One replica has a history, the other was just started. The provider then sends a constant, or its own time."""

    def ask(state: Replica, kind: str, other: int, now: float) -> Replica:
        created = {"constant": OLD, "now": int(NOW + now), "other": other}[kind]
        return run_now(settle_times(listed(m=created), *state, answered_at=NOW + now, now=now))

    now, experienced = 0.0, STARTED
    for kind, other in history:
        now += 100
        experienced = ask(experienced, kind, other, now)
    for gap in (1, int(RECENT) // 2, int(RECENT) // 2, *gaps):
        now += gap
        experienced = ask(experienced, last, 0, now)

    assert experienced[0] == ask(STARTED, last, 0, now)[0]
