"""Classify provider errors: the caller's error, failover, and the circuit breaker. Pure.

Add new statuses and kinds of failures to the tables of this module.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec import Struct

from proxy.asgi import Header
from proxy.dialects.diagnosis import one_line
from proxy.errors import (
    ApiError,
    ProviderAuthFailed,
    ProviderFailed,
    ProviderOutOfCredit,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RelayedError,
    UpstreamError,
    whole_seconds,
)
from proxy.inference.circuit import FULL_FOR
from proxy.inference.error_content import ErrorContent, read_error
from proxy.inference.error_meaning import is_about_request, is_missing_model, meant_status, retry_delay
from proxy.inference.error_redaction import Redaction
from proxy.inference.response.headers import relayed_error_headers
from proxy.inference.verdict import ErrorResponse, Verdict
from proxy.telemetry import Outcome

RELAYED_STATUSES = frozenset({400, 404, 409, 410, 413, 415, 422, 424, 429, 451})
"""Statuses of errors about the request, which are relayed to the caller with the provider's message."""
_NOT_ABOUT_REQUESTS = frozenset({401, 402, 403, 405, 407, 408})
"""Statuses 4xx about the proxy's credential, account and connection. Others are relayed if they have a message."""
_LOGGED_STATUSES = frozenset({404, 410})
"""Relayed statuses that can also mean that the configuration is wrong: the provider lacks the model or the endpoint."""
_SHOULD_RETRY: Mapping[int, bool] = {409: True, 424: True}
"""Statuses for which `x-should-retry` is sent if the provider does not send it. By themselves, SDKs retry 409, 429 and
5xx, but not 424."""
_USELESS_RETRIES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Codes of a 429 that a retry does not change: OpenAI reports an account without credit in this way."""
_MAX_LOGGED = 4 * 1024  # characters of a message that are redacted for the log, which contains fewer
_TRIP = frozenset({502, 503, 504, 529})
"""Statuses that trip the circuit breaker. Not 500: a single caller can cause it, and would block all others."""
_MAX_TEXT = 2048  # bytes of an object without a known message
_UNREACHED = frozenset({521, 522, 523, 525, 526, 530})
"""Statuses of Cloudflare: it has no connection to the provider's server, which received nothing."""
_AUTH_FAILED = frozenset({401, 403})
_UNAVAILABLE = frozenset({503, 529})
_USELESS = frozenset({501, 505})


def classify(failure: ErrorResponse | UpstreamError, failover_on: Collection[int | str]) -> Verdict:
    """Return the verdict on an attempt without a response that can be relayed.

    `failover_on`: statuses and `FailoverCause`s after which another provider is tried.
    """
    if isinstance(failure, UpstreamError):
        return _classify_failure(failure, failover_on)
    content = read_error(failure.body)
    if failure.retry_after is None and (delay := retry_delay(content)) is not None:
        failure = msgspec.structs.replace(failure, retry_after=delay)
    redaction = Redaction(failure.secrets, failure.credentials, failure.ids, hides_forms=failure.hides_ids)
    status = meant_status(failure.status, content)
    is_callers = _is_about_request(status, content)
    is_missing = status != 429 and is_missing_model(content)
    is_relayed = is_callers or not failure.is_status_known
    error = relay_error(failure, content, redaction) if is_relayed else map_status(status, failure)
    error.headers = _headers(failure)
    if error.should_retry is None:
        error.should_retry = False if is_callers and status >= 500 else _should_retry(failure, content)
    is_logged = is_missing or not is_callers or status in _LOGGED_STATUSES
    return Verdict(
        error,
        # An error about the request with status 2xx is the same at another provider, as it is with its own status.
        fail_over=status in failover_on
        or (is_missing and 404 in failover_on)
        or (status in _UNREACHED and "no_connection" in failover_on)
        or (failure.is_in_success and not is_callers and "stream_error" in failover_on),
        trips=(status in _TRIP or status in _UNREACHED) and failure.is_status_known,
        outcome="failed" if not is_callers else "rate_limited" if status == 429 else "rejected",
        reason=_reason(failure.status, redaction.log_text(content.message[:_MAX_LOGGED])) if is_logged else "",
        cool_down=(failure.retry_after or 0.0) if status == 429 else 0.0,
        cause=f"an error within a 2xx response (stream_error, status {failure.status})"
        if failure.is_in_success
        else f"status {failure.status}",
        is_unreachable=status in _UNREACHED,
    )


