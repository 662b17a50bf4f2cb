"""Request bodies: the reader agrees with other parsers, and arbitrary bytes get a 400 at most."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.cooperative import run_now
from proxy.errors import BadRequest
from proxy.guards import GUARDED
from proxy.inference.request.content_coding import decompress
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.json_fields import fields_of
from proxy.inference.request.json_outline import Outline
from proxy.inference.request.model_fields import ModelField
from proxy.inference.request.selections import Selections
from proxy.inference.request.short_outline import ShortOutline
from tests.inference.request.json_texts import (
    has_lone_surrogates,
    objects,
    pairs_of,
    values,
    whitespace,
    without_surrogates,
)

windows = st.integers(16, 80)
"""Bytes that one pattern can match: so few that all other ways of reading are taken, too."""
is_valid = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def outline_of(body: bytes, window: int) -> Outline:
    outline = Outline(body, window)
    run_now(outline.read())
    return outline


def value_at(outline: Outline, start: int, end: int) -> Any:
    """The value there as `pairs_of` returns it, read with the offsets of the outline alone."""
    text = outline.text
    if text.startswith(b"{", start):
        assert outline.end_of(start) == end
        members = run_now(outline.members(start))
        return [(member.name, value_at(outline, member.start, member.end)) for member in members]
    if text.startswith(b"[", start):
        assert outline.end_of(start) == end
        items = run_now(outline.items_in(start, 100))
        containers = [first for first, _ in items if text.startswith((b"[", b"{"), first)]
        assert [*run_now(outline.containers_in(start))] == containers
        return [value_at(outline, *span) for span in items]
    return json.loads(text[start:end])


def has_duplicates(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    names = [item[0] for item in value if isinstance(item, tuple)]
    return len(set(names)) < len(names) or any(
        has_duplicates(item[1] if isinstance(item, tuple) else item) for item in value
    )


@given(objects, whitespace, windows)
@example('{"":[0,0,null]}', "", 16)
@example('{"":[null,null ,  0  , null]}', "", 16)
def test_every_value_is_where_another_parser_finds_it(text: str, blank: str, window: int) -> None:
    body = f"{blank}{text}{blank}".encode()
    pairs = pairs_of(body)
    assume(not has_lone_surrogates(pairs))  # names with them are decoded with other characters
    outline = outline_of(body, window)
    if has_duplicates(pairs):
        with pytest.raises(ValueError, match="contains a duplicate field: `"):
            value_at(outline, outline.start, len(body.rstrip()))
        return

    assert value_at(outline, outline.start, len(body.rstrip(b" \t\r\n"))) == pairs


pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\u00", b"\0", b" " * 40, b"0", b"-", b".", b"e", b"12",
     b"nul", b"true", b"1,2,3,", b'"a":', b'{"a":1}', b"[[", b"]]", b"\xff", b"\xed\xa0\x80", b"/*", b"\n"]
)  # fmt: skip


@given(objects, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), pieces), max_size=3), windows)
@example('{"a":1}', [(6, 0, b",")], 16)
def test_exactly_the_texts_are_accepted_that_another_strict_parser_accepts(
    text: str, changes: Iterable[tuple[int, int, bytes]], window: int
) -> None:
    body = text.encode()
    for at, removed, added in changes:
        body = body[:at] + added + body[at + removed :]
    try:
        is_valid(without_surrogates(body))
    except UnicodeDecodeError:  # of a name, which the pass does not decode
        return
    except (ValueError, RecursionError):
        with pytest.raises(ValueError):  # noqa: PT011  # whatever its message
            outline_of(body, window)
        return
    outline_of(body, window)


def object_text(pairs: Iterable[tuple[str, str]], blank: str = "") -> str:
    return "{" + ",".join(f'{blank}"{name}"{blank}:{blank}{value}' for name, value in pairs) + "}"


names = st.sampled_from(
    ["model", "models", "tools", "extra_body", "input", "type", "file_id", "file_ids", "id", "container", "audio",
     "fallbacks", "requests", "params", "conversation", "content", "mod\\u0065l", "f\\u0069le_id", "x"]
)  # fmt: skip
texts = st.sampled_from(
    ['"m"', '"n"', '["m","n"]', '"function"', '"item_reference"', '"fileid://x"', "null", "1", "[]"]
)
guarded_values = st.recursive(
    st.one_of(texts, values),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(names, inner), max_size=4).map(object_text),
    ),
    max_leaves=20,
)


guarded_bodies = st.builds(object_text, st.lists(st.tuples(names, guarded_values), max_size=4), whitespace)


def selections_in(outline: Outline) -> tuple[list[ModelField], set[str]] | str:
    """The models and references in a body, or why it is rejected."""
    try:
        run_now(outline.read())
        selections = Selections(outline)
        run_now(selections.read(run_now(fields_of(outline, outline.start))))
    except (ValueError, BadRequest) as error:
        return str(error).partition("`")[0]  # which of several duplicates is named differs
    return selections.models.all, selections.references


@given(guarded_bodies, st.integers(100, 200))
def test_models_and_references_do_not_depend_on_the_way_of_reading(text: str, window: int) -> None:
    body = text.encode()
    found = selections_in(Outline(body))

    assert selections_in(Outline(body, window)) == found
    assert selections_in(ShortOutline(body)) == found


@given(guarded_bodies)
@example('{"container":"\\ud800"}')
def test_every_model_and_reference_in_a_body_is_found_by_another_parser(text: str) -> None:
    body = f'{{"model":"m",{text[1:]}'.encode() if text != "{}" else b'{"model":"m"}'
    try:
        read = JsonBody(body)
    except BadRequest:
        return
    known = {*strings_in(json.loads(body))}

    assert set(read.models) <= known
    assert read.references <= known | {"", "\ufffd"}
    assert json.loads(body)["model"] in (read.model, [*read.models])
    assert json.loads(read.with_ids({model: model for model in read.models})) == json.loads(body)


def strings_in(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings_in(item)


chaos = st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=30).map(b"".join), guarded_bodies.map(str.encode))


@given(chaos)
@example(b'{"model":"m","x":' + b"[" * 5000)
@example(b'{"model":"m",' + b'"x":{' * 5000)
@example(b'{"model":"m","tools":' + b'[{"model":' * 2000)
@example(b'{"model":"m","' + b"\\u0000" * 5000 + b'":1,"tools":[{"model":"n"}]}')
@example(b'{"model":"m","x":' + b"9" * 100_000 + b"}")
@example(b'{"model":"m","x":-' + b" " * 100_000)
@example(b'\xef\xbb\xbf{"model":"m"' + b" " * 200_000 + b"}")
def test_arbitrary_bytes_as_json_raise_bad_request_at_most(body: bytes) -> None:
    for given_body in (body, b'{"model":"m",' + body):
        try:
            read = JsonBody(given_body)
        except BadRequest:
            continue
        assert read.model
        assert read.with_ids(dict.fromkeys(read.models, "x"))


form_pieces = st.sampled_from(
    [b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b'Content-Disposition: form-data; name="model"', b"--", b" ", b"\n", b"m",
     b'Content-Disposition: form-data; name="file"; filename="x"', b"Content-Type: text/plain", b"\0", b"\xff", b"b"]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=100), st.lists(form_pieces, max_size=30).map(b"".join)))
def test_arbitrary_bytes_as_a_form_raise_bad_request_at_most(body: bytes) -> None:
    try:
        read = FormBody(body, b"multipart/form-data; boundary=b")
    except BadRequest:
        return
    assert read.model


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"zstd"]))
def test_arbitrary_bytes_as_a_compressed_body_raise_bad_request_at_most(body: bytes, coding: bytes) -> None:
    magic = {b"gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"zstd": b"\x28\xb5\x2f\xfd"}[coding]
    for given_body in (body, magic + body):
        with pytest.raises(BadRequest):
            run_now(decompress(given_body, coding, 1000))


def test_guarded_names_are_shorter_than_the_longest_name_that_is_read() -> None:
    assert max(map(len, GUARDED)) * 6 + 2 < 1000
