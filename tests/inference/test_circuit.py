"""The circuit of one provider: failures, cool-downs, calls in progress; with a fake clock."""

from __future__ import annotations

import logging

import pytest

from proxy.backoff import FAILURE_THRESHOLD
from proxy.errors import ApiError, ProviderUnavailable, RateLimited
from proxy.inference.circuit import Circuit
from tests.fakes import FakeClock, config_of, middle

pytestmark = pytest.mark.anyio


def circuit_with(clock: FakeClock, max_in_flight: int = 1000) -> Circuit:
    text = f"providers: [{{name: a, base_url: 'http://127.0.0.1/v1', max_in_flight: {max_in_flight}}}]"
    return Circuit(config_of(text).providers[0], clock, uniform=middle)


def rejection(circuit: Circuit, model: str = "m") -> tuple[type[ApiError], float | None] | None:
    """The class and `retry_after` of the error, None if the call is accepted."""
    error = circuit.acquire(model)
    return (type(error), error.retry_after) if error else None


def message(error: ApiError | None) -> str | None:
    return error.message if error else None


def call_once(circuit: Circuit, model: str = "m", *, fails: bool) -> None:
    assert circuit.acquire(model) is None
    if fails:
        circuit.failed()
    else:
        circuit.succeeded()
    circuit.release()


def break_down(circuit: Circuit, model: str = "m") -> None:
    for _ in range(FAILURE_THRESHOLD):
        call_once(circuit, model, fails=True)


