"""Patterns mean what a shell means by them: checked by rows, and against fnmatch for whatever Hypothesis finds."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.globs import matcher

PATTERN = st.text("abAB-/*?[]!^\\.\n模", max_size=8)
TEXT = st.text("abAB-/*?[]!^\\.\n模", max_size=8)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        pytest.param("*", "", True, id="a star matches nothing at all"),
        pytest.param("*", "a/b\nc", True, id="a star matches slashes and line breaks"),
        pytest.param("gpt-*", "gpt-4o", True, id="a star at the end"),
        pytest.param("gpt-*", "my-gpt-4o", False, id="the whole text must match, from its beginning"),
        pytest.param("*-mini", "gpt-4o-mini-2024", False, id="and to its end"),
        pytest.param("gpt-*", "GPT-4o", False, id="upper case is another letter"),
        pytest.param("GPT-*", "gpt-4o", False, id="and so is lower case"),
        pytest.param("o?", "o1", True, id="a question mark is one character"),
        pytest.param("o?", "o", False, id="and not none"),
        pytest.param("o[0-9]*", "o3-mini", True, id="a range"),
        pytest.param("o[!0-9]*", "o3-mini", False, id="a negated range"),
        pytest.param("a[b", "a[b", True, id="an open bracket is itself"),
        pytest.param("[*]", "*", True, id="a star in brackets is itself"),
        pytest.param("gpt.4", "gpt-4", False, id="a dot is a dot"),
        pytest.param("深度*", "深度求索", True, id="any alphabet"),
    ],
)
def test_a_pattern_matches_like_a_shell(pattern: str, text: str, matches: bool) -> None:
    assert matcher([pattern])(text) is matches


def test_any_of_several_patterns_is_enough() -> None:
    matches = matcher(["gpt-*", "o1"])
    assert [text for text in ("gpt-4o", "o1", "o1-mini", "claude") if matches(text)] == ["gpt-4o", "o1"]


def test_no_pattern_matches_nothing() -> None:
    assert not matcher([])("")
    assert not matcher(())("a")


@settings(deadline=None)
@given(st.lists(PATTERN, max_size=4), TEXT)
def test_a_matcher_agrees_with_fnmatch(patterns: list[str], text: str) -> None:
    expected = any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
    assert matcher(patterns)(text) is expected


def test_many_stars_do_not_take_for_ever() -> None:
    began = time.perf_counter()
    assert not matcher(["*a" * 30 + "b"])("a" * 256)
    assert time.perf_counter() - began < 1
