"""Verdicts on provider errors: one table of statuses, one of failures without a usable response."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.errors import (
    ApiError,
    CallErrorKind,
    ProviderAuthFailed,
    ProviderFailed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    RelayedError,
    UpstreamError,
)
from proxy.inference.provider_errors import ErrorResponse, Verdict, classify, unusable

BODY = {"error": {"message": "max_tokens is too large"}}
FAILOVER_ON = frozenset({429, 503})
KEY = "sk-canary-of-the-provider-1"


def rejected(status: int, **fields: Any) -> ErrorResponse:
    return ErrorResponse(status, fields.pop("headers", {}), msgspec.json.encode(fields.pop("payload", BODY)), **fields)


def summary(verdict: Verdict) -> tuple[type[ApiError], int, bool, bool, str, str]:
    """Class and status of the caller's error, failover, circuit, outcome, log."""
    error = verdict.error
    return type(error), error.status, verdict.fail_over, verdict.trips, verdict.outcome, verdict.reason


@pytest.mark.parametrize(
    ("status", "error", "shown", "fail_over", "trips", "outcome", "reason"),
    [
        (301, ProviderRejected, 502, False, False, "failed", "status 301"),
        (400, RelayedError, 400, False, False, "rejected", ""),
        (401, ProviderAuthFailed, 502, False, False, "failed", "status 401"),
        (402, ProviderAuthFailed, 502, False, False, "failed", "status 402"),
        (403, ProviderAuthFailed, 502, False, False, "failed", "status 403"),
        (404, ProviderRejected, 502, False, False, "failed", "status 404"),
        (408, ProviderTimeout, 504, False, False, "failed", "status 408"),
        (409, ProviderRejected, 502, False, False, "failed", "status 409"),
        (413, RelayedError, 413, False, False, "rejected", ""),
        (418, ProviderRejected, 502, False, False, "failed", "status 418"),
        (422, RelayedError, 422, False, False, "rejected", ""),
        (429, RelayedError, 429, True, False, "rate_limited", ""),
        (500, ProviderFailed, 502, False, False, "failed", "status 500"),
        (501, ProviderFailed, 502, False, False, "failed", "status 501"),
        (502, ProviderFailed, 502, False, True, "failed", "status 502"),
        (503, ProviderUnavailable, 503, True, True, "failed", "status 503"),
        (504, ProviderTimeout, 504, False, True, "failed", "status 504"),
        (529, ProviderUnavailable, 503, False, True, "failed", "status 529"),
        (599, ProviderFailed, 502, False, False, "failed", "status 599"),
    ],
)
def test_each_status_has_one_verdict(
    status: int, error: type[ApiError], shown: int, fail_over: bool, trips: bool, outcome: str, reason: str
) -> None:
    verdict = classify(rejected(status), FAILOVER_ON)

    assert summary(verdict) == (error, shown, fail_over, trips, outcome, reason)


@pytest.mark.parametrize(
    ("kind", "retryable", "error", "shown", "fail_over", "outcome"),
    [
        ("no_connection", False, ProviderFailed, 502, True, "failed"),
        ("login", True, ProviderFailed, 502, True, "failed"),
        ("login", False, ProviderAuthFailed, 502, True, "failed"),
        ("no_response", False, ProviderFailed, 502, False, "failed"),
        ("invalid_response", False, ProviderFailed, 502, False, "failed"),
        ("timeout", False, ProviderTimeout, 504, False, "timeout"),
        ("interrupted", False, ProviderFailed, 502, False, "interrupted"),
        ("stalled", False, ProviderTimeout, 504, False, "timeout"),
    ],
)
def test_each_failure_trips_the_circuit_and_fails_over_only_if_no_work_was_done(
    kind: CallErrorKind, retryable: bool, error: type[ApiError], shown: int, fail_over: bool, outcome: str
) -> None:
    verdict = classify(UpstreamError(kind, "reason", retryable=retryable), FAILOVER_ON)

    assert summary(verdict) == (error, shown, fail_over, True, outcome, "reason")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (rejected(301), "returned a redirect (status 301), which is not followed; contact the proxy's administrator."),
        (rejected(401), "rejected the proxy's credential (status 401); contact the proxy's administrator."),
        (rejected(404), "rejected the request (status 404); it may not have this endpoint or this model."),
        (rejected(405), "rejected the request (status 405); it may not have this endpoint or this model."),
        (rejected(409), "rejected the request (status 409)."),
        (rejected(408), "timed out (status 408)."),
        (rejected(500), "returned a server error (status 500)."),
        (rejected(503), "is unavailable (status 503); retry after 1 s."),
        (rejected(503, retry_after=19.5), "is unavailable (status 503); retry after 20 s."),
        (UpstreamError("login", "reason"), "rejected the proxy's login; contact the proxy's administrator."),
        (UpstreamError("no_response", "reason"), "closed the connection without a valid response."),
        (unusable("br"), "returned an unusable response (unsupported content-encoding)."),
        (UpstreamError("timeout", ""), "timed out before sending a response."),
        (UpstreamError("interrupted", ""), "closed the connection mid-response."),
        (UpstreamError("stalled", ""), "timed out mid-response."),
    ],
)
def test_the_callers_message_contains_what_happened(failure: ErrorResponse | UpstreamError, message: str) -> None:
    assert classify(failure, ()).error.message == f"The provider of this model {message}"


