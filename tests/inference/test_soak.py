"""A short form of the soak in `benchmarks/soak.py`, which runs for minutes."""

from __future__ import annotations

import pytest

from benchmarks.soak import NOTHING, soak

pytestmark = pytest.mark.anyio
CALLS = 3000


async def test_faults_and_disconnected_clients_leak_no_task_descriptor_queue_entry_or_circuit_slot() -> None:
    left = await soak(calls=CALLS)

    assert left == NOTHING
    assert left.outcomes["left"] > 100
    assert left.outcomes["200"] > 100
    assert {"connection closed"}.isdisjoint(left.outcomes)
