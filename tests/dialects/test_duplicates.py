"""Duplicates within one list: the first is kept, and null is not a value."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cooperative import run_now
from proxy.dialects import DIALECTS, entry_of, without_duplicates
from proxy.dialects.duplicates import filled
from proxy.dialects.entry import Entry


def entry(**fields: Any) -> Entry:
    return entry_of(DIALECTS["openai"], {"id": "m", **fields}, b"", {})


def test_first_duplicate_keeps_its_place_and_is_filled_from_all_others() -> None:
    entries = [entry(), entry(id="n"), entry(context_length=8), entry(context_length=9, created=5)]
    assert run_now(without_duplicates(entries)) == (entry(context_length=8, created=5), entry(id="n"))


def test_only_the_first_duplicates_of_a_model_fill_its_description() -> None:
    """Each one could add a field, and all of them would be decoded again for each of thousands."""
    (merged,) = run_now(without_duplicates([entry(**{f"f{number}": number}) for number in range(1000)]))
    assert merged == entry(**{f"f{number}": number for number in range(11)})


def test_descriptions_do_not_fill_each_other_beyond_the_size_of_an_entry() -> None:
    first, second = entry(a="y" * 40_000), entry(b="y" * 40_000)
    assert filled(first, second) is first


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        pytest.param({"note": 1}, {"note": 2}, {"note": 1}, id="the first is kept"),
        pytest.param({"note": None}, {"note": 2}, {"note": 2}, id="null is not a value"),
        pytest.param({"note": None}, {"note": None}, {"note": None}, id="null in both"),
        pytest.param({"note": 0, "text": ""}, {"note": 2, "text": "x"}, {"note": 0, "text": ""}, id="zero is a value"),
        pytest.param({}, {"context_length": 8}, {"context_length": 8}, id="an absent field"),
        pytest.param({}, {"created": 5, "owned_by": "o"}, {"created": 5, "owned_by": "o"}, id="time and owner"),
        pytest.param({"created": 4}, {"created": 5}, {"created": 4}, id="the first time"),
        pytest.param({}, {"parent": "base"}, {"parent": "base"}, id="the parent"),
        pytest.param(
            {"pricing": {"prompt": "0.0000001"}},
            {"pricing": {"prompt": "0.0000002", "completion": "0.0000003"}},
            {"pricing": {"prompt": "0.0000001"}},
            id="prices of two descriptions are not mixed",
        ),
        pytest.param(
            {"pricing": {"prompt": None, "more": {}}},
            {"pricing": {"prompt": "0.0000001"}},
            {"pricing": {"prompt": "0.0000001"}},
            id="an object of nulls is not a value",
        ),
    ],
)
def test_missing_values_are_filled(first: dict[str, Any], later: dict[str, Any], expected: dict[str, Any]) -> None:
    assert filled(entry(**first), entry(**later)) == entry(**expected)


def test_complete_entry_is_not_copied() -> None:
    first = entry(context_length=8)
    assert filled(first, entry(context_length=9)) is first
