"""Verdicts on provider errors: one table of statuses, one of failures without a usable response."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from proxy.config import Provider
from proxy.errors import (
    ApiError,
    CallErrorKind,
    ProviderAuthFailed,
    ProviderFailed,
    ProviderOutOfCredit,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RelayedError,
    UpstreamError,
)
from proxy.inference import error_content
from proxy.inference.error_content import MAX_BYTES, decompressed, only_error
from proxy.inference.error_redaction import Redaction
from proxy.inference.provider_errors import classify, most_useful, unusable
from proxy.inference.verdict import ErrorResponse, Verdict

BODY = {"error": {"message": "max_tokens is too large"}}
FAILOVER_ON = Provider.model_fields["failover_on"].default
KEY = "sk-canary-of-the-provider-1"
WITHOUT_MESSAGE = "The provider of this model rejected the request without an error message."


def rejected(status: int, *, payload: object = BODY, **fields: Any) -> ErrorResponse:
    return ErrorResponse(status, payload if isinstance(payload, bytes) else msgspec.json.encode(payload), **fields)


def relayed(failure: ErrorResponse) -> RelayedError:
    error = classify(failure, ()).error
    assert isinstance(error, RelayedError)
    return error


def summary(verdict: Verdict) -> tuple[type[ApiError], int, bool, bool, str, str]:
    """Class and status of the caller's error, failover, circuit, outcome, log."""
    error = verdict.error
    return type(error), error.status, verdict.fail_over, verdict.trips, verdict.outcome, verdict.reason


@pytest.mark.parametrize(
    ("status", "error", "shown", "fail_over", "trips", "outcome", "is_logged"),
    [
        (301, ProviderRejected, 502, False, False, "failed", True),
        (400, RelayedError, 400, False, False, "rejected", False),
        (401, ProviderAuthFailed, 502, True, False, "failed", True),
        (402, ProviderOutOfCredit, 502, True, False, "failed", True),
        (403, ProviderAuthFailed, 502, False, False, "failed", True),
        (404, RelayedError, 404, True, False, "rejected", True),
        (405, ProviderRejected, 502, True, False, "failed", True),
        (408, ProviderTimeout, 504, False, False, "failed", True),
        (409, RelayedError, 409, False, False, "rejected", False),
        (410, RelayedError, 410, False, False, "rejected", True),
        (413, RelayedError, 413, False, False, "rejected", False),
        (415, RelayedError, 415, False, False, "rejected", False),
        (418, RelayedError, 418, False, False, "rejected", False),
        (422, RelayedError, 422, False, False, "rejected", False),
        (424, RelayedError, 424, False, False, "rejected", False),
        (429, RelayedError, 429, True, False, "rate_limited", False),
        (451, RelayedError, 451, False, False, "rejected", False),
        (500, ProviderFailed, 502, False, False, "failed", True),
        (501, ProviderRejected, 502, True, False, "failed", True),
        (502, ProviderFailed, 502, False, True, "failed", True),
        (503, ProviderUnavailable, 503, True, True, "failed", True),
        (504, ProviderTimeout, 504, False, True, "failed", True),
        (505, ProviderRejected, 502, False, False, "failed", True),
        (529, ProviderUnavailable, 503, True, True, "failed", True),
        (599, ProviderFailed, 502, False, False, "failed", True),
    ],
)
def test_each_status_has_one_verdict(
    status: int, error: type[ApiError], shown: int, fail_over: bool, trips: bool, outcome: str, is_logged: bool
) -> None:
    verdict = classify(rejected(status), FAILOVER_ON)

    reason = f"status {status}: max_tokens is too large" if is_logged else ""
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


def test_missing_descriptors_of_the_proxy_trip_no_circuit() -> None:
    verdict = classify(UpstreamError("no_descriptor", "reason"), FAILOVER_ON)

    assert summary(verdict) == (ProviderFailed, 502, True, False, "failed", "reason")