def test_five_failures_in_a_row_open_the_circuit_for_30_seconds(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    states = [circuit.state]
    for _ in range(FAILURE_THRESHOLD):
        call_once(circuit, fails=True)
        states.append(circuit.state)

    assert states == ["ok", *["degraded"] * (FAILURE_THRESHOLD - 1), "open"]
    assert rejection(circuit) == (ProviderUnavailable, 30.0)


def test_a_success_resets_the_failure_count(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for _ in range(FAILURE_THRESHOLD):
        call_once(circuit, fails=True)
        call_once(circuit, fails=False)

    assert circuit.state == "ok"


async def test_a_half_open_circuit_allows_one_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    await clock.advance(30)
    assert circuit.state == "half_open"
    assert rejection(circuit) is None
    assert (circuit.state, rejection(circuit), rejection(circuit)) == (
        "half_open",
        (ProviderUnavailable, 1.0),
        (ProviderUnavailable, 1.0),
    )
    circuit.succeeded()

    assert (circuit.state, rejection(circuit)) == ("ok", None)


async def test_earlier_calls_that_end_allow_no_second_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    assert circuit.acquire("m") is None  # a long response, still in progress
    break_down(circuit)
    await clock.advance(30)
    assert rejection(circuit) is None
    circuit.release()

    assert rejection(circuit) == (ProviderUnavailable, 1.0)


async def test_a_probe_without_a_result_is_followed_by_another_one(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    await clock.advance(30)
    assert rejection(circuit) is None
    circuit.release()  # its client disconnected
    assert rejection(circuit) == (ProviderUnavailable, 1.0)
    await clock.advance(30)

    assert rejection(circuit) is None


async def test_the_open_time_grows_with_each_failed_probe_up_to_five_minutes(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    pauses = []
    for _ in range(12):
        error = circuit.acquire("m")
        assert error is not None
        assert error.retry_after is not None
        pauses.append(error.retry_after)
        await clock.advance(error.retry_after)
        call_once(circuit, fails=True)

    assert pauses == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_a_hundred_concurrent_failures_open_the_circuit_once(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for _ in range(100):
        assert circuit.acquire("m") is None
    for _ in range(100):
        circuit.failed()
        circuit.release()

    assert (circuit.in_flight, rejection(circuit)) == (0, (ProviderUnavailable, 30.0))


def test_calls_above_max_in_flight_are_rejected(clock: FakeClock) -> None:
    circuit = circuit_with(clock, max_in_flight=2)
    assert [rejection(circuit) for _ in range(3)] == [None, None, (ProviderUnavailable, 1.0)]
    assert circuit.in_flight == 2
    circuit.release()

    assert (rejection(circuit), circuit.in_flight) == (None, 2)


def test_errors_contain_the_reason_and_the_seconds_to_the_next_try(clock: FakeClock) -> None:
    circuit = circuit_with(clock, max_in_flight=1)
    circuit.cool_down("n", 14.2)
    assert circuit.acquire("m") is None
    limits = [message(circuit.acquire("n")), message(circuit.acquire("m"))]
    circuit.release()
    break_down(circuit)

    assert [*limits, message(circuit.acquire("m"))] == [
        "The provider is rate-limiting this model; retry after 15 s.",
        "The provider of this model is at its concurrency limit (max_in_flight); retry after 1 s.",
        "The provider of this model is unavailable (circuit breaker open); retry after 30 s.",
    ]


async def test_a_circuit_at_its_concurrency_limit_uses_no_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock, max_in_flight=1)
    assert circuit.acquire("m") is None  # a long response, still in progress
    for _ in range(FAILURE_THRESHOLD):
        circuit.failed()
    await clock.advance(30)
    assert rejection(circuit) == (ProviderUnavailable, 1.0)
    circuit.release()

    assert rejection(circuit) is None


async def test_only_the_rate_limited_model_cools_down(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    circuit.cool_down("m", 20)
    await clock.advance(5)
    assert (rejection(circuit, "m"), rejection(circuit, "n")) == ((RateLimited, 15.0), None)
    assert circuit.state == "limited"
    await clock.advance(15)

    assert (rejection(circuit, "m"), circuit.in_flight, circuit.state) == (None, 2, "ok")


def test_an_open_circuit_is_open_while_a_model_cools_down(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    circuit.cool_down("m", 20)
    break_down(circuit, "n")

    assert circuit.state == "open"


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_cool_down_of_zero_seconds_has_no_effect(clock: FakeClock, seconds: float) -> None:
    circuit = circuit_with(clock)
    circuit.cool_down("m", seconds)

    assert rejection(circuit) is None


def unreachable(circuit: Circuit) -> None:
    """Open the circuit by missing connections."""
    for _ in range(FAILURE_THRESHOLD):
        assert circuit.acquire("m") is None
        circuit.failed(is_unreachable=True)
        circuit.release()


async def test_each_change_of_the_circuit_is_logged_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    circuit = circuit_with(clock)
    assert circuit.acquire("m") is None  # fails after the others
    break_down(circuit)
    circuit.failed()
    rejection(circuit)
    await clock.advance(30)
    assert rejection(circuit) is None
    circuit.release()  # its client disconnected
    await clock.advance(30)
    call_once(circuit, fails=True)
    await clock.advance(60)
    call_once(circuit, fails=False)
    call_once(circuit, fails=False)

    assert caplog.messages == [
        "provider a: circuit breaker of calls open after 5 failures in a row; next attempt in 30 s",
        "provider a: circuit breaker of calls half-open: this call is a probe",
        "provider a: circuit breaker of calls open after 6 failures in a row; next attempt in 60 s",
        "provider a: circuit breaker of calls half-open: this call is a probe",
        "provider a: circuit breaker of calls closed",
    ]


async def test_a_fetched_list_allows_a_probe_immediately_if_there_was_no_connection(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    circuit = circuit_with(clock)
    unreachable(circuit)
    circuit.list_fetched()
    circuit.list_fetched()
    assert (circuit.state, rejection(circuit), rejection(circuit)) == ("half_open", None, (ProviderUnavailable, 1.0))
    circuit.list_fetched()
    assert rejection(circuit) == (ProviderUnavailable, 1.0), "one probe at a time"

    assert caplog.messages[1:] == [
        "provider a: circuit breaker of calls half-open: its list was fetched; the next call is a probe"
    ]


async def test_a_fetched_list_allows_a_probe_right_after_a_failed_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    unreachable(circuit)
    await clock.advance(30)
    assert circuit.acquire("m") is None
    circuit.failed(is_unreachable=True)
    circuit.release()
    circuit.list_fetched()

    assert rejection(circuit) is None


@pytest.mark.parametrize("failures", [0, FAILURE_THRESHOLD - 1, FAILURE_THRESHOLD])
def test_a_fetched_list_does_not_change_other_states(clock: FakeClock, failures: int) -> None:
    circuit = circuit_with(clock)
    for _ in range(failures):
        call_once(circuit, fails=True)
    state = circuit.state
    circuit.list_fetched()

    assert circuit.state == state