def not_called(error: ApiError, provider: str) -> Verdict:
    """Return the verdict on a provider whose circuit rejects the call."""
    error.provider = provider
    return Verdict(error, fail_over=True, trips=False, outcome="failed", cause=f"not called: {error.message}")


def most_useful(errors: Sequence[ApiError]) -> ApiError:
    """Return the caller's error if every provider rejected the call; at least one.

    That is the one after which a retry succeeds soonest; if a retry cannot succeed, a provider's error about the
    request, which the caller can correct; otherwise the last one.
    """
    retryable = [error for error in errors if _is_retryable(error)]
    timed = [error for error in retryable if error.retry_after is not None]
    if timed:
        return min(timed, key=lambda error: error.retry_after or 0.0)
    relayed = [error for error in errors if isinstance(error, RelayedError)]
    return (retryable or relayed or errors)[-1]


def _is_retryable(error: ApiError) -> bool:
    if error.should_retry is not None:
        return error.should_retry
    return error.status in (408, 429) or error.status >= 500


def _is_about_request(status: int, content: ErrorContent) -> bool:
    """Whether an error is about the request, which the caller can correct."""
    if status in RELAYED_STATUSES or (status in (403, 500) and is_about_request(content)):
        return True
    return 400 <= status < 500 and status not in _NOT_ABOUT_REQUESTS and content.message != ""


def _headers(failure: ErrorResponse) -> Sequence[Header]:
    own_id = failure.ids.get(failure.model, "")
    relayed = relayed_error_headers(failure.headers, own_id=own_id, model=failure.model)
    return [
        *(header for header in relayed if header[0] != b"x-should-retry"),
        *failure.further_headers,
        *id_headers(failure.request_id),
    ]


def _should_retry(failure: ErrorResponse, content: ErrorContent) -> bool | None:
    for name, value in failure.headers:
        if name.lower() == b"x-should-retry" and value in (b"true", b"false"):
            return value == b"true"
    if failure.status == 429 and not _USELESS_RETRIES.isdisjoint((content.code, content.type)):
        return False
    return _SHOULD_RETRY.get(failure.status)


def _reason(status: int, words: str) -> str:
    return f"status {status}{': ' * bool(words)}{one_line(words)}"


def id_headers(request_id: str) -> Sequence[Header]:
    """Return the header with the provider's id of a request, none for ""."""
    return [(b"x-upstream-request-id", request_id.encode())] if request_id else ()


def unusable(coding: str) -> UpstreamError | None:
    """Return why a 2xx response cannot be relayed. `coding`: its content-encoding in lower case, "" for none."""
    if coding not in ("", "gzip", "x-gzip"):
        return UpstreamError("invalid_response", "returned an unusable response (unsupported content-encoding)")
    return None


class _Failure(Struct, frozen=True):
    error: type[ApiError]
    message: str
    """`{reason}` is replaced by the reason of the `UpstreamError`."""
    outcome: Outcome = "failed"
    condition: int | str = ""
    """What `failover_on` must contain for failover; "" if the failure is its own condition."""


_FAILURES = {
    "no_connection": _Failure(ProviderFailed, "Connection to the provider of this model failed."),
    "no_descriptor": _Failure(
        ProviderFailed, "The proxy has no descriptor for a connection to the provider.", condition="no_connection"
    ),
    "login": _Failure(ProviderFailed, "Login to the provider of this model failed.", condition="no_connection"),
    "login_refused": _Failure(
        ProviderAuthFailed,
        "The provider of this model rejected the proxy's login; contact the proxy's administrator.",
        condition=401,
    ),
    "no_response": _Failure(
        ProviderFailed, "The provider of this model closed the connection without a valid response."
    ),
    "invalid_response": _Failure(ProviderFailed, "The provider of this model {reason}."),
    "timeout": _Failure(ProviderTimeout, "The provider of this model timed out before sending a response.", "timeout"),
    "empty_stream": _Failure(ProviderFailed, "The provider of this model ended the stream without output."),
    "interrupted": _Failure(
        ProviderFailed, "The provider of this model closed the connection mid-response.", "interrupted"
    ),
    "stalled": _Failure(ProviderTimeout, "The provider of this model timed out mid-response.", "timeout"),
}
"""By the kind of the `UpstreamError`. `interrupted` and `stalled` happen while a response is relayed."""


