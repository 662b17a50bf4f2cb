"""What providers' errors mean, whatever status they have."""

from __future__ import annotations

import msgspec
import pytest

from proxy.config import Provider
from proxy.errors import ApiError, ProviderAuthFailed, ProviderFailed, ProviderRejected, RelayedError
from proxy.inference.provider_errors import classify
from proxy.inference.verdict import ErrorResponse, Verdict

FAILOVER_ON = Provider.model_fields["failover_on"].default
GOOGLE_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


def verdict_on(status: int, payload: object) -> Verdict:
    return classify(ErrorResponse(status, msgspec.json.encode(payload)), FAILOVER_ON)


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (400, {"error": {"message": "no", "type": "invalid_request_error", "code": "model_not_found"}}),
        (400, {"error": {"message": "Model Not Exist", "code": "invalid_request_error"}}),
        (400, {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}),
        (400, {"error": {"message": "vendor/m is not a valid model ID", "code": 400}}),
        (400, {"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}}),
        (400, {"code": 20012, "message": "Model does not exist. Please check it carefully."}),
        (400, {"error": {"code": "unknown_model", "message": "Unknown model: m"}}),
        (400, {"error": {"message": "not enabled", "code": "model_not_supported"}}),
        (400, {"error": {"message": "The model `m` has been decommissioned", "code": "model_decommissioned"}}),
        (400, {"message": "The provided model identifier is invalid."}),
        (400, {"code": "invalid-argument", "error": "Model not found: m"}),
        (400, {"error": {"message": "/chat/completions: Invalid model name passed in model=m", "code": "400"}}),
        (410, {"error": {"message": "The model `m` has been retired"}}),
        (422, {"detail": "Model m not found"}),
        (500, {"error": "could not find a model for m"}),
    ],
)
def test_a_model_that_the_provider_lacks_fails_over_with_any_status(status: int, payload: object) -> None:
    verdict = verdict_on(status, payload)

    assert (verdict.fail_over, verdict.trips, verdict.reason.startswith(f"status {status}: ")) == (True, False, True)


def test_a_credential_without_access_to_a_model_fails_over() -> None:
    verdict = verdict_on(403, {"error": {"message": "no access to the model", "code": "model_not_found"}})

    assert (type(verdict.error), verdict.fail_over) == (ProviderAuthFailed, True)


def test_a_missing_model_does_not_fail_over_if_404_is_no_condition() -> None:
    failure = ErrorResponse(400, b'{"error": {"message": "no", "code": "model_not_found"}}')

    assert classify(failure, {401, 503}).fail_over is False


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens must not be larger than that of the model, 4096",
        "the file file-1 was not found",
        "this model does not support images",
        "messages: a model cannot continue from the role `tool`",
    ],
)
def test_any_other_error_about_the_request_does_not_fail_over(message: str) -> None:
    verdict = verdict_on(400, {"error": {"message": message}})

    assert (type(verdict.error), verdict.fail_over, verdict.reason) == (RelayedError, False, "")


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (400, {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": [GOOGLE_KEY]}}),
        (400, [{"error": {"code": 400, "message": "API key expired. Please renew it.", "status": "INVALID_ARGUMENT"}}]),
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: ab***yz."}),
        (403, {"code": "InvalidApiKey", "message": "no"}),
        (403, {"error": {"message": "Your API key was reported as leaked.", "status": "PERMISSION_DENIED"}}),
        (403, {"error": {"message": "This api key has been disabled"}}),
    ],
)
def test_a_rejected_api_key_is_a_401_with_any_status(status: int, payload: object) -> None:
    verdict = verdict_on(status, payload)

    assert (type(verdict.error), verdict.error.status, verdict.fail_over) == (ProviderAuthFailed, 502, True)


@pytest.mark.parametrize("message", ["The MCP server reported: invalid API key", "metadata.reason must be a text"])
def test_an_api_key_of_the_callers_request_is_not_that_of_the_proxy(message: str) -> None:
    payload = {"error": {"message": message, "details": [{"reason": 7}, "API_KEY_INVALID"]}}

    assert type(verdict_on(400, payload).error) is RelayedError


@pytest.mark.parametrize("status", [406, 412, 421, 423, 431, 498, 499])
def test_an_error_with_any_other_status_4xx_is_relayed_if_it_has_a_message(status: int) -> None:
    error, silent = (verdict_on(status, payload).error for payload in ({"error": {"message": "no capacity"}}, {}))

    assert (type(error), error.status, error.message) == (RelayedError, status, "no capacity")
    assert (type(silent), silent.status) == (ProviderRejected, 502)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"Message": "too long"}, "too long"),
        ({"Error": {"Code": "ValidationException", "Message": "too long"}}, "too long"),
        ({"errorMessage": "too long"}, "too long"),
        ({"fault": {"faultstring": "too long", "detail": {"errorcode": "x"}}}, "too long"),
        ({"error": {"details": "too long"}}, "too long"),
        ({"info": "too long"}, '{"info":"too long"}'),
        ({"info": "x" * 3000}, '{"info":"' + "x" * (2048 - 9)),
    ],
)
def test_an_error_about_the_request_has_a_message_whatever_its_fields(payload: object, message: str) -> None:
    assert verdict_on(400, payload).error.message == message


@pytest.mark.parametrize("status", [401, 402, 403, 405, 407, 408])
def test_an_error_about_the_proxy_is_not_relayed(status: int) -> None:
    error: ApiError = verdict_on(status, {"error": {"message": "for the operator"}}).error

    assert (type(error) is RelayedError, "for the operator" in error.message) == (False, False)


def test_a_500_about_the_request_is_relayed_and_not_retried() -> None:
    error = verdict_on(500, {"error": {"message": "8192 tokens are too many", "code": "context_length_exceeded"}}).error
    other = verdict_on(500, {"error": {"message": "out of memory"}}).error

    assert (type(error), error.status, error.should_retry) == (RelayedError, 500, False)
    assert (type(other), other.should_retry) == (ProviderFailed, None)


@pytest.mark.parametrize("status", [521, 522, 523, 525, 526, 530])
def test_an_edge_without_a_connection_to_the_provider_is_a_failed_connection(status: int) -> None:
    verdict = classify(ErrorResponse(status), FAILOVER_ON)

    assert (verdict.fail_over, verdict.trips, verdict.is_unreachable) == (True, True, True)
    assert classify(ErrorResponse(status), {503}).fail_over is False


@pytest.mark.parametrize("status", [520, 524])
def test_an_edge_whose_connection_to_the_provider_broke_is_not(status: int) -> None:
    verdict = classify(ErrorResponse(status), FAILOVER_ON)

    assert (verdict.fail_over, verdict.is_unreachable) == (False, False)


@pytest.mark.parametrize(
    ("delay", "seconds"), [("31s", 31.0), ("31.5s", 31.5), ("31", None), ("soon", None), (31, None)]
)
def test_the_retry_delay_of_googles_errors_is_a_retry_after(delay: object, seconds: float | None) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.Help"}, {"retryDelay": delay}]
    verdict = verdict_on(429, {"error": {"code": 429, "message": "quota", "details": details}})

    assert (verdict.error.retry_after, verdict.cool_down) == (seconds, seconds or 0.0)


def test_retry_after_wins_over_the_retry_delay() -> None:
    body = msgspec.json.encode({"error": {"details": [{"retryDelay": "31s"}]}})

    assert classify(ErrorResponse(429, body, retry_after=7.0), ()).cool_down == 7.0