@pytest.mark.parametrize(
    ("condition", "kind", "retryable"),
    [("no_connection", "no_connection", True), ("no_connection", "login", True), (401, "login", False),
     ("timeout", "timeout", False)],
)  # fmt: skip
def test_a_failure_fails_over_only_on_its_condition(condition: int | str, kind: CallErrorKind, retryable: bool) -> None:
    failure = UpstreamError(kind, "reason", retryable=retryable)

    assert classify(failure, {condition}).fail_over
    others: list[int | str] = ["no_connection", 401, "timeout"]
    others.remove(condition)
    assert not classify(failure, others).fail_over


@pytest.mark.parametrize(
    ("status", "on", "fail_over"),
    [
        (502, {"stream_error"}, True),
        (500, {"stream_error"}, True),
        (502, {503}, False),
        (502, {502}, True),
        (400, {"stream_error"}, False),
        (422, {"stream_error"}, False),
    ],
)
def test_an_error_in_a_success_fails_over_on_stream_error_unless_it_is_about_the_request(
    status: int, on: set[int | str], fail_over: bool
) -> None:
    assert classify(rejected(status, is_in_success=True), on).fail_over is fail_over


NOT_THERE, LIMITED = RelayedError(404, "no such model"), RelayedError(429, "slow down", retry_after=20)
NO_CREDIT, BUSY = ProviderOutOfCredit("no credit"), ProviderUnavailable("busy", retry_after=30)
FAILED = ProviderFailed("connection failed")


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        pytest.param([BUSY, LIMITED, FAILED], LIMITED, id="the shortest retry_after"),
        pytest.param([NOT_THERE, FAILED, NO_CREDIT], FAILED, id="one that can succeed at a retry"),
        pytest.param([NO_CREDIT, NOT_THERE, NO_CREDIT], NOT_THERE, id="a message about the request"),
        pytest.param([ProviderAuthFailed("no key"), NO_CREDIT], NO_CREDIT, id="the last one"),
        pytest.param([NOT_THERE], NOT_THERE, id="the only one"),
    ],
)
def test_the_most_useful_error_of_all_providers_is_returned(errors: list[ApiError], expected: ApiError) -> None:
    assert most_useful(errors) is expected


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (rejected(301), "returned a redirect (status 301), which is not followed; contact the proxy's administrator."),
        (rejected(401), "rejected the proxy's credential (status 401); contact the proxy's administrator."),
        (rejected(404, payload=b""), "rejected the request (status 404); it may not have this endpoint or this model."),
        (rejected(405), "rejected the request (status 405); it may not have this endpoint."),
        (rejected(406, payload=b""), "rejected the request (status 406)."),
        (rejected(409, payload={}), "rejected the request without an error message."),
        (rejected(408), "timed out (status 408)."),
        (rejected(501), "does not support this request (status 501)."),
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
        (404, 20.0, 20.0, 0.0),
        (405, 20.0, None, 0.0),
        (429, 3 * 86400.0, 3 * 86400.0, 3 * 86400.0),
    ],
)
def test_retry_after_reaches_the_caller_and_only_a_429_cools_down(
    status: int, retry_after: float | None, shown: float | None, cool_down: float
) -> None:
    verdict = classify(rejected(status, retry_after=retry_after), ())

    assert (verdict.error.retry_after, verdict.cool_down) == (shown, cool_down)


# -- errors about the request ------------------------------------------------------------------------------------------


def test_a_json_object_is_relayed_byte_for_byte() -> None:
    body = b' {"error": {"message": "caf\\u00e9 of 2026-12-01, task-1234567890", "n": 1.00}}\n'

    assert relayed(rejected(400, payload=body, secrets=(KEY,), credentials=(KEY,))).body == body


