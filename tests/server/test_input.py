"""Received bytes are removed in pieces with at most one end of a head, for every segmentation."""

from __future__ import annotations

from itertools import pairwise

import pytest
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.server.input import Input
from proxy.server.receiver import content_length

WORDS = (
    b"GET / HTTP/1.1", b"GET /", b"POST /x HTTP/1.1", b"GET / HTTP/1.0", b"PRI * HTTP/2.0", b"\r", b"\n", b"\r\n",
    b"\r\n\r\n", b"\n\n", b"\r\r\n", b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"abc", b"0",
    b"3", b";x", b":", b" ", b"\t", b"\x00", b"a: b", b"Connection: upgrade", b"Upgrade: h2c", b"3\r\nabc\r\n0\r\n\r\n",
)  # fmt: skip
REQUESTS = st.lists(st.sampled_from(WORDS), max_size=14).map(b"".join)


class Events:
    """What a parser calls."""

    heads = 0
    ends = 0
    is_chunked = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.is_chunked |= name.lower() == b"transfer-encoding"

    def on_message_begin(self) -> None:
        self.is_chunked = False

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_message_complete(self) -> None:
        self.ends += self.is_chunked


@given(st.sampled_from(WORDS[:5]), REQUESTS)
@example(WORDS[1], b"\n\r\n")
@example(WORDS[2], b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n")
def test_the_parser_ends_heads_and_chunked_bodies_only_with_an_empty_line(start: bytes, rest: bytes) -> None:
    events = Events()
    parser = HttpRequestParser(events)
    data = start + rest
    for at in range(len(data)):
        before = events.heads, events.ends
        try:
            parser.feed_data(data[at : at + 1])
        except (HttpParserError, HttpParserUpgrade):
            return
        if (events.heads, events.ends) != before:
            assert data[: at + 1].endswith(b"\n\r\n")


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
VALID = st.sampled_from(
    (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n",
        CHUNKED + b"2\r\n\r\n\r\n0\r\n\r\n",
        CHUNKED + b"0\r\na: b\r\n\r\n",
    )
)


@given(st.lists(VALID, max_size=6).map(b"".join), st.data())
def test_each_piece_contains_at_most_one_end_of_a_head_or_a_chunked_body(data: bytes, chosen: st.DataObject) -> None:
    cuts = sorted(chosen.draw(st.sets(st.integers(0, len(data)))) | {0, len(data)})
    received, events = Input(), Events()
    parser = HttpRequestParser(events)
    removed = b""
    for start, end in pairwise(cuts):
        received.add(data[start:end])
        while received:
            before = events.heads + events.ends
            piece = bytes(received.take(received.length_to_empty_line(continues=True)))
            parser.feed_data(piece)
            removed += piece
            assert events.heads + events.ends <= before + 1

    assert removed == data


def test_bytes_are_added_behind_those_that_were_not_removed() -> None:
    received = Input()
    received.add(b"abcdef")
    taken = bytes(received.take(2))
    received.add(b"gh")

    assert (taken, len(received), bytes(received.take(100)), len(received)) == (b"ab", 6, b"cdefgh", 0)


def test_an_empty_line_is_found_only_in_the_bytes_that_are_searched() -> None:
    received = Input()
    received.add(b"-abcd\n\r\nef")
    received.take(1)

    assert [received.length_to_empty_line(size, continues=False) for size in (6, 7, None)] == [9, 7, 7]


def test_cleared_input_is_empty() -> None:
    received = Input()
    received.add(b"abc")
    received.take(1)
    received.clear()

    assert (len(received), bytes(received.take(5))) == (0, b"")


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([(b"host", b"x"), (b"content-length", b"12")], 12),
        ([(b"transfer-encoding", b"chunked")], None),
        ([], None),
    ],
)
def test_the_length_of_a_body_is_that_of_its_header(headers: list[tuple[bytes, bytes]], length: int | None) -> None:
    assert content_length(headers) == length
