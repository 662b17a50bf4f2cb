"""The caller's headers that are used, and those that are forwarded."""

from __future__ import annotations

from hashlib import sha256

from proxy.inference.request.headers import split_headers

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
        {"OpenAI-Beta": "assistants=v2", "Idempotency-Key": sha256(b"alice 1").hexdigest()},
    )


def test_equal_idempotency_keys_of_two_callers_differ() -> None:
    forwarded = [split_headers(SENT, key)[1]["Idempotency-Key"] for key in ("alice", "bob", "alice")]

    assert (forwarded[0] == forwarded[2], forwarded[0] == forwarded[1]) == (True, False)
