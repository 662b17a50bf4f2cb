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
from proxy.inference.error_redaction import Redaction
from proxy.inference.response.headers import relayed_error_headers
from proxy.inference.verdict import ErrorResponse, Verdict
from proxy.telemetry import Outcome

RELAYED_STATUSES = frozenset({400, 404, 409, 410, 413, 415, 422, 424, 429, 451})
"""Statuses of errors about the request, which are relayed to the caller with the provider's message."""
_LOGGED_STATUSES = frozenset({404, 410})
"""Relayed statuses that can also mean that the configuration is wrong: the provider lacks the model or the endpoint."""
_FORBIDDEN_CODES = frozenset(
    {
        "content_policy_violation", "moderation_blocked", "invalid_prompt",  # OpenAI: refused texts and images
        "content_filter", "responsibleaipolicyviolation",  # Azure OpenAI, and clones of its filter
        "unsupported_country_region_territory",  # OpenAI: where it cannot be used
        "data_inspection_failed", "datainspectionfailed",  # Alibaba Model Studio
        "sensitivecontentdetected",  # Volcengine Ark
        "safety", "prohibited_content", "content_blocked", "blocklist", "spii",  # Gemini: reasons of blocked prompts
        "context_length_exceeded",  # Together reports too long requests with status 403
    }
)  # fmt: skip
"""Codes and types, in lower case, of a 403 that is about the request. Any other 403 is about the proxy's credential."""
_FORBIDDEN_MEMBERS = ("reasons", "flagged_input")
"""Members of `error` or of its `metadata` in a 403 of OpenRouter's moderation."""
_FORBIDDEN_WORDS = ("violates usage guidelines", "SAFETY_CHECK_TYPE_")
"""Words of a 403 of xAI about the request; its code is the same as for a credential without permission."""
_NO_CREDIT_CODES = frozenset(
    {
        "arrearage", "allocationquota.freetieronly",  # Alibaba Model Studio
        "insufficient_user_quota", "pre_consume_token_quota_failed",  # One-API, New-API
        "accountoverdueerror",  # Volcengine Ark
        "insufficient_quota", "insufficient_credits", "insufficient_balance", "billing_not_active",
    }
)  # fmt: skip
"""Codes and types, in lower case, of a 400 or 403 for an account without credit, which is handled like a 402."""
_NO_CREDIT_WORDS = ("credit balance is too low", "used all available credits", "account balance is insufficient")
"""Words in such errors of Anthropic, xAI and SiliconFlow, whose codes are also used for other errors."""
_SHOULD_RETRY: Mapping[int, bool] = {409: True, 424: True}
"""Statuses for which `x-should-retry` is sent if the provider does not send it. By themselves, SDKs retry 409, 429 and
5xx, but not 424."""
_USELESS_RETRIES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Codes of a 429 that a retry does not change: OpenAI reports an account without credit in this way."""
_TRIP = frozenset({502, 503, 504, 529})
"""Statuses that trip the circuit breaker. Not 500: a single caller can cause it, and would block all others."""
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
    redaction = Redaction(failure.secrets, failure.credentials, failure.ids, hides_forms=failure.hides_ids)
    status = 402 if failure.status in (400, 403) and _is_about_credit(content) else failure.status
    is_about_request = status in RELAYED_STATUSES or (status == 403 and _is_about_request(content))
    is_relayed = is_about_request or not failure.is_status_known
    error = relay_error(failure, content, redaction) if is_relayed else map_status(status, failure)
    error.headers = _headers(failure)
    if error.should_retry is None:
        error.should_retry = _should_retry(failure, content)
    is_logged = not is_about_request or status in _LOGGED_STATUSES
    return Verdict(
        error,
        # An error about the request with status 2xx is the same at another provider, as it is with its own status.
        fail_over=status in failover_on
        or (failure.is_in_success and not is_about_request and "stream_error" in failover_on),
        trips=status in _TRIP and failure.is_status_known,
        outcome="failed" if not is_about_request else "rate_limited" if status == 429 else "rejected",
        reason=_reason(failure.status, redaction.log_text(content.message)) if is_logged else "",
        cool_down=(failure.retry_after or 0.0) if status == 429 else 0.0,
        cause=f"an error within a 2xx response (stream_error, status {failure.status})"
        if failure.is_in_success
        else f"status {failure.status}",
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


def _is_about_request(content: ErrorContent) -> bool:
    """Whether a 403 is about the request, not about the proxy's credential."""
    details = content.details
    metadata = details.get("metadata")
    named = {**details, **metadata} if isinstance(metadata, dict) else details
    return (
        any(named.get(name) for name in _FORBIDDEN_MEMBERS)
        or not _FORBIDDEN_CODES.isdisjoint(_codes(content))
        or any(words in content.message for words in _FORBIDDEN_WORDS)
    )


def _is_about_credit(content: ErrorContent) -> bool:
    """Whether a 400 or a 403 is about the credit of the proxy's account."""
    return not _NO_CREDIT_CODES.isdisjoint(_codes(content)) or any(each in content.message for each in _NO_CREDIT_WORDS)


def _codes(content: ErrorContent) -> Collection[str]:
    return {str(content.details.get(name)).lower() for name in ("code", "type", "status")}


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
    message = redaction.text(content.message) or _no_words(status, response.retry_after)
    body = b"" if content.payload is None else _redacted_body(content, redaction)
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
