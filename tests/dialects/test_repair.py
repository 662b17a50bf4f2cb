"""JSON with values and characters that JSON does not have."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cooperative import run_now
from proxy.dialects.repair import MAX_BYTES, repairing

ANY = st.recursive(
    st.none() | st.integers(-1000, 1000) | st.floats() | st.text(st.characters()) | st.sampled_from(["NaN", "\\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=4), inner),
    max_leaves=12,
)


def repaired(text: bytes) -> bytes | None:
    return run_now(repairing(text))


def portable(value: Any) -> Any:
    """A value as JSON can represent it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [portable(inner) for inner in value]
    return {portable(name): portable(inner) for name, inner in value.items()} if isinstance(value, dict) else value


@given(ANY)
def test_output_of_pythons_encoder_becomes_valid_json_with_equal_values(value: Any) -> None:
    written = json.dumps(value).encode()
    valid = repaired(written)

    assert msgspec.json.decode(written if valid is None else valid) == portable(json.loads(written))
    assert valid is None or repaired(valid) is None


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (b"[NaN,Infinity,-Infinity, NaN ]", b"[null,null,null, null ]"),
        (b"[nan,-nan,inf,-inf,null,-1,true]", b"[null,null,null,null,null,-1,true]"),
        (b'["NaN","\\"NaN","\\\\",NaN]', b'["NaN","\\"NaN","\\\\",null]'),
        (
            rb'["\ud83d\ude00","\ud83d","\ude00\ud83d","\\ud83d"]',
            rb'["\ud83d\ude00","\ufffd","\ufffd\ufffd","\\ud83d"]',
        ),
        (b'{"a\nb":"\x00\x1f"}', rb'{"a\u000ab":"\u0000\u001f"}'),
        (b'"\xe6\x97\xff"', '"\ufffd\ufffd"'.encode()),
    ],
)
def test_invalid_values_and_characters_are_replaced(text: bytes, result: bytes) -> None:
    assert repaired(text) == result


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'{"a": [1, "NaN", "\\u00e9\\n"]}\n', id="valid"),
        pytest.param(b'{"a":1,}', id="a comma too many"),
        pytest.param(b'{"a":"unfinished', id="unfinished"),
        pytest.param(b"[NaNs,Infinit,information,none,-i]", id="other words"),
        pytest.param(b"[NaN%b]" % (b" " * MAX_BYTES), id="too long"),
    ],
)
def test_other_text_is_not_changed(text: bytes) -> None:
    assert repaired(text) is None


def test_long_text_that_is_invalid_becomes_null() -> None:
    long = b"x" * 20_000
    assert repaired(b'["%b","%b\n"]' % (long, long)) == b'["%b",null]' % long


@pytest.mark.parametrize("unit", [b"NaN,", b'"x",', b"1", b'"\xff",'])
def test_response_is_searched_in_steps(unit: bytes) -> None:
    assert sum(1 for _ in repairing(b"[NaN,%b1]" % (unit * (160 * 1024 // len(unit))))) >= 10
