"""Cooperative computations: batches, and the two ways to run them."""

from __future__ import annotations

import asyncio

import pytest

from proxy.cooperative import BATCH_SIZE, Cooperative, batched, run_now, run_yielding

pytestmark = pytest.mark.anyio


def three_steps(log: list[str], name: str) -> Cooperative[str]:
    for step in range(3):
        log.append(f"{name}{step}")
        yield
    return name


def test_batched_keeps_order_and_remainder() -> None:
    items = list(range(2 * BATCH_SIZE + 1))

    assert list(batched(items)) == [tuple(items[:50]), tuple(items[50:100]), (100,)]
    assert list(batched([])) == []


def test_run_now_returns_the_result() -> None:
    log: list[str] = []

    assert (run_now(three_steps(log, "a")), log) == ("a", ["a0", "a1", "a2"])


async def test_run_yielding_interleaves_with_other_tasks() -> None:
    log: list[str] = []
    results = await asyncio.gather(run_yielding(three_steps(log, "a")), run_yielding(three_steps(log, "b")))

    assert (list(results), log) == (["a", "b"], ["a0", "b0", "a1", "b1", "a2", "b2"])


async def test_run_yielding_can_be_canceled_between_steps() -> None:
    log: list[str] = []
    work = asyncio.create_task(run_yielding(three_steps(log, "a")))
    await asyncio.sleep(0)
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work
    assert log == ["a0"]
