"""Values as the status page shows them."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from proxy.api.status.charts import bars, lines
from proxy.api.status.presentation import (
    ago,
    duration,
    moment,
    percent,
    plural,
    rfc3339,
    seconds,
    shown,
    state_class,
    state_text,
    value,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (-3, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_their_largest_units(number: float | None, text: str) -> None:
    assert duration(number) == text


def test_times_are_shown_in_a_time_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert moment("2027-01-15T08:00:00Z", UTC) == moment(1_800_000_000, UTC) == "2027-01-15 08:00:00"
    assert moment(1_800_000_000, berlin) == "2027-01-15 09:00:00"
    assert rfc3339(1_800_000_000, berlin) == "2027-01-15T09:00:00+01:00"
    assert ago("2027-01-15T08:00:00Z", 1_800_000_120) == "2 min ago"


def test_numbers() -> None:
    assert [seconds(each) for each in (None, 0.0421, 0.9996, 1.26)] == ["–", "42 ms", "1000 ms", "1.3 s"]
    assert [percent(*each) for each in ((0, 0), (1, 300), (1, 2))] == ["0 %", "0.3 %", "50 %"]
    assert [plural(1, "call"), plural(1200, "call"), plural(2, "fetch", "fetches")] == [
        "1 call",
        "1,200 calls",
        "2 fetches",
    ]


def test_texts() -> None:
    assert shown("a\u202e\x1b[1m", 100) == r"a\u202e\x1b[1m"
    assert shown("x" * 101, 100) == "x" * 99 + "…"
    assert [value(each) for each in ("text", None, {"a": [1]}, "é")] == ["text", "null", '{"a": [1]}', "é"]


def test_every_state_has_a_look_and_a_name() -> None:
    looks = {state_class(state) for state in ("ok", "declared")}
    assert (looks, state_class("failing"), state_class("stale"), state_class("skipped")) == (
        {"good"},
        "bad",
        "warn",
        "off",
    )
    assert [state_text(state) for state in ("open", "half_open", "not_callable", "ok")] == [
        "rejected (circuit breaker open)",
        "on trial (circuit breaker half open)",
        "list only",
        "ok",
    ]


def test_charts_have_the_full_height_at_their_peak() -> None:
    assert bars([0, 10, 1000], [0, 0, 500], 30) == ("M4 30V29.0h3V30zM8 30V0.0h3V30z", "M8 30V15.0h3V30z", 1000)
    assert bars([1, 0], [3, 0], 30).peak == 3  # attempts that another provider made good
    assert bars([0, 0], [0, 0], 30) == ("", "", 0)


def test_lines_have_gaps_where_nothing_is_known() -> None:
    p50, p95, peak = lines([1.0, None, 1.0, 2.0], [None] * 4, 30)
    assert (p50, p95, peak) == ("M0 15.0h3M8 15.0h3L12 1.0h3", "", 2.0)
    assert lines([None], [None], 30) == ("", "", None)
    assert lines([0.0], [0.0], 30) == ("", "", 0.0)
