"""Counts, dates and untrusted text, formatted for people."""

from __future__ import annotations

import pytest

from proxy.cli.text import count, day, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("测试 [bold] é", "测试 [bold] é", id="text of any language"),
        pytest.param("a\x1b[31mb", "a\\x1b[31mb", id="an escape sequence"),
        pytest.param("a\nb\tc", "a\\nb\\tc", id="characters that move the cursor"),
        pytest.param("a\u202eb", "a\\u202eb", id="characters that change the direction"),
    ],
)
def test_untrusted_text_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


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