@pytest.mark.parametrize("status", [400, 404, 422, 429])
def test_a_relayed_error_shows_no_secret(status: int) -> None:
    payload = {"error": {"message": f"what is {KEY} for?", KEY: [KEY, 1]}}
    error = relayed(rejected(status, payload=payload, credentials=(KEY,)))

    assert msgspec.json.decode(error.body) == {"error": {"message": "what is *** for?", "***": ["***", 1]}}
    assert error.message == "what is *** for?"


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"error": {"message": "word " * 50_000}}, id="a message"),
        pytest.param({"error": {"message": "no", "details": ["a"] * 60_000}}, id="many values"),
        pytest.param({"error": {"message": "no", "type": "t" * 200_000}}, id="a type"),
        pytest.param(b"a\n" * 130_000, id="lines"),
        pytest.param(b'data: {"a":1}\n\n' * 17_000, id="events"),
        pytest.param(b'{"a":1}\n' * 32_000, id="JSON lines"),
    ],
)
def test_of_a_long_error_only_a_part_is_read_and_redacted(payload: object, monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[int] = []

    def record(owner: object, name: str, cost: Callable[[str], int]) -> None:
        original = getattr(owner, name)

        def recorded(*given: Any) -> object:
            work.append(cost(given[-1]))
            return original(*given)

        monkeypatch.setattr(owner, name, recorded)

    record(Redaction, "log_text", lambda text: len(text) + 100)
    record(error_content, "decode_or_none", lambda text: 4)
    verdict = classify(rejected(429, payload=payload), ())

    assert sum(work) < 60_000
    assert len(verdict.error.message) <= 16 * 1024


GEMINI = {"error": {"code": 400, "message": "Cannot find field.", "status": "INVALID_ARGUMENT"}}
PAGE = b"<html><head><title>400 Bad Request</title></head><body><h1>nginx</h1></body></html>"


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        pytest.param([GEMINI], "Cannot find field.", "INVALID_ARGUMENT", id="an array"),
        pytest.param("Input validation error", "Input validation error", "invalid_request", id="a JSON string"),
        pytest.param(b"Line one\nline two", "Line one\nline two", "invalid_request",
                     id="plain text"),
        pytest.param(PAGE, "400 Bad Request", "invalid_request", id="a page"),
        pytest.param(b'event: error\ndata: {"type":"error","error":{"type":"t","message":"no"}}\n\n', "no",
                     "invalid_request", id="an event"),
        pytest.param(b'data: {"error":\r\ndata: {"message":"no","code":"c"}}', "no", "c", id="an event in two lines"),
        pytest.param(b': hi\n\ndata: {"a":1}\n\ndata: {"error":"late"}\n\ndata: [DONE]\n\n', "late",
                     "invalid_request", id="a later event"),
        pytest.param(b'{"a":1}\n{"error":{"message":"no"}}\n', "no", "invalid_request", id="JSON lines"),
        pytest.param(b'{"error":{"message":"cut o', '{"error":{"message":"cut o', "invalid_request", id="cut off"),
        pytest.param(b"", WITHOUT_MESSAGE, "invalid_request", id="nothing"),
        pytest.param([1], WITHOUT_MESSAGE, "invalid_request", id="no message"),
        pytest.param(b"\x00\x01\xff\xfe", WITHOUT_MESSAGE, "invalid_request", id="binary data"),
        pytest.param(b"\x1f\x8b broken", WITHOUT_MESSAGE, "invalid_request", id="broken gzip"),
    ],
)  # fmt: skip
def test_the_message_of_any_other_body_is_relayed_in_the_format_of_the_path(
    body: object, words: str, code: str
) -> None:
    error = relayed(rejected(400, payload=body))

    assert (error.body, error.message, error.code) == (b"", words, code)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(gzip.compress(msgspec.json.encode(BODY)), id="gzip"),
        pytest.param(b"\xef\xbb\xbf" + msgspec.json.encode(BODY), id="a byte order mark"),
        pytest.param(msgspec.json.encode(msgspec.json.encode(BODY).decode()), id="encoded twice"),
    ],
)
def test_the_json_object_within_a_body_is_relayed(body: bytes) -> None:
    assert relayed(rejected(400, payload=body)).body == msgspec.json.encode(BODY)


def test_a_decompression_bomb_is_read_only_up_to_the_limit() -> None:
    assert len(decompressed(gzip.compress(bytes(50_000_000)))) == MAX_BYTES


