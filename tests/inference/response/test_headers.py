"""The provider's headers that are relayed."""

from __future__ import annotations

import pytest

from proxy.inference.response.headers import further_headers, relayed_error_headers, relayed_headers


def test_only_listed_printable_headers_are_relayed_with_names_in_lower_case() -> None:
    raw = [
        (b"Content-Type", b"application/json"),
        (b"X-RateLimit-Remaining-Tokens", b"7"),
        (b"Retry-After", b"\xff"),
        (b"OpenAI-Organization", b"org-canary"),
        (b"Set-Cookie", b"a=b"),
        (b"Content-Length", b"2"),
    ]

    assert list(relayed_headers(raw, own_id="o", model="m")) == [
        (b"content-type", b"application/json"),
        (b"x-ratelimit-remaining-tokens", b"7"),
    ]


def test_rate_limits_are_relayed_whatever_their_names() -> None:
    raw = [
        (b"x-ratelimit-limit-requests", b"5"),
        (b"X-RateLimit-Reset", b"1767225600"),
        (b"anthropic-ratelimit-input-tokens-remaining", b"9"),
        (b"RateLimit-Reset", b"30"),
        (b"X-RateLimitBySize-Remaining-Minute", b"5"),
        (b"X-Rate-Limit-Limit", b"6"),
        (b"x-ratelimited", b"1"),
        (b"x-limit", b"1"),
    ]

    assert list(relayed_headers(raw, own_id="o", model="m")) == [(name.lower(), value) for name, value in raw[:6]]


def test_errors_get_the_same_headers_without_those_of_the_body() -> None:
    raw = [
        (b"content-type", b"text/html"),
        (b"content-disposition", b"inline"),
        (b"retry-after-ms", b"250"),
        (b"x-should-retry", b"true"),
        (b"x-codex-turn-state", b"t-1"),
        (b"openai-version", b"2020-10-01"),
        (b"x-reasoning-included", b"true"),
        (b"set-cookie", b"a=b"),
    ]

    assert list(relayed_error_headers(raw, own_id="o", model="m")) == raw[2:-1]


@pytest.mark.parametrize(
    ("value", "own_id", "model", "relayed"),
    [
        pytest.param(b"a/own", "a/own", "m", [b"m"], id="the called model gets the requested id"),
        pytest.param(b"m", "m", "m", [b"m"], id="the same id"),
        pytest.param(b"a/own-2026-01-01", "a/own", "m", [], id="another model"),
        pytest.param(b"a/own", "a/own", "模型", [], id="an id that no header can contain"),
    ],
)
def test_the_model_in_a_header_becomes_the_requested_one_or_is_dropped(
    value: bytes, own_id: str, model: str, relayed: list[bytes]
) -> None:
    headers = relayed_headers([(b"OpenAI-Model", value)], own_id=own_id, model=model)

    assert list(headers) == [(b"openai-model", each) for each in relayed]


def test_further_headers_are_those_that_match_without_secrets_and_without_the_built_in_ones() -> None:
    raw = [
        (b"X-Ray", b"r-1"),
        (b"x-ray", b"r-2"),
        (b"X-Echo", b"Bearer sk-canary-1"),
        (b"X-Flag", b"true"),
        (b"X-Text", b"caf\xe9"),
        (b"X-RateLimit-Limit", b"5"),
        (b"Retry-After", b"1"),
        (b"OpenAI-Model", b"o"),
        (b"Server", b"s"),
    ]

    headers = further_headers(raw, lambda name: name != "server", ["sk-canary-1", "true"])

    assert list(headers) == [(b"x-ray", b"r-1"), (b"x-ray", b"r-2"), (b"x-flag", b"true")]


def test_without_an_own_id_the_model_in_a_header_becomes_the_requested_one() -> None:
    assert list(relayed_headers([(b"openai-model", b"any")], own_id=None, model="m")) == [(b"openai-model", b"m")]
