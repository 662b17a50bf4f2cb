"""The headers that report limits, and the durations in them."""

from __future__ import annotations

import pytest

from proxy.asgi import headers_of
from proxy.limits.admission import Admission
from proxy.wire.limit_headers import anthropic_limit_lines, duration, openai_limit_lines

ADMISSION = Admission(2, 0.0, (600, 599, 60.0), (1000, 0, 59.5), None, None)


def test_the_lines_of_both_apis_are_headers() -> None:
    assert headers_of(openai_limit_lines(ADMISSION, lambda: 0.0)) == [
        (b"x-ratelimit-limit-requests", b"600"),
        (b"x-ratelimit-remaining-requests", b"599"),
        (b"x-ratelimit-reset-requests", b"1m0s"),
        (b"x-ratelimit-limit-tokens", b"1000"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"59.5s"),
    ]
    assert headers_of(anthropic_limit_lines(ADMISSION, lambda: 1_800_000_000.0)) == [
        (b"anthropic-ratelimit-requests-limit", b"600"),
        (b"anthropic-ratelimit-requests-remaining", b"599"),
        (b"anthropic-ratelimit-requests-reset", b"2027-01-15T08:01:00Z"),
        (b"anthropic-ratelimit-tokens-limit", b"1000"),
        (b"anthropic-ratelimit-tokens-remaining", b"0"),
        (b"anthropic-ratelimit-tokens-reset", b"2027-01-15T08:00:59Z"),
    ]


def test_callers_without_limits_of_a_kind_get_no_headers_of_it() -> None:
    nothing = Admission(0, 0.0, None, None, None, None)
    assert openai_limit_lines(nothing, lambda: 0.0) == anthropic_limit_lines(nothing, lambda: 0.0) == b""
    assert headers_of(b"") == []


def test_a_debt_that_is_paid_after_the_last_time_is_reported_with_this_time() -> None:
    in_debt = Admission(0, 0.0, None, (1, 0, 1e15), None, None)
    headers = dict(headers_of(anthropic_limit_lines(in_debt, lambda: 1_800_000_000.0)))
    assert headers[b"anthropic-ratelimit-tokens-reset"] == b"9999-12-31T23:59:59Z"


def test_durations_are_the_same_after_more_of_them_than_are_kept() -> None:
    texts = [duration(seconds) for seconds in range(60, 3000)]
    assert [duration(seconds) for seconds in range(60, 3000)] == texts
    assert (texts[0], texts[-1]) == (b"1m0s", b"49m59s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, b"0s"),
        (0.0404, b"40ms"),
        (1.0, b"1s"),
        (59.5, b"59.5s"),
        (59.9994, b"59.999s"),
        (59.999999999, b"1m0s"),
        (60.0, b"1m0s"),
        (3599.7, b"1h0m0s"),
        (90061.0, b"25h1m1s"),
    ],
)
def test_durations_are_written_as_openais_api_does(seconds: float, text: bytes) -> None:
    assert duration(seconds) == text
