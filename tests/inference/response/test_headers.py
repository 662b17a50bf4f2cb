"""The provider's headers that are relayed."""

from __future__ import annotations

from proxy.inference.response.headers import relayed_headers


def test_only_listed_printable_headers_are_relayed_with_names_in_lower_case() -> None:
    raw = [
        (b"Content-Type", b"application/json"),
        (b"X-RateLimit-Remaining-Tokens", b"7"),
        (b"Retry-After", b"\xff"),
        (b"OpenAI-Organization", b"org-canary"),
        (b"Set-Cookie", b"a=b"),
        (b"Content-Length", b"2"),
    ]

    assert list(relayed_headers(raw)) == [
        (b"content-type", b"application/json"),
        (b"x-ratelimit-remaining-tokens", b"7"),
    ]