def test_the_type_and_code_of_a_rate_limit_without_a_body_are_those_of_rate_limits() -> None:
    error = relayed(rejected(429, payload=b"", retry_after=7))

    assert (error.type, error.code, error.message) == (
        "rate_limit_error",
        "rate_limit_exceeded",
        "The provider is rate-limiting this model; retry after 7 s.",
    )


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(
            {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}}, id="moderation"
        ),
        pytest.param({"error": {"code": 403, "metadata": {"flagged_input": "the words"}}}, id="flagged input"),
        pytest.param({"error": {"code": "unsupported_country_region_territory", "message": "no"}}, id="a region"),
        pytest.param({"error": {"type": "content_policy_violation", "message": "no"}}, id="a policy"),
        pytest.param(
            {"code": "permission-denied", "error": "Content violates usage guidelines. Failed check: x"}, id="words"
        ),
        pytest.param([{"error": {"code": "content_filter", "message": "no"}}], id="an array"),
    ],
)
def test_a_403_about_the_request_is_relayed(payload: object) -> None:
    verdict = classify(rejected(403, payload=payload), ())

    assert summary(verdict) == (RelayedError, 403, False, False, "rejected", "")


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"code": "permission-denied", "error": "Access to the chat endpoint is denied"}, id="access"),
        pytest.param({"error": {"code": "model_not_found", "message": "no access to the model"}}, id="a model"),
        pytest.param({"error": {"code": 403, "metadata": {"reasons": []}}}, id="no reasons"),
        pytest.param(b"<html><title>403 Forbidden</title>", id="a page"),
    ],
)
def test_any_other_403_is_about_the_credential(payload: object) -> None:
    assert type(classify(rejected(403, payload=payload), ()).error) is ProviderAuthFailed


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}),
        (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
        (403, {"code": "insufficient_user_quota", "message": "quota is not enough"}),
        (403, {"code": "AllocationQuota.FreeTierOnly", "message": "The free tier of the model has been exhausted."}),
        (403, {"code": "AccountOverdueError", "message": "overdue"}),
        (403, {"code": "insufficient_quota", "message": "You exceeded your current quota"}),
        (403, {"message": "Your team has either used all available credits or reached its monthly spending limit."}),
        (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
    ],
)
def test_an_account_without_credit_is_recognized_under_other_statuses(status: int, error: dict[str, object]) -> None:
    verdict = classify(rejected(status, payload={"error": error}), FAILOVER_ON)

    assert summary(verdict)[:-1] == (ProviderOutOfCredit, 502, True, False, "failed")
    assert (f"(status {status})" in verdict.error.message, verdict.cause) == (True, f"status {status}")


@pytest.mark.parametrize("status", [400, 403])
def test_a_request_about_credit_is_no_account_without_credit(status: int) -> None:
    payload = {
        "error": {"type": "invalid_request_error", "message": "balance is not a parameter of the tool `credits`"}
    }

    assert type(classify(rejected(status, payload=payload), ()).error) is not ProviderOutOfCredit


IDS = {"mine": "gpt-4o-2024-08-06", "g": "gemini-x", "plain": "default", "same": "same"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The model `gpt-4o-2024-08-06` does not exist.", "The model `mine` does not exist."),
        ("'gpt-4o-2024-08-06', \"gpt-4o-2024-08-06\".", "'mine', \"mine\"."),
        ("model:gpt-4o-2024-08-06 gpt-4o-2024-08-06-x", "model:mine gpt-4o-2024-08-06-x"),
        ("models/gemini-x is not found, x-gemini-x, a/gemini-x", "models/g is not found, x-gemini-x, a/gemini-x"),
        ("by default, model 'default' same", "by default, model 'plain' same"),
    ],
)
def test_the_providers_model_id_becomes_the_requested_one(text: str, shown: str) -> None:
    payload = {"error": {"message": text, "param": "model"}, "model": "default", "type": "default"}
    error = relayed(rejected(404, payload=payload, ids=IDS))

    assert error.message == shown
    assert msgspec.json.decode(error.body) == {
        "error": {"message": shown, "param": "model"},
        "model": "plain",
        "type": "default",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model gpt-5.", "model smart."),
        ("`gpt-5-2025-08-07`: no", "`smart`: no"),
        ("at openai/gpt-5:online, not my-gpt-5", "at openai/smart, not my-gpt-5"),
        ("gpt-5-mini is gpt-5.1", "small is smart"),
    ],
)
def test_of_a_virtual_model_longer_forms_of_the_providers_id_become_the_requested_one_too(
    text: str, shown: str
) -> None:
    ids = {"smart": "gpt-5", "small": "gpt-5-mini"}

    assert relayed(rejected(400, payload={"error": {"message": text}}, ids=ids, hides_ids=True)).message == shown


