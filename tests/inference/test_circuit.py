"""The circuit of one provider: failures, cool-downs, calls in progress; on a clock that a test moves."""

from __future__ import annotations

import pytest

from proxy.backoff import FAILURE_THRESHOLD
from proxy.errors import ApiError, Limited, Unavailable
from proxy.inference.circuit import Circuit
from tests.fakes import FakeClock, config_of, middle

pytestmark = pytest.mark.anyio


def circuit_with(clock: FakeClock, max_in_flight: int = 1000) -> Circuit:
    text = f"providers: [{{name: a, base_url: 'http://127.0.0.1/v1', max_in_flight: {max_in_flight}}}]"
    return Circuit(config_of(text).providers[0], clock, uniform=middle)


def refusal(circuit: Circuit, model: str = "m") -> tuple[type[ApiError], float | None] | None:
    """How a call is refused, None if it is let in."""
    error = circuit.acquire(model)
    return (type(error), error.retry_after) if error else None


def one_call(circuit: Circuit, model: str = "m", *, fails: bool) -> None:
    assert circuit.acquire(model) is None
    if fails:
        circuit.failed()
    else:
        circuit.succeeded()
    circuit.release()


def break_down(circuit: Circuit, model: str = "m") -> None:
    for _ in range(FAILURE_THRESHOLD):
        one_call(circuit, model, fails=True)


def test_five_failures_in_a_row_open_the_circuit_for_30_seconds(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    states = [circuit.state]
    for _ in range(FAILURE_THRESHOLD):
        one_call(circuit, fails=True)
        states.append(circuit.state)

    assert states == ["ok", *["degraded"] * (FAILURE_THRESHOLD - 1), "open"]
    assert refusal(circuit) == (Unavailable, 30.0)


def test_an_answer_in_between_begins_the_count_anew(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for _ in range(FAILURE_THRESHOLD):
        one_call(circuit, fails=True)
        one_call(circuit, fails=False)

    assert circuit.state == "ok"


async def test_when_the_pause_is_over_one_call_alone_is_let_in_to_see(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    await clock.advance(30)
    assert circuit.state == "half_open"
    assert refusal(circuit) is None
    assert (circuit.state, refusal(circuit), refusal(circuit)) == ("half_open", (Unavailable, 1.0), (Unavailable, 1.0))
    circuit.succeeded()

    assert (circuit.state, refusal(circuit)) == ("ok", None)


async def test_calls_from_before_that_end_let_no_second_one_in(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    assert circuit.acquire("m") is None  # a long answer, still under way
    break_down(circuit)
    await clock.advance(30)
    assert refusal(circuit) is None
    circuit.release()

    assert refusal(circuit) == (Unavailable, 1.0)


async def test_a_probe_that_ends_without_a_verdict_is_followed_by_another_one(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    await clock.advance(30)
    assert refusal(circuit) is None
    circuit.release()  # its client left
    assert refusal(circuit) == (Unavailable, 1.0)
    await clock.advance(30)

    assert refusal(circuit) is None


async def test_pauses_grow_with_each_failed_probe_up_to_five_minutes(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    pauses = []
    for _ in range(12):
        refused = circuit.acquire("m")
        assert refused is not None
        assert refused.retry_after is not None
        pauses.append(refused.retry_after)
        await clock.advance(refused.retry_after)
        one_call(circuit, fails=True)

    assert pauses == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_of_a_hundred_calls_that_fail_together_the_circuit_opens_once(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for _ in range(100):
        assert circuit.acquire("m") is None
    for _ in range(100):
        circuit.failed()
        circuit.release()

    assert (circuit.in_flight, refusal(circuit)) == (0, (Unavailable, 30.0))


def test_no_more_calls_are_let_in_than_may_be_under_way(clock: FakeClock) -> None:
    circuit = circuit_with(clock, max_in_flight=2)
    assert [refusal(circuit) for _ in range(3)] == [None, None, (Unavailable, 1.0)]
    assert circuit.in_flight == 2
    circuit.release()

    assert (refusal(circuit), circuit.in_flight) == (None, 2)


async def test_a_circuit_at_its_limit_uses_up_no_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock, max_in_flight=1)
    assert circuit.acquire("m") is None  # a long answer, still under way
    for _ in range(FAILURE_THRESHOLD):
        circuit.failed()
    await clock.advance(30)
    assert refusal(circuit) == (Unavailable, 1.0)
    circuit.release()

    assert refusal(circuit) is None


async def test_a_model_that_is_limited_cools_down_and_no_other_one(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    circuit.cool_down("m", 20)
    await clock.advance(5)
    assert (refusal(circuit, "m"), refusal(circuit, "n")) == ((Limited, 15.0), None)
    assert circuit.state == "limited"
    await clock.advance(15)

    assert (refusal(circuit, "m"), circuit.in_flight, circuit.state) == (None, 2, "ok")


def test_an_open_circuit_is_open_also_while_a_model_cools_down(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    circuit.cool_down("m", 20)
    break_down(circuit, "n")

    assert circuit.state == "open"


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_limit_that_is_over_already_stops_nobody(clock: FakeClock, seconds: float) -> None:
    circuit = circuit_with(clock)
    circuit.cool_down("m", seconds)

    assert refusal(circuit) is None