@pytest.mark.parametrize("failure", [rejected(404), UpstreamError("timeout", "")])
def test_failover_on_adds_failures_that_fail_over(failure: ErrorResponse | UpstreamError) -> None:
    assert [classify(failure, on).fail_over for on in ((), (404, "timeout"))] == [False, True]


@pytest.mark.parametrize(
    ("status", "retry_after", "shown", "cool_down"),
    [
        (429, None, None, 0.0),
        (429, 20.0, 20.0, 20.0),
        (503, None, 1.0, 0.0),
        (503, 20.0, 20.0, 0.0),
        (500, 20.0, 20.0, 0.0),
        (404, 20.0, None, 0.0),
    ],
)
def test_retry_after_reaches_the_caller_and_only_a_429_cools_down(
    status: int, retry_after: float | None, shown: float | None, cool_down: float
) -> None:
    verdict = classify(rejected(status, retry_after=retry_after), ())

    assert (verdict.error.retry_after, verdict.cool_down) == (shown, cool_down)


def test_an_error_about_the_request_is_relayed_byte_for_byte() -> None:
    body = b' {"error": {"message": "caf\\u00e9 org-1234567890", "n": 1.00}}\n'
    error = classify(ErrorResponse(400, {}, body, secrets=(KEY,), credentials=(KEY,)), ()).error

    assert isinstance(error, RelayedError)
    assert error.body == body


@pytest.mark.parametrize("status", [400, 413, 422, 429])
def test_a_relayed_error_shows_no_secret(status: int) -> None:
    payload = {"error": {"message": f"what is {KEY} for?", KEY: [KEY, 1]}}
    error = classify(rejected(status, payload=payload, credentials=(KEY,)), ()).error

    assert isinstance(error, RelayedError)
    assert msgspec.json.decode(error.body) == {"error": {"message": "what is *** for?", "***": ["***", 1]}}


@pytest.mark.parametrize(
    ("status", "expected"), [(400, (RelayedError, "invalid_request")), (429, (RateLimited, "rate_limit_exceeded"))]
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"cut', b"[" * 5000, b'{"x":"' + b"y" * 300_000 + b'"}'])
def test_a_body_other_than_a_json_object_is_replaced(
    body: bytes, status: int, expected: tuple[type[ApiError], str]
) -> None:
    error = classify(ErrorResponse(status, {}, body), ()).error

    assert (type(error), error.code) == expected


def test_a_compressed_body_is_replaced() -> None:
    error = classify(rejected(429, headers={"Content-Encoding": "gzip"}), ()).error

    assert type(error) is RateLimited


@pytest.mark.parametrize(("header", "expected"), [("true", True), ("false", False), ("perhaps", None), (None, None)])
def test_x_should_retry_of_the_provider_is_relayed(header: str | None, expected: bool | None) -> None:
    headers = {"x-should-retry": header} if header else {}

    assert classify(rejected(429, headers=headers), ()).error.should_retry is expected


@pytest.mark.parametrize(
    ("coding", "reason"),
    [
        ("", None),
        ("gzip", None),
        ("x-gzip", None),
        ("br", "returned an unusable response (unsupported content-encoding)"),
        ("gzip, gzip", "returned an unusable response (unsupported content-encoding)"),
    ],
)
def test_encodings_other_than_gzip_are_unusable(coding: str, reason: str | None) -> None:
    failure = unusable(coding)

    assert (failure.reason if failure else None) == reason


@pytest.mark.parametrize(("status", "error"), [(400, RelayedError), (429, RateLimited)])
def test_a_too_deeply_nested_body_is_replaced(status: int, error: type[ApiError]) -> None:
    """At any depth that a decoder accepts the verdict must not raise: the circuit would count the call forever."""
    for depth in (100, 500, 900, 2000):
        body = b'{"error":' + b"[" * depth + b'"x"' + b"]" * depth + b"}"
        verdict = classify(ErrorResponse(status, {}, body), FAILOVER_ON)

        assert isinstance(verdict.error, (error, RelayedError))
        assert verdict.error.status == status
