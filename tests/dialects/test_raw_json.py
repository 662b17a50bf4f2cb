"""Long JSON is opened in steps, with the same result as at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proxy.cooperative import Cooperative, run_now
from proxy.dialects.raw_json import _SHORT_ARRAY, MAX_FIELDS, SHORT, TooLong, elements, members, sketch, structure_of

PADDING = " " * (_SHORT_ARRAY + 1)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
blanks = st.text(" \t\r\n", max_size=3)


def steps(work: Cooperative[Any]) -> int:
    return sum(1 for _ in work)


@given(st.dictionaries(st.text(), values), blanks)
def test_fields_of_a_long_object_are_those_of_a_short_one(payload: dict[str, Any], blank: str) -> None:
    inner = f"{blank},{blank}".join(
        f"{msgspec.json.encode(name).decode()}{blank}:{blank}{msgspec.json.encode(value).decode()}"
        for name, value in payload.items()
    )
    short = f"{{{blank}{inner}{blank}}}"
    at_once = {name: msgspec.json.decode(raw) for name, raw in run_now(members(Raw(short.encode()))).items()}
    in_steps = {
        name: msgspec.json.decode(raw) for name, raw in run_now(members(Raw((short + PADDING).encode()))).items()
    }
    assert in_steps == at_once == payload
    assert list(in_steps) == list(payload)


@given(st.lists(values), blanks)
def test_values_of_a_long_array_are_those_of_a_short_one(payload: list[Any], blank: str) -> None:
    inner = f"{blank},{blank}".join(msgspec.json.encode(value).decode() for value in payload)
    short = f"[{blank}{inner}{blank}]"
    for text in (short, short + PADDING):
        found = run_now(elements(Raw(text.encode()), 10**6))
        assert [msgspec.json.decode(raw) for raw in found] == payload


@given(values)
def test_structure_is_counted_outside_of_texts(payload: Any) -> None:
    def count(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + sum(map(count, inner)) + (isinstance(value, list | dict) and not value)

    # An array of n values has n - 1 commas and a bracket, one more than there are values in it.
    assert structure_of(msgspec.json.encode(payload)) == count(payload)


def test_only_the_first_values_of_an_array_are_returned() -> None:
    long = Raw(b"[" + b"[]," * 100_000 + b"[]]")
    assert len(run_now(elements(long, 20))) == 21
    assert len(run_now(elements(Raw(b"[1,2,3,4]"), 2))) == 3


def test_long_json_is_opened_in_many_steps() -> None:
    fields = b",".join(b'"f%d":1' % number for number in range(30_000))
    assert steps(members(Raw(b"{" + fields + b"}"))) > 100
    assert steps(elements(Raw(b"[" + b"[]," * 200_000 + b"[]]"), 10**6)) > 900


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            b"{" + b",".join(b'"%d":1' % n for n in range(MAX_FIELDS + 1)) + b"}",
            "an object with more than 100,000 fields",
            id="fields",
        ),
        pytest.param(b'{"' + b"y" * SHORT + b'":1}', "a field name of more than 65,536 bytes", id="a name"),
        pytest.param(b"{" + b" " * 2**20 + b'"a":1}', "more than 1,048,576 blanks in a row", id="blanks"),
    ],
)
def test_object_that_would_take_too_long_is_an_error(text: bytes, reason: str) -> None:
    with pytest.raises(TooLong) as caught:
        run_now(members(Raw(text)))
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param({"a": [1], "b": {"c": None}}, {"a": [1], "b": {"c": None}}, id="short"),
        pytest.param({"a": {"b": [{"id": "m"}] * 9000}, "c": 1}, {"a": {"b": [{}] * 9000}, "c": 1}, id="long objects"),
        pytest.param({"error": "y" * SHORT}, {"error": "y" * SHORT}, id="a long text"),
        pytest.param([1] * 300_000, [None] * 20_001, id="a long array"),
    ],
)
def test_sketch_is_the_value_or_the_outline_of_a_long_one(payload: Any, expected: Any) -> None:
    assert run_now(sketch(Raw(msgspec.json.encode(payload)))) == expected
