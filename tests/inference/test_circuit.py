"""The circuit of one provider: failures, cool-downs, calls in progress; with a fake clock."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest

from proxy.backoff import FAILURE_THRESHOLD
from proxy.config import Provider
from proxy.errors import ApiError, ProviderUnavailable, RateLimited
from proxy.inference.breaker import MAX_MODELS
from proxy.inference.circuit import Circuit
from proxy.states import BreakerState, OpenCircuit
from proxy.telemetry.message_fields import CircuitFields
from proxy.upstream.key_pool import KeyPool
from tests.fakes import FakeClock, config_of, middle

pytestmark = pytest.mark.anyio


NOBODY = ""
"""Instead of the name of a key."""


def circuit_with(clock: FakeClock, max_in_flight: int = 1000) -> Circuit:
    return circuit_and_keys(clock, max_in_flight)[0]


def provider_with(max_in_flight: int) -> Provider:
    text = f"providers: [{{name: a, base_url: 'http://127.0.0.1/v1', max_in_flight: {max_in_flight}}}]"
    return config_of(text).providers[0]


def circuit_and_keys(clock: FakeClock, max_in_flight: int = 1000) -> tuple[Circuit, KeyPool]:
    provider = provider_with(max_in_flight)
    keys = KeyPool(provider, clock)
    return Circuit(provider, clock, keys, uniform=middle), keys


def rejection(circuit: Circuit, model: str = "m", key: str = NOBODY) -> tuple[type[ApiError], float | None] | None:
    """The class and `retry_after` of the error, None if the call is accepted."""
    error = circuit.acquire(key, model)
    return (type(error), error.retry_after) if error else None


def message(error: ApiError | None) -> str | None:
    return error.message if error else None


def call_once(circuit: Circuit, model: str = "m", key: str = NOBODY, *, fails: bool) -> None:
    assert circuit.acquire(key, model) is None
    if fails:
        circuit.failed(key, model)
    else:
        circuit.succeeded(model)
    circuit.release(key)


def break_down(circuit: Circuit, model: str = "m") -> None:
    for _ in range(FAILURE_THRESHOLD):
        call_once(circuit, model, fails=True)


def state_of(circuit: Circuit, model: str = "m") -> BreakerState:
    """The state of a model's breaker for calls without a key."""
    return next((each.state for each in circuit.open_circuits if (each.model, each.key) == (model, NOBODY)), "ok")


