"""Long JSON responses, renamed and counted piece by piece."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.inference.response.fields import FIELDS
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.observer import Observer
from proxy.inference.response.rename import rename_model
from proxy.telemetry import Tokens
from tests.inference.response.streams import OWN, PUBLIC, UNCHANGED


def rename_in_pieces(response: bytes, size: int) -> tuple[bytes, Tokens]:
    renamer = JsonStreamRenamer(OWN, PUBLIC)
    pieces = [response[at : at + size] for at in range(0, len(response), size)]
    return b"".join([*map(renamer.feed, pieces), renamer.rest()]), renamer.tokens


RESPONSES = [
    '{"model":"gpt-4o"}',
    ' { "a" : [1,{"model":"gpt-4o"}] , "mod\\u0065l" :\n"gpt\\u002d4o" , "b" : "\\\\" } ',
    '{"x":"\\ud800","y":"\\\\\\"\\\\","model":"gpt-4o","usage":{"prompt_tokens":3,"x":{"usage":{}}}}',
    '{"message":{"model":"gpt-4o","usage":{"input_tokens":3}},"usage":null,"response":["usage",{"usage":{}}]}',
    *[response for response in UNCHANGED if response.count('"model"') < 2 and response != '{"model":"gpt-4o"'],
]


@pytest.mark.parametrize("response", RESPONSES, ids=lambda response: response[:40])
def test_a_response_in_pieces_is_renamed_and_counted_like_a_whole_one(response: str) -> None:
    whole = response.encode()
    wanted = rename_model(whole, OWN, PUBLIC)

    assert all(rename_in_pieces(whole[:2000], size) == (wanted[0][:2000], wanted[1]) for size in (1, 2, 3, 7, 5000))
    same = JsonStreamRenamer(OWN, OWN)
    assert same.feed(whole) + same.rest() == whole


odd_strings = st.sampled_from([OWN, "model", "{", "é", '"', "\\"]) | st.text(max_size=4)
names = st.sampled_from(["model", "usage", "message", "response", "prompt_tokens"]) | odd_strings
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1) | odd_strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(names, values, max_size=5), st.integers(1, 30), st.booleans(), st.sampled_from([None, 1]))
def test_any_response_in_pieces_is_renamed_and_counted_like_a_whole_one(
    data: object, size: int, ascii_only: bool, indent: int | None
) -> None:
    response = json.dumps(data, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")

    assert rename_in_pieces(response, size) == rename_model(response, OWN, PUBLIC)


def test_a_long_response_is_not_held_in_memory() -> None:
    renamer = JsonStreamRenamer(OWN, PUBLIC)
    begin, end = b'{"data":[{"b64_json":"', b'"}],"model":"gpt-4o","usage":{"prompt_tokens":3}}'
    piece = b"A" * 65_536
    tracemalloc.start()
    try:
        out = len(renamer.feed(begin)) + sum(len(renamer.feed(piece)) for _ in range(1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out == len(begin) + 1000 * len(piece)
    assert renamer.feed(end) == end.replace(b"gpt-4o", PUBLIC.encode())
    assert renamer.tokens == Tokens(3)
    assert peak < 1024**2


@pytest.mark.parametrize("begin", [b'{"', b'{"model":"', b'{"usage":{"x":"'], ids=["name", "model", "usage"])
def test_a_value_without_an_end_is_not_held_in_memory(begin: bytes) -> None:
    renamer = JsonStreamRenamer(OWN, PUBLIC)
    tracemalloc.start()
    try:
        out = len(renamer.feed(begin)) + sum(len(renamer.feed(b"x" * 1000)) for _ in range(2000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out + len(renamer.rest()) == len(begin) + 2_000_000
    assert peak < 1024**2


@pytest.mark.parametrize("size", [100, 1_000_000], ids=["in pieces", "in one piece"])
def test_a_huge_usage_object_is_not_counted(size: int) -> None:
    response = b'{"usage":{"prompt_tokens":3,"x":"%b"},"message":{"usage":{"output_tokens":4}}}' % (b"x" * 65_536)

    assert rename_in_pieces(response, size) == (response, Tokens(0, 4))


GEMINI = FIELDS["gemini"]
ITEM = b'{"candidates":[{"a":["]}[{,"]}],"usageMetadata":{"promptTokenCount":3},"modelVersion":"ID"}'
ITEMS = b"[%b\n,\r\n%b\n]\n" % (ITEM, ITEM)


@pytest.mark.parametrize("size", [1, 2, 7, 5000])
def test_the_model_of_every_item_of_an_array_is_renamed_and_its_tokens_are_counted(size: int) -> None:
    response, wanted = ITEMS.replace(b"ID", OWN.encode()), ITEMS.replace(b"ID", PUBLIC.encode())
    renamer = JsonStreamRenamer(OWN, PUBLIC, fields=GEMINI, in_array=True)
    pieces = [response[at : at + size] for at in range(0, len(response), size)]

    assert b"".join([*map(renamer.feed, pieces), renamer.rest()]) == wanted
    assert renamer.tokens == Tokens(3, 0)


@pytest.mark.parametrize("size", [1, 2, 7, 5000])
def test_every_item_of_an_array_is_observed_in_one_line(size: int) -> None:
    response = b'\xef\xbb\xbf[{"a":\n {"b": 1},\r\n"c":"[{,\\n"}\n,\r\n%b,{"d":[{}]}]' % ITEM
    observed: list[bytes] = []
    observer = Observer(observed.append, lambda beginning, size: None)
    renamer = JsonStreamRenamer(OWN, PUBLIC, fields=GEMINI, in_array=True, observer=observer)
    for at in range(0, len(response), size):
        renamer.feed(response[at : at + size])
    assert observed == [b'{"a":  {"b": 1},  "c":"[{,\\n"}', ITEM, b'{"d":[{}]}']


def test_of_an_item_that_is_too_long_its_beginning_and_its_size_are_observed() -> None:
    observed: list[bytes] = []
    long: list[tuple[bytes, int]] = []
    observer = Observer(observed.append, lambda beginning, size: long.append((beginning, size)))
    renamer = JsonStreamRenamer(OWN, OWN, fields=GEMINI, in_array=True, observer=observer)
    item = b'{"a":"%b"}' % (b"x" * (1024 * 1024 - 9))
    for piece in (b"[", item, b',{"a":"x', item[6:], b',{"b":1}', b"]"):
        renamer.feed(piece)
    assert [len(each) for each in observed] == [1024 * 1024 - 1, len(b'{"b":1}')]
    assert long == [((b',{"a":"x' + item[6:])[: 1024 * 1024], len(item) + 2)]


@pytest.mark.parametrize(
    ("sent", "before"),
    [
        (b"[", b""),
        (b'[{"a":1}', b","),
        (b'[{"a":1}\n', b","),
        (b'[{"a":1},', b""),
        (b'[{"a":1},\r\n', b""),
        (b'[{"a":1},{"a":[1]}', b","),
        (b'[{"a":1},{"a":', None),
        (b'[{"a":1},{"a', None),
        (b'[{"a":[1,', None),
    ],
)
def test_an_error_can_follow_a_complete_item(sent: bytes, before: bytes | None) -> None:
    renamer = JsonStreamRenamer(OWN, PUBLIC, fields=GEMINI, in_array=True)
    renamer.feed(sent)
    assert renamer.error_item == before
    if before is not None:
        assert json.loads(sent + before + b'{"error":{}}]')[-1] == {"error": {}}


@pytest.mark.parametrize(
    ("sent", "is_complete"), [(b"[{}]", True), (b"[{},{}]\n", True), (b"[{}", False), (b"[{},", False)]
)
def test_an_array_is_complete_after_its_end(sent: bytes, is_complete: bool) -> None:
    renamer = JsonStreamRenamer(OWN, PUBLIC, fields=GEMINI, in_array=True)
    renamer.feed(sent)
    assert renamer.is_complete == is_complete