def test_the_log_has_the_providers_model_id_on_one_line_and_no_secret() -> None:
    payload = {"error": {"message": f"no {KEY}\nfor\x1b gemini-x in org-AbCdEf123456"}}
    verdict = classify(rejected(401, payload=payload, ids=IDS, credentials=(KEY,)), ())

    assert verdict.reason == "status 401: no *** for gemini-x in ***"
    assert verdict.error.message.startswith("The provider of this model rejected the proxy's credential")


def test_account_ids_in_members_are_redacted() -> None:
    payload = {"error": {"message": "no"}, "user_id": "abc", "accountId": 17, "request_id": "req_0123456789", "n": 17}

    assert msgspec.json.decode(relayed(rejected(400, payload=payload)).body) == {
        **payload,
        "user_id": "***",
        "accountId": "***",
    }


# -- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 429, 401, 503])
def test_retry_and_rate_limit_headers_and_the_request_id_are_relayed_with_every_error(status: int) -> None:
    headers = [
        (b"Retry-After", b"Fri, 15 Jan 2027 08:00:07 GMT"),
        (b"Retry-After-Ms", b"350"),
        (b"X-RateLimit-Reset-Tokens", b"350ms"),
        (b"Content-Type", b"text/plain"),
        (b"X-Should-Retry", b"true"),
        (b"OpenAI-Organization", b"org-1"),
    ]
    error = classify(rejected(status, headers=headers, request_id="req_up"), ()).error

    assert error.headers == [
        (b"retry-after", b"Fri, 15 Jan 2027 08:00:07 GMT"),
        (b"retry-after-ms", b"350"),
        (b"x-ratelimit-reset-tokens", b"350ms"),
        (b"x-upstream-request-id", b"req_up"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "sent", "should_retry"),
    [
        (429, "rate_limit_exceeded", b"true", True),
        (429, "rate_limit_exceeded", b"false", False),
        (409, None, b"false", False),
        (500, None, b"false", False),
        (401, None, b"true", False),
        (429, "rate_limit_exceeded", b"perhaps", None),
        (429, "rate_limit_exceeded", None, None),
        (429, "insufficient_quota", None, False),
        (409, None, None, True),
        (424, None, None, True),
        (400, None, None, None),
        (500, None, None, None),
        (501, None, None, False),
        (402, None, None, False),
        (403, None, None, False),
    ],
)
def test_x_should_retry_is_the_providers_unless_a_retry_is_useless(
    status: int, code: str | None, sent: bytes | None, should_retry: bool | None
) -> None:
    headers = [(b"X-Should-Retry", sent)] if sent else []
    payload = {"error": {"message": "no", "code": code}}

    assert classify(rejected(status, payload=payload, headers=headers), ()).error.should_retry is should_retry


