"""Values of `model` and `usage` in a JSON object that arrives in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.response.json_scanner import MemberScanner, Part


def values(text: bytes, size: int) -> list[tuple[str, int, bytes]]:
    """Name, level and bytes of all values that are reported for a text in pieces of a size."""
    scanner = MemberScanner()
    scanned, collected = [], b""
    for at in range(0, len(text), size):
        read, parts = scanner.scan(text[at : at + size])
        for part in parts:
            collected += read[part.start : part.end]
            if part.complete:
                scanned.append((part.name, part.level, collected))
                collected = b""
    return scanned


def test_a_whole_object_is_reported_in_complete_parts() -> None:
    text = b'{"model":"m","usage":{"a":1}}'

    assert MemberScanner().scan(text) == (text, [Part("model", 1, 9, 12, True), Part("usage", 1, 21, 28, True)])


def test_an_object_that_is_cut_is_reported_in_parts() -> None:
    scanner = MemberScanner()

    assert scanner.scan(b'{"usage":{"a"') == (b'{"usage":{"a"', [Part("usage", 1, 9, 13, False)])
    assert scanner.scan(b":[{}]},") == (b":[{}]},", [Part("usage", 1, 0, 6, True)])


@pytest.mark.parametrize("text", [b'{"mod', b'{"model":"a\\'], ids=["a name", "a model id"])
def test_a_string_that_is_cut_is_held(text: bytes) -> None:
    scanner = MemberScanner()
    read, parts = scanner.scan(text)

    assert (read + scanner.held, parts, scanner.held) == (text, [], text[text.rindex(b'"') :])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_values_are_reported_for_every_cut(size: int) -> None:
    text = (
        b'{"x":"}\\"\\\\","model" : "a\\"b","choices":[{"model":"n","usage":{}},[]],"message":{"mod\\u0065l":"o",'
        b'"usage":{"x":[{"y":"]"}]},"response":{"model":"n"}},"usage":{"usage":{"model":"n"}}}'
    )

    assert values(text, size) == [
        ("model", 1, b'"a\\"b"'),
        ("model", 2, b'"o"'),
        ("usage", 2, b'{"x":[{"y":"]"}]}'),
        ("usage", 1, b'{"usage":{"model":"n"}}'),
    ]


@pytest.mark.parametrize(
    "text",
    [b'[{"model":"m"},"usage"]', b'{"model":1,"usage":[{}]}', b'{"x":{"model":"m"}}', b'"model"', b'1,"model":"m"',
     b'{"message":[{"model":"m"}]}', b'{"x":"model","y":"m"}', b'}{"model":"m"}'],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 100])
def test_other_values_are_skipped(text: bytes, size: int) -> None:
    assert values(text, size) == []


NAMES = st.sampled_from(["model", "mod\\u0065l", "usage", "type", "a", "", "models", 'a\\"b', "message"])
SCALARS = st.sampled_from(
    ["1", "-0.5", "null", "true", '"x"', '"a,b"', '"\\\\"', '"{"', '"model"', '"\\",\\"model\\":1"']
)


def object_of(members: list[tuple[str, str]], blank: str) -> str:
    texts = (f'{blank}"{name}"{blank}:{blank}{value}{blank}' for name, value in members)
    return f"{{{','.join(texts)}}}"


OBJECTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(object_of, st.lists(st.tuples(NAMES, inner), max_size=6), st.sampled_from(["", " ", "\r\n\t"]))
        | st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
    ),
    max_leaves=12,
).filter(lambda text: text.startswith("{"))


@given(OBJECTS, st.integers(1, 40))
def test_the_same_values_are_reported_if_members_are_read_one_by_one(text: str, size: int) -> None:
    """In pieces of one byte no piece has several members."""
    assert values(text.encode(), size) == values(text.encode(), 1)
