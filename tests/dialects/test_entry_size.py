"""Entries that exceed a limit are listed without their largest fields."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.dialects import DIALECTS, InvalidEntry, within_limits
from proxy.dialects.entry_size import MAX_BYTES, MAX_VALUES

OPENAI = DIALECTS["openai"]


def limited(payload: Any, kind: str = "openai") -> Any:
    return msgspec.json.decode(within_limits(DIALECTS[kind], msgspec.json.encode(payload)))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"id": "m", "x": "y" * (MAX_BYTES - 20)}, id="as many bytes as possible"),
        pytest.param({"id": "m", "x": list(range(MAX_VALUES - 3))}, id="as many values as possible"),
        pytest.param({"id": "m", "x": "a, [b], " * 2000}, id="punctuation in a text"),
        pytest.param({"id": "m", "x": '\\"' * 2000 + ",[{" * 1000}, id="quotes in a text"),
    ],
)
def test_entry_within_the_limits_is_unchanged(payload: Any) -> None:
    raw = msgspec.json.encode(payload)
    assert within_limits(OPENAI, raw) is raw


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param({"x": "y" * MAX_BYTES, "id": "m", "n": 1}, {"id": "m", "n": 1}, id="a long text"),
        pytest.param({"id": "m", "x": [1] * MAX_VALUES, "n": [2]}, {"id": "m", "n": [2]}, id="many values"),
        pytest.param(
            {"id": "m", "x": [{"a": []}] * 500, "n": [2]}, {"id": "m", "n": [2]}, id="many objects and empty arrays"
        ),
        pytest.param(
            {**{f"f{n}": 1 for n in range(5000)}, "id": "a-long-name", "owned_by": "maker"},
            {**{f"f{n}": 1 for n in range(MAX_VALUES - 3)}, "id": "a-long-name", "owned_by": "maker"},
            id="many fields",
        ),
        pytest.param({"id": "m" * MAX_BYTES, "x": "y"}, {}, id="a long id"),
    ],
)
def test_larger_entry_keeps_its_names_and_the_shortest_fields(payload: Any, expected: Any) -> None:
    shown = limited(payload)
    assert shown == expected
    assert list(shown) == list(expected)


def test_fields_that_name_the_model_of_a_dialect_are_kept() -> None:
    payload = {**{f"f{n}": 1 for n in range(5000)}, "name": "model", "owner": "maker"}
    shown = limited(payload, "replicate")
    assert (shown["name"], shown["owner"]) == ("model", "maker")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param(
            b'{"id":"m","x":"%b"}' % (b"y" * 1024**2), "larger than 1,048,576 bytes or 20,000 values", id="MiB"
        ),
        pytest.param(
            b'{"id":"m","x":[%b1]}' % (b"1," * 20_001), "larger than 1,048,576 bytes or 20,000 values", id="wide"
        ),
        pytest.param(b'"%b"' % (b"y" * MAX_BYTES), "larger than 65,536 bytes or 1,000 values", id="text"),
        pytest.param(b"[%b1]" % (b"1," * 2000), "larger than 65,536 bytes or 1,000 values", id="array"),
        pytest.param(b'{"id":"m","x":%b}' % (b"[" * 70_000), "larger than 65,536 bytes or 1,000 values", id="invalid"),
    ],
)
def test_entry_that_is_too_large_to_be_read_is_invalid(entry: bytes, reason: str) -> None:
    with pytest.raises(InvalidEntry) as caught:
        within_limits(OPENAI, entry)
    assert str(caught.value) == reason
