"""When a rate limit ends, by the headers of providers that send no `Retry-After`."""

from __future__ import annotations

import pytest

from proxy.upstream.limit_resets import seconds_in, seconds_until_reset

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800000090000"}, 90.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "2.5"}, 2.5),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30.0),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1800000005"}, 5.0),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:20Z",
                "anthropic-ratelimit-requests-remaining": "7",
                "anthropic-ratelimit-requests-reset": "2027-01-15T09:00:00Z",
            },
            20.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "350ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "7.66s",
            },
            7.66,
        ),
    ],
)
def test_the_last_reset_of_the_exhausted_limits_counts(headers: dict[str, str], seconds: float) -> None:
    assert seconds_until_reset([(name.encode(), value.encode()) for name, value in headers.items()], NOW) == seconds


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-reset-requests": "6m0s"},
        {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"},
        {"x-remaining": "0", "x-reset": "30"},
        {"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "6m0s"},
    ],
)
def test_a_limit_that_is_not_known_to_be_exhausted_does_not_count(headers: dict[str, str]) -> None:
    assert seconds_until_reset([(name.encode(), value.encode()) for name, value in headers.items()], NOW) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1h0m0s", 3600.0),
        ("1d", 86400.0),
        ("0", 0.0),
        ("1700000000", 0.0),
        ("2027-01-15T08:00:01", 1.0),
        ("2027-01-15T08:00:01+08:00", 0.0),
        ("-5", None),
        ("5 s", None),
        ("", None),
        ("nan", None),
        ("9" * 16, None),
        ("٣", None),
    ],
)
def test_durations_numbers_and_times_are_read(value: str, seconds: float | None) -> None:
    assert seconds_in(value, NOW) == seconds
