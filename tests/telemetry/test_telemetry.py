"""Events are passed to observers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from sys import getrefcount

import pytest

from proxy.errors import BadRequest, ProviderFailed, ProviderTimeout, RateLimited, ShuttingDown
from proxy.telemetry import CallRecord, Observer, Outcome, Telemetry, Tokens
from proxy.telemetry.events import (
    CallGroup,
    CallOutcome,
    CircuitChange,
    EndedRequest,
    ModelsChange,
    RefusedRequest,
    Request,
    grouped,
)
from proxy.telemetry.telemetry import LONG_NAME, MAX_COLLECTED

CHANGE = CircuitChange("a", None, None, "ok", "open")


def record() -> CallRecord:
    return CallRecord("id-1", "POST", "/v1/chat/completions", "openai", "alice", "10.0.0.1", b"", began=5.0)


def request(call: CallRecord | None = None, status: int = 0) -> RefusedRequest:
    return RefusedRequest(status, "", b"id-1", "10.0.0.1", began=5.0, call=call)


class Requests(Observer):
    """Records requests and calls as tuples."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def request_ended(self, request: Request, seconds: float) -> None:
        self.seen.append((request.status, seconds))

    def call_ended(self, call: CallRecord) -> None:
        self.seen.append(call)


class Batches(Observer):
    """Records batches of requests and calls."""

    def __init__(self) -> None:
        self.seen: list[Sequence[object]] = []

    def requests_ended(self, requests: Sequence[EndedRequest]) -> None:
        self.seen.append(requests)

    def calls_ended(self, groups: Sequence[CallGroup]) -> None:
        self.seen.append(groups)


class Faulty(Observer):
    def circuit_changed(self, change: CircuitChange) -> None:
        raise ValueError("-".join(("sk", "canary")))


class Circuits(Observer):
    def __init__(self) -> None:
        self.seen: list[CircuitChange] = []

    def circuit_changed(self, change: CircuitChange) -> None:
        self.seen.append(change)


def test_a_request_ends_with_its_status_and_duration() -> None:
    requests, telemetry = Requests(), Telemetry(lambda: 7.5)
    telemetry.add(requests)
    telemetry.request_ended(request(status=401))

    assert requests.seen == [(401, 2.5)]


def test_a_call_ends_after_its_request_with_the_same_status_and_duration() -> None:
    requests, telemetry, call = Requests(), Telemetry(lambda: 7.5), record()
    telemetry.add(requests)
    call.status = 200
    telemetry.request_ended(request(call))

    assert requests.seen == [(200, 2.5), call]
    assert (call.status, call.seconds) == (200, 2.5)


def test_a_request_without_a_response_has_status_499() -> None:
    requests, telemetry, call = Requests(), Telemetry(lambda: 7.5), record()
    telemetry.add(requests)
    telemetry.request_ended(request())
    telemetry.request_ended(request(call))

    assert requests.seen == [(499, 2.5), (499, 2.5), call]
    assert call.status == 499


def test_requests_and_calls_are_collected_until_they_are_flushed() -> None:
    batches, telemetry, call = Batches(), Telemetry(lambda: 7.5), record()
    telemetry.add(batches)
    telemetry.request_ended(request(call, status=200))
    telemetry.request_ended(request(status=401))
    assert batches.seen == []

    batches.flush()
    batches.flush()

    assert batches.seen == [[(("", "", 200, ""), 2.5), (("", "", 401, ""), 2.5)], grouped([call])]


def test_many_requests_and_many_calls_are_passed_on_at_once() -> None:
    batches, telemetry = Batches(), Telemetry(lambda: 7.5)
    telemetry.add(batches)
    for _ in range(MAX_COLLECTED + 1):
        telemetry.request_ended(request(record()))

    requests, (group,) = batches.seen
    assert isinstance(group, CallGroup)
    assert (len(requests), group.calls) == (MAX_COLLECTED, MAX_COLLECTED - 1)


