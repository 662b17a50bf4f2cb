"""Long JSON responses without the content of their long strings."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cooperative import run_now
from proxy.inference.request.json_spans import member_spans
from proxy.inference.response import short_form as module
from proxy.inference.response.short_form import ShortForm, short_form

LIMIT = 8
TEXTS = st.text(max_size=30) | st.text('"\\/é\U0001f600', max_size=30)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


def short(text: bytes) -> ShortForm:
    form = run_now(short_form(text))
    assert form is not None
    return form


def emptied(value: Any) -> Any:
    """A value without strings that are longer than the limit in JSON."""
    if isinstance(value, str):
        return "" if len(json.dumps(value)) - 2 > LIMIT else value
    if isinstance(value, list):
        return [emptied(item) for item in value]
    return {emptied(key): emptied(each) for key, each in value.items()} if isinstance(value, dict) else value


@given(st.lists(VALUES), st.integers(16, 40))
def test_long_strings_are_empty_and_everything_else_stays(values: list[Any], piece: int) -> None:
    body = {f"m{index}": value for index, value in enumerate(values)}
    text = json.dumps(body).encode()
    with patch.object(module, "_MAX_STRING", LIMIT), patch("proxy.inference.request.long_strings.PIECE", piece):
        form = short(text)

    assert json.loads(form.text) == emptied(body)
    for start, end in member_spans(form.text).values() if body else ():
        original = text[form.offset(start) : form.offset(end)]
        assert emptied(json.loads(original)) == json.loads(form.text[start:end])
        assert form.is_cut(start, end) == (original != form.text[start:end])


def test_strings_up_to_the_limit_stay() -> None:
    text = b'{"a":"%b","b":"%b","c":"\\""}' % (b"x" * 2048, b"y" * 2049)
    assert short(text).text == text.replace(b"y", b"")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"[%b1]" % (b"1," * 20_000), id="many values"),
        pytest.param(b"[%b]" % (b" " * 2_000_000), id="long without strings"),
        pytest.param(b'{"a":"' + b"x" * 100_000, id="not complete"),
    ],
)
def test_other_responses_have_no_short_form(text: bytes) -> None:
    assert run_now(short_form(text)) is None


@pytest.mark.parametrize("part", [b"x", b'\\"', b"\\u0041"])
def test_it_takes_short_steps(part: bytes) -> None:
    text = b'{"a":"%b","b":[%b""]}' % (part * (2_000_000 // len(part)), b'"",' * 10_000)
    assert sum(1 for _ in short_form(text)) >= 2 * (2_000_000 // 65_536) + 10
