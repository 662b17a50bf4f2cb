"""Usage counters by key, provider and model."""

from __future__ import annotations

import pytest

from proxy.telemetry import Tokens, Usage, usage
from proxy.telemetry.usage import FIRST_BYTE_BOUNDS, Counts, Labels

ALICE = Labels("alice", "a", "m")


def buckets(*places: int) -> list[int]:
    return [places.count(place) for place in range(len(FIRST_BYTE_BOUNDS) + 1)]


def test_attempts_are_counted_by_outcome() -> None:
    counters = Usage()
    counters.count(ALICE, "ok", 0.2)
    counters.count(ALICE, "ok", 0.25)
    counters.count(ALICE, "failed")
    counters.count(ALICE._replace(key=""), "client_disconnected")

    alice, anonymous = (counts for _, counts in counters)
    assert alice == Counts({"ok": 2, "failed": 1}, first_byte=buckets(2, 2))
    assert (alice.requests, anonymous) == (3, Counts({"client_disconnected": 1}))


@pytest.mark.parametrize(("seconds", "place"), [(0.0, 0), (0.05, 0), (0.051, 1), (60.0, 9), (60.1, 10), (10_000.0, 10)])
def test_time_to_first_byte_is_counted_in_its_bucket(seconds: float, place: int) -> None:
    counters = Usage()
    counters.count(ALICE, "ok", seconds)

    assert dict(counters)[ALICE].first_byte == buckets(place)


def test_tokens_are_added_up() -> None:
    counters = Usage()
    counters.count(ALICE, "ok", tokens=Tokens(3, 4))
    counters.count(ALICE, "ok", tokens=Tokens(0, 5))

    assert dict(counters) == {ALICE: Counts({"ok": 2}, input_tokens=3, output_tokens=9)}


def test_rows_beyond_the_limit_are_counted_as_other() -> None:
    counters = Usage()
    for number in range(usage.MAX_ROWS + 10):
        counters.count(Labels("alice", "a", f"m{number}"), "ok")
    rows = dict(counters)

    assert len(rows) == usage.MAX_ROWS + 1
    assert rows[Labels("alice", "a", usage.OTHER)].requests == 10
    counters.count(Labels("alice", "a", "m0"), "ok")
    assert rows[Labels("alice", "a", "m0")].requests == 2
