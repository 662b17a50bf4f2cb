"""The system clock."""

from __future__ import annotations

import time

import pytest

from proxy.clock import SystemClock

pytestmark = pytest.mark.anyio


async def test_the_system_clock_returns_both_times_and_sleeps() -> None:
    clock = SystemClock()
    started = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - started >= 0.02
    assert abs(clock.time() - time.time()) < 1
