"""Attempts to log in are limited per address."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from proxy.access.attempts import MAX_ADDRESSES, MAX_ATTEMPTS, WINDOW_SECONDS, Attempts, TooMany


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_further_attempts_wait_until_the_window_of_the_first_one_ends() -> None:
    clock = Clock()
    attempts = Attempts(clock.monotonic)

    assert [attempts.reject("192.0.2.1") for _ in range(MAX_ATTEMPTS)] == [None] * MAX_ATTEMPTS
    clock.now += 20
    assert attempts.reject("192.0.2.1") == TooMany(WINDOW_SECONDS - 20, is_first=True)
    assert attempts.reject("192.0.2.1") == TooMany(WINDOW_SECONDS - 20, is_first=False)
    assert attempts.reject("192.0.2.2") is None
    clock.now += WINDOW_SECONDS - 20
    assert attempts.reject("192.0.2.1") is None


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("", "", True),
        ("x" * 64, "x" * 65, True),
    ],
)
def test_addresses_that_one_client_can_choose_count_as_one(one: str, other: str, is_same: bool) -> None:
    attempts = Attempts(Clock().monotonic)
    attempts.reject(one, 1)

    assert bool(attempts.reject(other, 1)) == is_same


def test_the_table_of_addresses_is_bounded() -> None:
    clock = Clock()
    attempts = Attempts(clock.monotonic)
    for number in range(MAX_ADDRESSES + 1):
        attempts.reject(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)

    assert attempts.reject("10.0.0.1", 1)
    assert attempts.reject("10.0.0.0", 1) is None  # the first one was dropped
