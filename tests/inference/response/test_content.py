"""The content of responses, recognized by their first bytes."""

from __future__ import annotations

import pytest

from proxy.inference.response.content import BOM, Content, content_of

WHOLE: list[tuple[bytes, Content]] = [
    (b"data: x", "events"),
    (b"data:{}", "events"),
    (b"event: x\ndata: {}", "events"),
    (b"id: 1\ndata: {}", "events"),
    (b"retry: 1\n", "events"),
    (b": a comment\n\n", "events"),
    (b'{"a":1}', "json"),
    (b"{}", "json"),
    (b"{ \n}", "json"),
    (b'[\n{"a":1}]', "json"),
    (b"[-1]", "json"),
    (b"[", "json"),
    (b"{ ", "json"),
    (b"<html lang=en>", "html"),
    (b"<!DOCTYPE  html>", "html"),
    (b"<!-- a --><!-- b -->\n<HEAD>", "html"),
    (b'<?xml version="1.0"?>\n<!DOCTYPE html>', "html"),
    (b"", "other"),
    (b'"text"', "other"),
    (b"12", "other"),
    (b"hello", "other"),
    (b"[noise] hello", "other"),
    (b"[true]", "other"),
    (b"{x", "other"),
    (b"dat", "other"),
    (b"database: x", "other"),
    (b"<html5>", "other"),
    (b"<speak>", "other"),
    (b"ID3\x04", "other"),
    (b"\xef\xbb", "other"),
]


@pytest.mark.parametrize("before", [b"", BOM, b" \r\n\t", BOM + b"\n"], ids=repr)
@pytest.mark.parametrize(("body", "content"), WHOLE, ids=repr)
def test_whole_bodies_are_recognized(body: bytes, content: Content, before: bytes) -> None:
    assert content_of(before + body, is_whole=True) == content


@pytest.mark.parametrize(
    ("body", "content"), [row for row in WHOLE if row[0] not in (b"", b"dat", b"\xef\xbb")], ids=repr
)
def test_a_beginning_is_never_taken_for_something_else(body: bytes, content: Content) -> None:
    longer = BOM + body + b" " * 600

    found = {content_of(longer[:cut], is_whole=False) for cut in range(len(longer))} - {None}
    assert found <= {content}


@pytest.mark.parametrize("head", [b"\n", b" ", BOM + b"\n", b"\r\n\r\n"])
def test_white_space_is_known_before_what_follows(head: bytes) -> None:
    assert content_of(head, is_whole=False) == "blank"


@pytest.mark.parametrize("head", [b"\xef", BOM, b"d", b"event", b"{", b"[ \n", b"<", b"<!-- "])
def test_what_depends_on_the_next_bytes_is_not_known(head: bytes) -> None:
    assert content_of(head, is_whole=False) is None


def test_many_comments_are_read_in_linear_time() -> None:
    assert content_of(b"<!-- -->" * 8000, is_whole=True) == "other"
