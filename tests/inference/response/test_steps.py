"""Long work on a response is divided into turns of 0.2 ms."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.inference.deadline import CallScope, DeadlineTimer
from proxy.inference.response.steps import STEP, send_fed

pytestmark = pytest.mark.anyio


class Scope:
    """A call whose work on each step takes 0.09 ms."""

    def __init__(self, *, turns_are_taken: bool) -> None:
        self.turns_are_taken = turns_are_taken
        self.precise_now = 0.0
        self.done: list[str] = []

    def feed(self, piece: bytes) -> bytes:
        self.precise_now += 0.00009
        self.done.append("step")
        return piece

    async def send(self, data: bytes) -> None:
        self.done.append(f"send {len(data) // STEP}")

    async def next_turn(self) -> None:
        self.done.append("turn")


async def work(steps: int, *, turns_are_taken: bool = False) -> list[str]:
    scope: Any = Scope(turns_are_taken=turns_are_taken)
    await send_fed(scope, scope.feed, b"x" * STEP * steps, scope.send)
    return list(scope.done)


async def test_others_continue_after_each_turn_and_what_was_done_is_sent_before() -> None:
    turn = ["step", "step", "step", "send 3", "turn"]

    assert await work(7) == [*turn, *turn, "step", "send 1"]


async def test_a_call_waits_first_if_others_wait_for_their_turn() -> None:
    assert await work(2, turns_are_taken=True) == ["turn", "step", "step", "send 2"]


async def test_a_short_piece_waits_for_nobody() -> None:
    assert await work(1, turns_are_taken=True) == ["step", "send 1"]


async def test_turns_are_measured_in_less_than_milliseconds() -> None:
    """The clock of the event loop counts milliseconds."""
    scope = CallScope(DeadlineTimer(), lambda left: lambda: None, 60)
    differences = []
    for _ in range(100):
        first = later = scope.precise_now
        while later == first:
            later = scope.precise_now
        differences.append(later - first)

    assert min(differences) < 0.0001
