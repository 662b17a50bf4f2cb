"""The way to one provider: breaker, cool-downs, calls under way; on a clock that stands still."""

from __future__ import annotations

import pytest

from proxy.backoff import FAILURE_THRESHOLD
from proxy.errors import ApiError, Limited, Unavailable
from proxy.inference.circuit import Circuit
from tests.fakes import FakeClock, config_of, middle

pytestmark = pytest.mark.anyio


def line_of(clock: FakeClock, most: int = 1000) -> Circuit:
    text = f"providers: [{{name: a, base_url: 'http://127.0.0.1/v1', max_in_flight: {most}}}]"
    return Circuit(config_of(text).providers[0], clock, uniform=middle)


def refusal(line: Circuit, model: str = "m") -> tuple[type[ApiError], float | None] | None:
    """How a call is refused, None if it is let in."""
    error = line.acquire(model)
    return (type(error), error.retry_after) if error else None


def one_call(line: Circuit, *, fails: bool) -> None:
    assert line.acquire("m") is None
    if fails:
        line.failed()
    else:
        line.succeeded()
    line.release()


def break_down(line: Circuit) -> None:
    for _ in range(FAILURE_THRESHOLD):
        one_call(line, fails=True)


def test_five_failures_in_a_row_open_the_breaker_for_30_seconds(clock: FakeClock) -> None:
    line = line_of(clock)
    for _ in range(FAILURE_THRESHOLD - 1):
        one_call(line, fails=True)
    assert line.breaker == "closed"
    one_call(line, fails=True)

    assert (line.breaker, refusal(line)) == ("open", (Unavailable, 30.0))


def test_an_answer_in_between_begins_the_count_anew(clock: FakeClock) -> None:
    line = line_of(clock)
    for _ in range(FAILURE_THRESHOLD):
        one_call(line, fails=True)
        one_call(line, fails=False)

    assert line.breaker == "closed"


async def test_when_the_pause_is_over_one_call_alone_is_let_in_to_see(clock: FakeClock) -> None:
    line = line_of(clock)
    break_down(line)
    await clock.advance(30)
    assert line.breaker == "half_open"
    assert refusal(line) is None
    assert (line.breaker, refusal(line), refusal(line)) == ("half_open", (Unavailable, 1.0), (Unavailable, 1.0))
    line.succeeded()

    assert (line.breaker, refusal(line)) == ("closed", None)


async def test_calls_from_before_that_end_let_no_second_one_in(clock: FakeClock) -> None:
    line = line_of(clock)
    assert line.acquire("m") is None  # a long answer, still under way
    break_down(line)
    await clock.advance(30)
    assert refusal(line) is None
    line.release()

    assert refusal(line) == (Unavailable, 1.0)


async def test_a_probe_that_ends_without_a_verdict_is_followed_by_another_one(clock: FakeClock) -> None:
    line = line_of(clock)
    break_down(line)
    await clock.advance(30)
    assert refusal(line) is None
    line.release()  # its client left
    assert refusal(line) == (Unavailable, 1.0)
    await clock.advance(30)

    assert refusal(line) is None


async def test_pauses_grow_with_each_failed_probe_up_to_five_minutes(clock: FakeClock) -> None:
    line = line_of(clock)
    break_down(line)
    pauses = []
    for _ in range(12):
        refused = line.acquire("m")
        assert refused is not None
        assert refused.retry_after is not None
        pauses.append(refused.retry_after)
        await clock.advance(refused.retry_after)
        one_call(line, fails=True)

    assert pauses == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_of_a_hundred_calls_that_fail_together_the_breaker_opens_once(clock: FakeClock) -> None:
    line = line_of(clock)
    for _ in range(100):
        assert line.acquire("m") is None
    for _ in range(100):
        line.failed()
        line.release()

    assert (line.in_flight, refusal(line)) == (0, (Unavailable, 30.0))


def test_no_more_calls_are_let_in_than_may_be_under_way(clock: FakeClock) -> None:
    line = line_of(clock, most=2)
    assert [refusal(line) for _ in range(3)] == [None, None, (Unavailable, 1.0)]
    assert line.in_flight == 2
    line.release()

    assert (refusal(line), line.in_flight) == (None, 2)


async def test_a_full_line_uses_up_no_probe(clock: FakeClock) -> None:
    line = line_of(clock, most=1)
    assert line.acquire("m") is None  # a long answer, still under way
    for _ in range(FAILURE_THRESHOLD):
        line.failed()
    await clock.advance(30)
    assert refusal(line) == (Unavailable, 1.0)
    line.release()

    assert refusal(line) is None


async def test_a_model_that_is_limited_cools_down_and_no_other_one(clock: FakeClock) -> None:
    line = line_of(clock)
    line.cool_down("m", 20)
    await clock.advance(5)
    assert (refusal(line, "m"), refusal(line, "n")) == ((Limited, 15.0), None)
    await clock.advance(15)

    assert (refusal(line, "m"), line.in_flight) == (None, 2)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_limit_that_is_over_already_stops_nobody(clock: FakeClock, seconds: float) -> None:
    line = line_of(clock)
    line.cool_down("m", seconds)

    assert refusal(line) is None
