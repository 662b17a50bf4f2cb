"""Variables: references, their replacement, and the problems that are reported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.variables import MALFORMED, REQUIRED, WITHOUT_BRACES, Expanded, expand, is_reference

ENVIRON = {"HOST": "h", "PORT": "80", "EMPTY": "", "TRICKY": "${HOST}"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("http://${HOST}:${PORT}/v1", Expanded("http://h:80/v1")),
        ("${EMPTY:-here}", Expanded("here")),
        ("${NOPE:-}", Expanded("")),
        ("$${HOST} $HOST", Expanded("${HOST} $HOST")),
        ("${TRICKY}", Expanded("${HOST}")),
        ("${NOPE}/${EMPTY}/${NOPE}", Expanded("//", unset=("NOPE", "EMPTY"))),
        ("${MY-KEY}", Expanded("${MY-KEY}", fault=MALFORMED)),
        ("${HOST}${", Expanded("h${", fault=MALFORMED)),
        ("${HOST:?}", Expanded("${HOST:?}", fault=REQUIRED)),
        ("http://${HOST?must be set}/v1", Expanded("http://${HOST?must be set}/v1", fault=REQUIRED)),
        ("$HOST", Expanded("$HOST", fault=WITHOUT_BRACES)),
        ("$host", Expanded("$host")),
        ("$HOST/v1", Expanded("$HOST/v1")),
        ("$${HOST:?}", Expanded("${HOST:?}")),
    ],
)
def test_variables_are_expanded(text: str, expanded: Expanded) -> None:
    assert expand(text, ENVIRON) == expanded


@given(st.text(st.characters(exclude_characters="$")))
def test_text_without_a_dollar_sign_is_unchanged(text: str) -> None:
    assert expand(text, ENVIRON) == Expanded(text)


@pytest.mark.parametrize(
    ("text", "is_variable"),
    [
        ("${KEY}", True),
        ("${KEY:-}", True),
        ("${KEY:-sk}", False),
        ("sk-${KEY}", False),
        ("$${KEY}", False),
        ("", False),
    ],
)
def test_reference_has_its_whole_value_from_the_environment(text: str, is_variable: bool) -> None:
    assert is_reference(text) is is_variable
