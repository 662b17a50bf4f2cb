"""Hints that arrive before a process listens."""

from __future__ import annotations

import pytest

from proxy.sharing.recent_hints import KEPT_SECONDS, MAX_KEPT, Listener, RecentHints
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio


async def test_the_first_callback_gets_what_was_announced_before(clock: FakeClock) -> None:
    listener = Listener(clock.monotonic)
    listener.receive(b"old", 0.0)
    await clock.advance(KEPT_SECONDS - 10)
    listener.receive(b"open", 5.0)
    await clock.advance(10)
    first: list[tuple[bytes, float]] = []
    second: list[tuple[bytes, float]] = []
    listener.listen(lambda hint, age: first.append((hint, age)))
    listener.receive(b"later", 0.0)
    listener.listen(lambda hint, age: second.append((hint, age)))
    listener.receive(b"last", 1.0)

    assert (first, second) == ([(b"open", 15.0), (b"later", 0.0)], [(b"last", 1.0)])


def test_the_latest_hints_are_kept(clock: FakeClock) -> None:
    recent = RecentHints(clock.monotonic)
    for number in range(MAX_KEPT + 1):
        recent.add(b"%d" % number)

    assert [hint for hint, _ in recent.each] == [b"%d" % number for number in range(1, MAX_KEPT + 1)]
