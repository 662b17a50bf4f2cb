"""The machine's own clock, which everything else is handed."""

from __future__ import annotations

import time

import pytest

from proxy.clock import SystemClock

pytestmark = pytest.mark.anyio


async def test_it_tells_both_times_and_waits_as_long_as_it_is_told() -> None:
    clock = SystemClock()
    begun = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - begun >= 0.02
    assert abs(clock.time() - time.time()) < 1
