"""The durations in limit headers."""

from __future__ import annotations

import pytest

from proxy.wire.limit_headers import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, b"0s"),
        (0.0404, b"40ms"),
        (1.0, b"1s"),
        (59.5, b"59.5s"),
        (60.0, b"1m0s"),
        (3599.7, b"1h0m0s"),
        (90061.0, b"25h1m1s"),
    ],
)
def test_durations_are_written_as_openais_api_does(seconds: float, text: bytes) -> None:
    assert duration(seconds) == text