def test_five_failures_in_a_row_open_the_circuit_for_30_seconds(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    states = [(circuit.state, state_of(circuit))]
    for _ in range(FAILURE_THRESHOLD):
        call_once(circuit, fails=True)
        states.append((circuit.state, state_of(circuit)))

    assert states == [("ok", "ok"), *[("degraded", "ok")] * (FAILURE_THRESHOLD - 1), ("degraded", "open")]
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
    assert state_of(circuit) == "half_open"
    assert rejection(circuit) is None
    assert (state_of(circuit), rejection(circuit), rejection(circuit)) == (
        "half_open",
        (ProviderUnavailable, 1.0),
        (ProviderUnavailable, 1.0),
    )
    circuit.succeeded("m")

    assert (circuit.state, rejection(circuit)) == ("ok", None)


async def test_earlier_calls_that_end_allow_no_second_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    assert circuit.acquire(NOBODY, "m") is None  # a long response, still in progress
    break_down(circuit)
    await clock.advance(30)
    assert rejection(circuit) is None
    circuit.release(NOBODY)

    assert rejection(circuit) == (ProviderUnavailable, 1.0)


async def test_a_probe_without_a_result_is_followed_by_another_one(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    await clock.advance(30)
    assert rejection(circuit) is None
    circuit.release(NOBODY)  # its client disconnected
    assert rejection(circuit) == (ProviderUnavailable, 1.0)
    await clock.advance(30)

    assert rejection(circuit) is None


async def test_the_open_time_grows_with_each_failed_probe_up_to_five_minutes(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    break_down(circuit)
    pauses = []
    for _ in range(12):
        error = circuit.acquire(NOBODY, "m")
        assert error is not None
        assert error.retry_after is not None
        pauses.append(error.retry_after)
        await clock.advance(error.retry_after)
        call_once(circuit, fails=True)

    assert pauses == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_a_hundred_concurrent_failures_open_the_circuit_once(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for _ in range(100):
        assert circuit.acquire(NOBODY, "m") is None
    for _ in range(100):
        circuit.failed(NOBODY, "m")
        circuit.release(NOBODY)

    assert (circuit.in_flight, rejection(circuit)) == (0, (ProviderUnavailable, 30.0))


def test_calls_above_max_in_flight_are_rejected(clock: FakeClock) -> None:
    circuit = circuit_with(clock, max_in_flight=2)
    assert [rejection(circuit) for _ in range(3)] == [None, None, (ProviderUnavailable, 1.0)]
    assert circuit.in_flight == 2
    circuit.release(NOBODY)

    assert (rejection(circuit), circuit.in_flight) == (None, 2)


def test_errors_contain_the_reason_and_the_seconds_to_the_next_try(clock: FakeClock) -> None:
    circuit, keys = circuit_and_keys(clock, max_in_flight=1)
    keys.limited("", "n", 14.2, NOBODY)
    assert circuit.acquire(NOBODY, "m") is None
    limits = [message(circuit.acquire(NOBODY, "n")), message(circuit.acquire(NOBODY, "m"))]
    circuit.release(NOBODY)
    break_down(circuit)

    assert [*limits, message(circuit.acquire(NOBODY, "m"))] == [
        "The provider is rate-limiting this model; retry after 15 s.",
        "The provider of this model is at its concurrency limit (max_in_flight); retry after 1 s.",
        "The provider of this model is unavailable (circuit breaker open); retry after 30 s.",
    ]


async def test_a_circuit_at_its_concurrency_limit_uses_no_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock, max_in_flight=1)
    assert circuit.acquire(NOBODY, "m") is None  # a long response, still in progress
    for _ in range(FAILURE_THRESHOLD):
        circuit.failed(NOBODY, "m")
    await clock.advance(30)
    assert rejection(circuit) == (ProviderUnavailable, 1.0)
    circuit.release(NOBODY)

    assert rejection(circuit) is None


async def test_only_the_rate_limited_model_cools_down(clock: FakeClock) -> None:
    circuit, keys = circuit_and_keys(clock)
    keys.limited("", "m", 20, NOBODY)
    await clock.advance(5)
    assert (rejection(circuit, "m"), rejection(circuit, "n")) == ((RateLimited, 15.0), None)
    assert circuit.state == "limited"
    await clock.advance(15)

    assert (rejection(circuit, "m"), circuit.in_flight, circuit.state) == (None, 2, "ok")


def test_an_open_circuit_is_open_while_a_model_cools_down(clock: FakeClock) -> None:
    circuit, keys = circuit_and_keys(clock)
    keys.limited("", "m", 20, NOBODY)
    unreachable(circuit, "n")

    assert circuit.state == "open"


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_cool_down_of_zero_seconds_has_no_effect(clock: FakeClock, seconds: float) -> None:
    circuit, keys = circuit_and_keys(clock)
    keys.limited("", "m", seconds, NOBODY)

    assert rejection(circuit) is None


def unreachable(circuit: Circuit, model: str = "m") -> None:
    """Open the circuit by missing connections."""
    for _ in range(FAILURE_THRESHOLD):
        assert circuit.acquire(NOBODY, model) is None
        circuit.failed(NOBODY, model, is_unreachable=True)
        circuit.release(NOBODY)


async def test_each_change_of_the_circuit_is_logged_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    circuit = circuit_with(clock)
    assert circuit.acquire(NOBODY, "m") is None  # fails after the others
    break_down(circuit)
    circuit.failed(NOBODY, "m")
    rejection(circuit)
    await clock.advance(30)
    assert rejection(circuit) is None
    circuit.release(NOBODY)  # its client disconnected
    await clock.advance(30)
    call_once(circuit, fails=True)
    await clock.advance(60)
    call_once(circuit, fails=False)
    call_once(circuit, fails=False)

    prefix = "provider a, model 'm', calls without a key: circuit breaker of calls "
    assert caplog.messages == [
        f"{prefix}open after 5 failures in a row; next attempt in 30 s",
        f"{prefix}half-open: this call is a probe",
        f"{prefix}open after 6 failures in a row; next attempt in 60 s",
        f"{prefix}half-open: this call is a probe",
        f"{prefix}closed",
    ]
    states: list[BreakerState] = ["ok", "open", "half_open", "open", "half_open", "ok"]
    assert [vars(record)["fields"] for record in caplog.records] == [
        CircuitFields("a", "m", NOBODY, before, after) for before, after in pairwise(states)
    ]


async def test_a_fetched_list_allows_a_probe_immediately_if_there_was_no_connection(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    circuit = circuit_with(clock)
    unreachable(circuit)
    circuit.reached("its list was fetched")
    circuit.reached("its list was fetched")
    assert (circuit.state, rejection(circuit), rejection(circuit)) == ("half_open", None, (ProviderUnavailable, 1.0))
    circuit.reached("its list was fetched")
    assert rejection(circuit) == (ProviderUnavailable, 1.0), "one probe at a time"

    assert caplog.messages[1:] == [
        "provider a: circuit breaker of calls half-open: its list was fetched; the next call is a probe"
    ]


async def test_a_fetched_list_allows_a_probe_right_after_a_failed_probe(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    unreachable(circuit)
    await clock.advance(30)
    assert circuit.acquire(NOBODY, "m") is None
    circuit.failed(NOBODY, "m", is_unreachable=True)
    circuit.release(NOBODY)
    circuit.reached("its list was fetched")

    assert rejection(circuit) is None


@pytest.mark.parametrize("failures", [0, FAILURE_THRESHOLD - 1, FAILURE_THRESHOLD])
def test_a_fetched_list_does_not_change_other_states(clock: FakeClock, failures: int) -> None:
    circuit = circuit_with(clock)
    for _ in range(failures):
        call_once(circuit, fails=True)
    state = circuit.state, circuit.open_circuits
    circuit.reached("its list was fetched")

    assert (circuit.state, circuit.open_circuits) == state


def test_a_model_that_works_leaves_no_state(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for key in ("alice", "bob"):
        for _ in range(4):
            circuit.failed(key, "m")
    assert circuit.open_circuits == [OpenCircuit("m", None, "open")]
    circuit.succeeded("m")

    assert (circuit.state, circuit.open_circuits, rejection(circuit)) == ("ok", [], None)


def test_failures_are_counted_for_a_limited_number_of_models(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for number in range(MAX_MODELS + 10):
        for _ in range(FAILURE_THRESHOLD):
            circuit.failed(NOBODY, f"m{number}")

    assert [each.model for each in circuit.open_circuits] == [f"m{number}" for number in range(10, MAX_MODELS + 10)]


async def test_no_key_sends_all_probes(clock: FakeClock) -> None:
    circuit = circuit_with(clock)
    for key in ("alice", "alice", "alice", "bob", "bob"):
        circuit.failed(key, "m")
    await clock.advance(30)
    assert rejection(circuit, key="alice") is None  # a probe that hangs
    assert rejection(circuit, key="bob") == (ProviderUnavailable, 1.0)
    await clock.advance(1)

    assert rejection(circuit, key="alice") == (ProviderUnavailable, 1.0)
    assert rejection(circuit, key="bob") is None


# -- slots of one key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "is_shared", "limit"), [(7, True, 7), (8, True, 7), (1000, True, 875), (1000, False, 1000)]
)
def test_one_key_of_several_gets_at_most_seven_of_eight_slots(
    slots: int, is_shared: bool, limit: int, clock: FakeClock
) -> None:
    provider = provider_with(slots)
    circuit = Circuit(provider, clock, KeyPool(provider, clock), is_shared=is_shared)
    started = 0
    while circuit.has_slot("alice") and circuit.acquire("alice", "m") is None:
        started += 1

    assert started == limit
    assert circuit.has_slot("bob") is (limit < slots)
    assert isinstance(circuit.acquire("alice", "m"), ProviderUnavailable)


def test_a_changed_configuration_changes_how_many_slots_a_key_gets(clock: FakeClock) -> None:
    provider = provider_with(8)
    keys = KeyPool(provider, clock)
    circuit = Circuit(provider, clock, keys)
    for _ in range(7):
        circuit.acquire("alice", "m")
    had_slot = circuit.has_slot("alice")
    circuit.configure(provider, keys, is_shared=True)

    assert (had_slot, circuit.has_slot("alice"), circuit.has_slot("bob")) == (True, False, True)


def changed(settings: str) -> Provider:
    return config_of(f"providers: [{{name: a, base_url: 'http://127.0.0.1/v1', {settings}}}]").providers[0]


def test_a_changed_concurrency_limit_counts_the_calls_in_progress(clock: FakeClock) -> None:
    circuit, keys = circuit_and_keys(clock, max_in_flight=3)
    for _ in range(3):
        assert circuit.acquire(NOBODY, "m") is None
    circuit.configure(changed("max_in_flight: 1"), keys, is_shared=False)
    assert (circuit.in_flight, circuit.is_full) == (3, True)
    circuit.release(NOBODY)
    circuit.release(NOBODY)
    assert (circuit.in_flight, circuit.is_full) == (1, True)
    circuit.configure(changed("max_in_flight: 2"), keys, is_shared=False)
    assert (circuit.in_flight, circuit.is_full) == (1, False)


def test_failures_are_kept_unless_the_address_or_the_credential_changes(clock: FakeClock) -> None:
    circuit, keys = circuit_and_keys(clock)
    call_once(circuit, fails=True)
    states = []
    for settings in ("max_in_flight: 5", "max_in_flight: 5, api_key: sk-fake-new"):
        circuit.configure(changed(settings), keys, is_shared=False)
        states.append(circuit.state)
    assert states == ["degraded", "ok"]