def _classify_failure(failure: UpstreamError, failover_on: Collection[int | str]) -> Verdict:
    kind = "login_refused" if failure.kind == "login" and not failure.retryable else failure.kind
    row = _FAILURES[kind]
    return Verdict(
        row.error(row.message.format(reason=failure.reason)),
        fail_over=(row.condition or kind) in failover_on,
        trips=kind != "no_descriptor",
        outcome=row.outcome,
        reason=failure.reason,
        cause=failure.reason,
        is_unreachable=failure.kind in ("no_connection", "login"),
    )


def map_status(status: int, failure: ErrorResponse) -> ApiError:
    """Return the caller's error if the provider's message is not relayed. `status`: 402 also for a 400 about credit."""
    retry_after = failure.retry_after
    if status in _AUTH_FAILED:
        return ProviderAuthFailed(
            f"The provider of this model rejected the proxy's credential (status {status}); "
            "contact the proxy's administrator."
        )
    if status == 402:
        return ProviderOutOfCredit(
            "The proxy's account at the provider of this model does not have enough credit for this request "
            f"(status {failure.status}); request fewer tokens, or contact the proxy's administrator."
        )
    if status in _UNAVAILABLE:
        seconds = FULL_FOR if retry_after is None else retry_after
        return ProviderUnavailable(
            f"The provider of this model is unavailable (status {status}); retry after {whole_seconds(seconds)} s.",
            retry_after=seconds,
        )
    if status in (408, 504):
        return ProviderTimeout(f"The provider of this model timed out (status {status}).", retry_after=retry_after)
    if status in _USELESS:
        return ProviderRejected(f"The provider of this model does not support this request (status {status}).")
    if status >= 500:
        message = f"The provider of this model returned a server error (status {status})."
        return ProviderFailed(message, retry_after=retry_after)
    if 300 <= status < 400:
        return ProviderRejected(
            f"The provider of this model returned a redirect (status {status}), which is not followed; "
            "contact the proxy's administrator."
        )
    cause = "; it may not have this endpoint" if status == 405 else ""
    return ProviderRejected(f"The provider of this model rejected the request (status {status}){cause}.")


def relay_error(response: ErrorResponse, content: ErrorContent, redaction: Redaction) -> ApiError:
    """Return the provider's error about the request, without secrets and account ids.

    A JSON object is relayed byte for byte if nothing in it must be redacted. Of any other body, the message is relayed.
    """
    status = response.status
    body = b"" if content.payload is None else _redacted_body(content, redaction)
    # Formats that cannot relay the object show its text rather than nothing.
    text = body[:_MAX_TEXT].decode(errors="replace") if content.payload else ""
    message = redaction.text(content.message) or text or _no_words(status, response.retry_after)
    error = RelayedError(status, message, body=body, retry_after=response.retry_after)
    if status == 429:
        error.type, error.code = "rate_limit_error", "rate_limit_exceeded"
    error.type = redaction.text(content.type) or error.type
    error.code = redaction.text(content.code) or error.code
    return error


def _redacted_body(content: ErrorContent, redaction: Redaction) -> bytes:
    """Return the JSON object of an error, re-encoded only if something was redacted; b"" if it is nested too deeply."""
    try:
        redacted = redaction.value(content.payload)
        return content.body if redacted == content.payload else msgspec.json.encode(redacted)
    except RecursionError:
        return b""


def _no_words(status: int, retry_after: float | None) -> str:
    """Return the message of a relayed error whose body has none."""
    if status == 429:
        when = "" if retry_after is None else f"; retry after {whole_seconds(retry_after)} s"
        return f"The provider is rate-limiting this model{when}."
    if status == 404:
        return (
            "The provider of this model rejected the request (status 404); it may not have this endpoint or this model."
        )
    return "The provider of this model rejected the request without an error message."