def test_calls_with_the_same_labels_are_one_group_with_their_sums() -> None:
    first, other, last = record(), record(), record()
    first.failovers, first.input_tokens, first.output_tokens, first.seconds, first.first_byte = 1, 20, 3, 1.5, 0.5
    last.failovers, last.input_tokens, last.output_tokens, last.seconds = 2, 40, 5, 2.5
    other.outcome, other.is_known = "timeout", True

    assert grouped([first, other, last]) == [
        CallGroup("alice", "", "", "ok", False, 2, 3, 60, 8, [1.5, 2.5], [0.5]),
        CallGroup("alice", "", "", "timeout", True, 1, 0, 0, 0, [0.0], []),
    ]


def test_a_call_with_a_long_name_is_passed_on_at_once_and_not_kept() -> None:
    counts, telemetry, call = Observer(), Telemetry(lambda: 7.5), record()
    telemetry.add(counts)
    call.model = "x" * (LONG_NAME + 1)
    telemetry.request_ended(request(call))

    assert getrefcount(call) == 2  # that of this function, and of the argument


def test_an_observer_gets_nothing_that_ended_before_it_was_added() -> None:
    batches, telemetry = Batches(), Telemetry(lambda: 7.5)
    telemetry.request_ended(request())
    telemetry.add(batches)
    telemetry.flush()

    assert batches.seen == []


def test_an_observer_that_fails_is_logged_once_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    circuits, telemetry = Circuits(), Telemetry(lambda: 0.0)
    telemetry.add(Faulty())
    telemetry.add(circuits)
    telemetry.circuit_changed(CHANGE)
    telemetry.circuit_changed(CHANGE)

    assert circuits.seen == [CHANGE, CHANGE]
    assert len(caplog.records) == 1
    assert "ValueError" in caplog.text
    assert "sk-canary" not in caplog.text


def test_events_without_an_observer_are_ignored() -> None:
    telemetry = Telemetry(lambda: 0.0)
    telemetry.add(Observer())
    telemetry.request_ended(request(record()))
    telemetry.attempt_ended(record(), "a", "ok", 0.5, Tokens())
    telemetry.models_changed(ModelsChange("a", ["m"], []))


@pytest.mark.parametrize(
    ("attempt", "outcome", "error"),
    [
        ("ok", "ok", ""),
        ("rejected", "rejected", ""),
        ("client_disconnected", "client_disconnected", ""),
        ("interrupted", "stream_broken", "provider_failed"),
        ("timeout", "stream_broken", "timeout"),
        ("shut_down", "shut_down", ""),
    ],
)
def test_a_call_has_the_outcome_of_its_last_attempt(attempt: Outcome, outcome: CallOutcome, error: str) -> None:
    call = record()
    call.attempt_ended("failed", Tokens(1, 1))
    call.attempt_ended(attempt, Tokens(3, 4))

    assert (call.outcome, call.error, call.input_tokens, call.output_tokens) == (outcome, error, 3, 4)


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (BadRequest("no"), "rejected", "invalid_request"),
        (RateLimited("later"), "rate_limited", "rate_limit_exceeded"),
        (ProviderTimeout("late"), "timeout", "timeout"),
        (ProviderFailed("broken"), "failed", "provider_failed"),
        (ShuttingDown(), "shut_down", "shutting_down"),
    ],
)
def test_an_error_that_was_sent_decides_on_the_outcome(
    error: BadRequest | ProviderFailed, outcome: CallOutcome, code: str
) -> None:
    call = record()
    call.attempt_ended("interrupted", Tokens())
    call.failed(error)

    assert (call.outcome, call.error) == (outcome, code)


def test_an_error_within_a_stream_breaks_it() -> None:
    call, error = record(), ProviderFailed("broken")
    error.provider = "b"
    call.failed(error, is_broken=True)

    assert (call.outcome, call.error, call.provider) == ("stream_broken", "provider_failed", "b")


def test_a_failover_forgets_the_failure_before_it() -> None:
    call = record()
    call.attempt_ended("interrupted", Tokens())
    call.reason = "broken or unusable response"
    call.failed_over()

    assert (call.outcome, call.error, call.reason, call.failovers) == ("ok", "", "", 1)
    call.disconnected()
    assert call.outcome == "client_disconnected"


def test_a_client_that_disconnects_after_an_error_keeps_the_outcome_of_the_error() -> None:
    call = record()
    call.failed(RateLimited("later"))
    call.disconnected()

    assert call.outcome == "rate_limited"
