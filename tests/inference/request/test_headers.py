"""The caller's headers that are used, and those that are forwarded."""

from __future__ import annotations

from hashlib import sha256

import pytest

from proxy.inference.request.headers import further_headers, split_headers, without

SENT = [
    (b"content-type", b"application/json"),
    (b"content-length", b"2"),
    (b"authorization", b"Bearer sk-canary"),
    (b"cookie", b"sk-canary"),
    (b"openai-beta", b"assistants=v2"),
    (b"traceparent", b"caf\xc3\xa9"),
    (b"anthropic-beta", b"a\tb"),
    (b"idempotency-key", b"1"),
]


def test_headers_of_the_body_are_read_and_only_listed_printable_headers_are_forwarded() -> None:
    assert split_headers(SENT, "alice") == (
        {b"content-type": b"application/json", b"content-length": b"2"},
        {"openai-beta": "assistants=v2", "idempotency-key": sha256(b"alice 1").hexdigest()},
    )


def test_equal_idempotency_keys_of_two_callers_differ() -> None:
    forwarded = [split_headers(SENT, key)[1]["idempotency-key"] for key in ("alice", "bob", "alice")]

    assert (forwarded[0] == forwarded[2], forwarded[0] == forwarded[1]) == (True, False)


def test_headers_that_name_the_application_the_session_or_the_trace_are_forwarded() -> None:
    sent = {
        "x-session-id": "s-1",
        "x-session-affinity": "a-1",
        "session_id": "s-2",
        "x-grok-conv-id": "c-1",
        "x-codex-turn-state": "t-1",
        "http-referer": "https://app.example",
        "x-title": "App",
        "x-openrouter-title": "App",
        "x-openrouter-categories": "cli-agent",
        "traceparent": "00-1-2-01",
        "tracestate": "a=1",
        "baggage": "b=2",
    }

    assert split_headers([(name.encode(), value.encode()) for name, value in sent.items()], "alice") == ({}, sent)


@pytest.mark.parametrize("name", ["accept", "openai-beta", "anthropic-beta", "tracestate", "baggage"])
def test_lines_of_a_list_are_joined_in_their_order(name: str) -> None:
    lines = [(name.encode(), b"b"), (b"x-title", b"App"), (name.encode(), b"a,c")]

    assert split_headers(lines, "alice")[1] == {name: "b, a,c", "x-title": "App"}


@pytest.mark.parametrize(
    "accepted", [b"application/x-protobuf", b"application/vnd.google.Protobuf, */*", b"application/grpc"]
)
def test_responses_are_not_requested_in_a_form_whose_tokens_and_model_cannot_be_read(accepted: bytes) -> None:
    assert split_headers([(b"accept", accepted), (b"x-title", b"App")], "alice")[1] == {"x-title": "App"}
    assert further_headers([(b"accept", accepted), (b"x-a", b"1")], lambda name: True) == {"x-a": "1"}


def test_the_last_line_of_a_header_that_is_no_list_is_forwarded() -> None:
    lines = [(b"anthropic-version", b"2023-01-01"), (b"anthropic-version", b"2023-06-01")]

    assert split_headers(lines, "alice")[1] == {"anthropic-version": "2023-06-01"}


def test_further_headers_are_those_that_match_with_their_lines_joined() -> None:
    lines = [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3"), (b"x-a", b"caf\xe9"), (b"x_a", b"4")]

    assert further_headers(lines, lambda name: name != "x-b") == {"x-a": "1, 3", "x_a": "4"}


def test_headers_of_logins_are_left_out_in_every_spelling() -> None:
    headers = [(b"remote-user", b"u"), (b"remote_user", b"u"), (b"x-note", b"n")]

    assert without(headers, frozenset({b"remote-user"})) == [(b"x-note", b"n")]
    assert without(headers, frozenset()) is headers