# -- errors with status 200 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"error": {"code": 502, "message": "no"}}, 502, id="a code"),
        pytest.param({"error": {"code": "429", "message": "no"}, "user_id": "u"}, 429, id="a code as a text"),
        pytest.param({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, 529, id="a type"),
        pytest.param({"error": {"status": "NOT_FOUND", "message": "no"}}, 404, id="a name of a status"),
        pytest.param([{"error": {"status": "RESOURCE_EXHAUSTED", "message": "no"}}], 429, id="Gemini's array"),
        pytest.param({"object": "error", "message": "no", "type": "NotFoundError", "code": 404}, 404, id="vLLM"),
        pytest.param({"code": 500004, "message": "no", "error": {"code": "429", "message": "no"}}, 429, id="ctyun"),
        pytest.param({"success": False, "message": "no", "data": None, "code": 500}, 500, id="New-API"),
        pytest.param({"base_resp": {"status_code": 1008, "status_msg": "no"}}, 402, id="MiniMax"),
        pytest.param(
            {
                "id": "1",
                "choices": None,
                "usage": {"total_tokens": 0},
                "base_resp": {"status_code": 1002, "status_msg": "no"},
            },
            429,
            id="MiniMax with an id",
        ),
        pytest.param({"base_resp": {"status_code": 1, "status_msg": "no"}}, None, id="MiniMax with another code"),
        pytest.param({"code": "InvalidApiKey", "message": "no", "request_id": "r"}, 401, id="Model Studio"),
        pytest.param(
            {"request_id": "r", "code": "Throttling.RateQuota", "message": "no"}, 429, id="Model Studio, limit"
        ),
        pytest.param({"error_code": 17, "error_msg": "no"}, None, id="Qianfan"),
        pytest.param({"code": 20012, "message": "no", "data": None}, None, id="SiliconFlow"),
        pytest.param({"detail": "no"}, None, id="FastAPI"),
        pytest.param(
            {"success": False, "errors": [{"code": 7003, "message": "no"}], "result": None}, None, id="Cloudflare"
        ),
        pytest.param(
            {"id": "c1", "model": "m", "error": {"code": 502, "message": "no"}}, 502, id="OpenRouter with an id"
        ),
        pytest.param(
            {"id": "", "object": "chat.completion", "choices": [], "error": {"code": 503, "message": "no"}},
            503,
            id="a completion without choices",
        ),
    ],
)
def test_a_body_with_nothing_but_an_error_names_its_status(body: object, status: int | None) -> None:
    content = only_error(b" \n" + msgspec.json.encode(body))

    assert content is not None
    assert (content.status, content.message) == (status, "no")


def test_an_error_without_a_status_is_relayed_with_its_message_as_502_and_trips_nothing() -> None:
    body = b'{"error":"Input is too long"}'
    content = only_error(body)
    verdict = classify(rejected(502, payload=body, is_status_known=False), ())

    assert content is not None
    assert content.status is None
    assert summary(verdict) == (RelayedError, 502, False, False, "failed", "status 502: Input is too long")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"error":null,"id":"resp_1","output":[]}', id="a response"),
        pytest.param(b'{"error":null}', id="null"),
        pytest.param(b'{"error":{"code":"x"},"id":"resp_1","status":"failed","output":[]}', id="a failed response"),
        pytest.param(b'{"id":"b1","object":"batch","status":"failed","errors":{"data":[{"code":"x"}]}}', id="a batch"),
        pytest.param(b'{"id":"t1","status":"failed","error":"no"}', id="a failed task"),
        pytest.param(b'{"id":"c1","choices":[{"error":{"code":502}}],"error":{"code":502}}', id="a part of an answer"),
        pytest.param(b'{"code":0,"message":"ok","data":null}', id="a success"),
        pytest.param(b'{"code":200,"message":"done"}', id="a success with a status"),
        pytest.param(b'{"code":"Success","message":"no news"}', id="a success with a name"),
        pytest.param(b'{"success":true,"message":"deleted"}', id="a success with a flag"),
        pytest.param(b'{"base_resp":{"status_code":0,"status_msg":"success"}}', id="a success of MiniMax"),
        pytest.param(b'{"status":"success"}', id="a status"),
        pytest.param(b'{"message":{"content":""},"done":true}', id="an answer of Ollama"),
        pytest.param(b'{"object":"list","data":[]}', id="an empty list"),
        pytest.param(b'{"detail":"high","url":"x"}', id="a detail of something"),
        pytest.param(b'{"error":{"code":502}', id="no JSON"),
        pytest.param(b'[{"error":null,"id":"a"}]', id="an array"),
        pytest.param(b'["error"]', id="an array of texts"),
        pytest.param(b'{"error":"' + b"x" * MAX_BYTES + b'"}', id="a long body"),
    ],
)
def test_any_other_body_is_an_answer(body: bytes) -> None:
    assert only_error(body) is None


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


@pytest.mark.parametrize("status", [400, 429])
def test_a_too_deeply_nested_body_is_replaced(status: int) -> None:
    """At any depth that a decoder accepts the verdict must not raise: the circuit would count the call forever."""
    for depth in (100, 500, 900, 2000):
        body = b'{"error":' + b"[" * depth + b'"x"' + b"]" * depth + b"}"
        error = relayed(rejected(status, payload=body))

        assert error.status == status
