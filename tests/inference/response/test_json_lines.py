"""Streams of JSON lines, renamed and counted line by line."""

from __future__ import annotations

import pytest

from proxy.inference.response.fields import FIELDS
from proxy.inference.response.json_lines import JsonLinesRenamer
from proxy.inference.response.observer import Observer
from proxy.telemetry import Tokens
from tests.inference.response.streams import OWN, PUBLIC

FIRST = b'{"model":"%b","message":{"content":"{\\"model\\":1}"},"done":false}' % OWN.encode()
LAST = b'{"model":"%b","done":true,"context":[1,2],"prompt_eval_count":3,"eval_count":5}' % OWN.encode()
LINES = b"%b\n%b\n" % (FIRST, LAST)
RENAMED = LINES.replace(b'"model":"%b"' % OWN.encode(), b'"model":"%b"' % PUBLIC.encode())


def renamer() -> JsonLinesRenamer:
    return JsonLinesRenamer(OWN, PUBLIC, FIELDS["ollama"])


def in_pieces(lines: bytes, size: int) -> tuple[bytes, Tokens]:
    renaming = renamer()
    out = b"".join(renaming.feed(lines[at : at + size]) for at in range(0, len(lines), size))
    return out + renaming.rest(), renaming.tokens


@pytest.mark.parametrize("size", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_every_line_is_renamed_and_the_last_one_is_counted(size: int, end: bytes) -> None:
    lines, renamed = LINES.removesuffix(b"\n") + end, RENAMED.removesuffix(b"\n") + end
    assert in_pieces(lines, size) == (renamed, Tokens(3, 5))


@pytest.mark.parametrize("lines", [b"\n\n", b'{"model":\n', b'{"error":"no \\"model\\""}\n', b"[1]\r\n\r\n"])
def test_lines_without_a_model_are_unchanged(lines: bytes) -> None:
    assert in_pieces(lines, 3) == (lines, Tokens())


def test_a_line_is_sent_when_it_is_complete_and_an_error_can_follow_what_was_sent() -> None:
    renaming = renamer()
    assert renaming.feed(LINES[:-10]) == RENAMED.partition(b"\n")[0] + b"\n"
    assert renaming.error_item == b""


def test_a_line_that_is_too_long_is_sent_unchanged_and_the_next_one_is_renamed() -> None:
    renaming = renamer()
    long = b'{"model":"%b","context":[%b' % (OWN.encode(), b"1," * 3_000_000)
    assert renaming.feed(long) == long
    assert renaming.error_item is None
    assert renaming.feed(b"1]}\n" + FIRST + b"\n") == b"1]}\n" + RENAMED.partition(b"\n")[0] + b"\n"
    assert renaming.error_item == b""


def test_each_line_is_observed_before_it_is_changed() -> None:
    observed: list[bytes] = []
    observer = Observer(observed.append, lambda beginning, size: None)
    renaming = JsonLinesRenamer(OWN, PUBLIC, FIELDS["ollama"], observer=observer)
    renaming.feed(LINES)
    assert observed == LINES.splitlines(keepends=True)


@pytest.mark.parametrize("size", [100_000, 10_000_000])
def test_the_beginning_and_the_size_of_a_line_that_is_too_long_are_observed(size: int) -> None:
    long: list[tuple[bytes, int]] = []
    observer = Observer(lambda lines: None, lambda beginning, bytes_: long.append((beginning, bytes_)))
    renaming = JsonLinesRenamer(OWN, PUBLIC, FIELDS["ollama"], observer=observer)
    line = b'{"response":"%b"}\n' % (b"x" * 6_000_000)
    for at in range(0, len(line), size):
        renaming.feed(line[at : at + size])
    expected = [(line[: 16 * 1024], len(line))] if size < len(line) else []
    assert long == expected


@pytest.mark.parametrize(
    ("lines", "is_complete"),
    [(LINES, True), (FIRST + b"\n", False), (LINES + b"\n", True), (LINES + FIRST + b"\n", False), (LINES[:-9], False)],
)
def test_a_stream_is_complete_after_a_line_that_is_done(lines: bytes, is_complete: bool) -> None:
    renaming = renamer()
    renaming.feed(lines)
    assert renaming.is_complete == is_complete


def test_done_in_a_text_or_deeper_ends_no_stream() -> None:
    renaming = renamer()
    renaming.feed(b'{"message":{"tool_calls":[{"done":true}],"content":"\\"done\\":true"},"done":false}\n')
    assert not renaming.is_complete
