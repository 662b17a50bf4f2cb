"""The table of `python -m reliability`. Nothing is attacked here."""

from __future__ import annotations

import pytest

from reliability.__main__ import Row, medians_of, tables, totals
from reliability.canaries import PROVIDER_KEY, forms_of, found_in
from reliability.control import Result


def row(p99: float, quiet: float = 10.0, growth: float = 0.0, name: str = "wrong keys", failed: str = "") -> Row:
    return Row(
        name, quiet, Result(list_p50=1.0, list_p99=p99, requests=100, failed={failed: 3} if failed else {}), growth
    )


@pytest.mark.parametrize(
    ("p99", "quiet", "is_fast"), [(15.0, 10.0, True), (15.1, 10.0, False), (6.0, 1.0, True), (6.1, 1.0, False)]
)
def test_a_list_may_take_half_as_long_again_or_5_ms_longer(p99: float, quiet: float, is_fast: bool) -> None:
    assert row(p99, quiet).is_fast == is_fast


def test_a_lost_list_or_too_much_memory_is_a_failure_and_a_refused_call_is_none() -> None:
    assert row(1.0, failed="call 503").is_safe
    assert not row(1.0, failed="list 503").is_safe
    assert not row(1.0, growth=129.0).is_safe
    assert row(1.0, growth=300.0, name="50 unfinished uploads").is_safe


def test_the_table_shows_the_median_round_of_each_attack() -> None:
    shown = medians_of([row(10.0), row(90.0), row(12.0)])

    assert [each.result.list_p99 for each in shown] == [12.0]
    assert "| wrong keys |               10.0 |             12.0 |   1.2 |          +0 |   none | yes |" in tables(
        shown, [["secrets", "0", "0", "yes"]]
    )


def test_growth_of_memory_and_descriptors_over_the_rounds_is_judged() -> None:
    assert [line[-1] for line in totals([80.0, 99.0, 88.0], [20, 20, 29], 0, 0)] == ["yes", "yes", "yes", "NO"]
    assert [line[-1] for line in totals([80.0, 80.0, 88.1], [20, 40, 28], 1, 1)] == ["NO", "NO", "NO", "yes"]


@pytest.mark.parametrize("form", [*forms_of(PROVIDER_KEY)])
def test_a_secret_is_found_in_each_encoding(form: bytes) -> None:
    assert found_in(b"error: " + form) >= 1
    assert found_in(b"no secret") == 0
