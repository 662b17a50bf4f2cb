"""Patterns with the wildcards `*` and `?`: examples, and a comparison with fnmatch by Hypothesis."""

from __future__ import annotations

import fnmatch
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.patterns import Matcher, loose_matcher, matcher

PATTERN = st.text("abAB-/*?[]!^\\.\n模", max_size=8)
TEXT = st.text("abAB-/*?[]!^\\.\n模", max_size=8)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        pytest.param("*", "", True, id="a star matches an empty string"),
        pytest.param("*", "a/b\nc", True, id="a star matches slashes and line breaks"),
        pytest.param("gpt-*", "gpt-4o", True, id="a star at the end"),
        pytest.param("gpt-*", "my-gpt-4o", False, id="the match is anchored at the start"),
        pytest.param("*-mini", "gpt-4o-mini-2024", False, id="the match is anchored at the end"),
        pytest.param("gpt-*", "GPT-4o", False, id="case-sensitive text"),
        pytest.param("GPT-*", "gpt-4o", False, id="case-sensitive pattern"),
        pytest.param("o?", "o1", True, id="a question mark is one character"),
        pytest.param("o?", "o", False, id="a question mark is not zero characters"),
        pytest.param("claude-opus-5[1m]", "claude-opus-5[1m]", True, id="brackets are literal"),
        pytest.param("claude-opus-5[1m]", "claude-opus-51", False, id="brackets are no character class"),
        pytest.param("o[0-9]*", "o3-mini", False, id="brackets are no range"),
        pytest.param("o[!0-9]*", "oh", False, id="brackets are no negated range"),
        pytest.param("*[1m]", "claude-opus-5[1m]", True, id="a star before brackets"),
        pytest.param("a[b", "a[b", True, id="an open bracket is literal"),
        pytest.param("[*]", "*", False, id="a star in brackets does not match itself only"),
        pytest.param("[*]", "[1m]", True, id="a star in brackets is a wildcard"),
        pytest.param("gpt.4", "gpt-4", False, id="a dot is literal"),
        pytest.param("深度*", "深度求索", True, id="any alphabet"),
    ],
)
def test_patterns_are_literal_except_for_stars_and_question_marks(pattern: str, text: str, matches: bool) -> None:
    assert matcher([pattern])(text) is matches


def test_a_matcher_matches_any_of_its_patterns() -> None:
    matches = matcher(["gpt-*", "o1"])
    assert [text for text in ("gpt-4o", "o1", "o1-mini", "claude") if matches(text)] == ["gpt-4o", "o1"]


def test_a_matcher_without_patterns_matches_nothing() -> None:
    assert not matcher([])("")
    assert not matcher(())("a")


@settings(deadline=None)
@given(st.lists(PATTERN, max_size=4), TEXT)
def test_a_matcher_agrees_with_fnmatch_without_character_classes(patterns: list[str], text: str) -> None:
    expected = any(fnmatch.fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)
    assert matcher(patterns)(text) is expected


@given(st.text(st.characters(exclude_characters="*?")), st.text())
def test_an_exact_id_matches_itself_and_nothing_else(model_id: str, other: str) -> None:
    assert matcher([model_id])(model_id)
    assert matcher([model_id])(other) is (other == model_id)


@pytest.mark.parametrize("matcher_of", [matcher, loose_matcher])
@pytest.mark.parametrize("pattern", ["*a" * 30 + "b", "*?a" * 30 + "b", "*[" * 30 + "b", "*a*" * 30 + "b"])
def test_many_stars_cause_no_catastrophic_backtracking(
    pattern: str, matcher_of: Callable[[list[str]], Matcher]
) -> None:
    began = time.process_time()
    assert not matcher_of([pattern])("a" * 128 + "[" * 128)
    assert time.process_time() - began < 5


# -- loose_matcher----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        pytest.param("Claude-*", "cLAUDE-3", True, id="case"),
        pytest.param("gpt-4o", " gpt-4o\t", True, id="surrounding whitespace"),
        pytest.param("gpt-4o", "gpt-4o\u00a0", True, id="whitespace that is not ASCII"),
        pytest.param(" gpt-4o ", "gpt-4o", True, id="whitespace around the pattern"),
        pytest.param("gpt-4o", "gpt 4o", False, id="not inner whitespace"),
        pytest.param("gpt-4o", "ｇｐｔ-4o", True, id="full-width letters"),
        pytest.param("ｇｐｔ-4o", "gpt-4O", True, id="full-width letters in the pattern"),
        pytest.param("modèle", "MODE\u0300LE", True, id="a combining accent"),
        pytest.param("gpt-4o", "\ufeffgpt\u200b-4\u00ado\u2060", True, id="invisible characters"),
        pytest.param("gpt\u200d-*", "gpt-4o", True, id="invisible characters in the pattern"),
        pytest.param("groß*", "GROSS-1", True, id="a letter that folds to two"),
        pytest.param("gro?", "groß", True, id="a letter that folds to two, for a question mark"),
        pytest.param("?a", " a", True, id="whitespace that the pattern matches"),
        pytest.param("m＊", "m*", True, id="a full-width star, folded"),
        pytest.param("m＊", "mini", False, id="a full-width star is no wildcard"),
        pytest.param("claude-opus-5[1m]", "Claude-Opus-5[1M]", True, id="brackets"),
        pytest.param("claude-opus-5[1m]", "claude-opus-51", False, id="brackets are no character class"),
        pytest.param("*", "", True, id="a star matches an empty string"),
    ],
)
def test_a_loose_matcher_ignores_case_surrounding_whitespace_and_unicode_form(
    pattern: str, text: str, matches: bool
) -> None:
    assert loose_matcher([pattern])(text) is matches


ODD = st.text("aAß ﬁ*?[＊\u0300e\u200b", max_size=6)


@settings(deadline=None)
@given(st.lists(ODD, max_size=3), ODD)
def test_a_loose_matcher_matches_everything_an_exact_one_matches(patterns: list[str], text: str) -> None:
    assert loose_matcher(patterns)(text) >= matcher(patterns)(text)


@pytest.mark.parametrize("first", [0, 0x110B0, 0x13400, 0x1BC00, 0x1D100, 0xE0000])
def test_format_characters_are_characters_without_a_shape(first: int) -> None:
    characters = map(chr, range(first, first + 0x10000 if first == 0 else first + 0x200))

    kept = [each for each in characters if unicodedata.category(each) == "Cf" and not loose_matcher(["m"])(f"m{each}")]

    assert kept == []


def test_a_loose_matcher_ignores_blanks_around_a_pattern_also_where_folding_makes_a_text_longer() -> None:
    assert [loose_matcher([pattern])("1\u00df") for pattern in ("1?", "1? ", " 1?")] == [True] * 3
