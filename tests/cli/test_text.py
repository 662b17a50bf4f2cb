"""Counts and dates, formatted for people."""

from __future__ import annotations

import pytest

from proxy.cli.text import available, count, cut, day, width_of, wrap


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "-"), (1, "1970-01-01"), (1715367049, "2024-05-10"), (10**15, "1000000000000000"), (10**30, "1" + "0" * 30)],
)
def test_a_creation_time_is_shown_as_a_date_if_it_is_in_range(seconds: int, shown: str) -> None:
    assert day(seconds) == shown


def test_counts_have_a_plural_and_thousands_separators() -> None:
    assert [count(0, "model"), count(1, "model"), count(1200, "entry", "entries")] == [
        "0 models",
        "1 model",
        "1,200 entries",
    ]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        pytest.param("three short words", None, ["three short words"], id="no limit"),
        pytest.param("three short words", 11, ["three short", "words"], id="between words"),
        pytest.param("  an indented line", 12, ["  an", "indented", "line"], id="an indented line"),
        pytest.param("see accounts/models/m", 8, ["see", "accounts", "/models/", "m"], id="a word that is too long"),
        pytest.param("中文模型名称", 5, ["中文", "模型", "名称"], id="wide characters"),
        pytest.param("", 8, [""], id="nothing"),
    ],
)
def test_lines_wrap_between_words_and_only_longer_words_are_broken(
    text: str, width: int | None, lines: list[str]
) -> None:
    assert wrap(text, width) == lines


@pytest.mark.parametrize(
    ("text", "columns"), [("gpt-4o", 6), ("模型1", 5), ("ＡＢ", 4), ("e\u0301", 1), ("\u200d", 0), ("…", 1), ("🚀", 2)]
)
def test_the_width_of_a_text_is_counted_in_columns_of_a_terminal(text: str, columns: int) -> None:
    assert width_of(text) == columns


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "none is configured"),
        (2, "available: k0, k1"),
        (10, "available: k0, k1, k2, k3, k4, k5, k6, k7, k8, k9"),
        (11, "available: k0, k1, k2, k3, k4, k5, k6, k7, k8, k9 ..."),
    ],
)
def test_of_the_available_names_the_first_ten_are_shown(number: int, shown: str) -> None:
    assert available([f"k{n}" for n in range(number)]) == shown


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        pytest.param("unlimited", None, "unlimited", id="no limit"),
        pytest.param("fits", 4, "fits", id="fits"),
        pytest.param("too long", 4, "too…", id="too long"),
        pytest.param("中文模型", 6, "中文…", id="wide characters: a column stays free"),
        pytest.param("e\u0301e\u0301e\u0301", 2, "e\u0301…", id="combining characters stay with their letter"),
        pytest.param("any", 1, "…", id="one column"),
        pytest.param("any", 0, "", id="no column"),
    ],
)
def test_text_that_is_too_wide_is_cut(text: str, width: int | None, expected: str) -> None:
    assert cut(text, width) == expected
