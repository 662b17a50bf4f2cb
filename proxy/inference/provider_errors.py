"""Classify provider errors: the caller's error, failover, and the circuit breaker. Pure.

Add new statuses and kinds of failures to the tables of this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from proxy.decoding import decode_or_none
from proxy.errors import (
    ApiError,
    ProviderAuthFailed,
    ProviderFailed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    RelayedError,
    UpstreamError,
    whole_seconds,
)
from proxy.inference.circuit import FULL_FOR
from proxy.telemetry.usage import Outcome
from proxy.upstream.redaction import contains_secret, redact

MAX_BYTES = 256 * 1024
"""Bytes of an error body that are relayed."""
RELAYED_STATUSES = frozenset({400, 413, 422, 429})
"""Statuses of errors about the request, whose bodies are relayed to the caller."""
_TRIP = frozenset({502, 503, 504, 529})
"""Statuses that trip the circuit breaker. Not 500: a single caller can cause it, and would block all others."""
_OUTCOMES: Mapping[int, Outcome] = {400: "rejected", 413: "rejected", 422: "rejected", 429: "rate_limited"}
_AUTH_FAILED = frozenset({401, 402, 403})
_UNAVAILABLE = frozenset({503, 529})
_ACCOUNT = re.compile(
    r"\b(?:org|proj|acct|account|team|user|req)[-_][A-Za-z0-9_-]{6,}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_MIN_SECRET = 4  # characters; shorter secrets occur in messages by chance


class Verdict(Struct, frozen=True):
    """The consequences of one failed attempt."""

    error: ApiError
    """The caller's error if no other provider accepts the call."""
    fail_over: bool
    """Whether another provider may be tried."""
    trips: bool
    """Whether it counts as a failure for the circuit breaker."""
    outcome: Outcome
    reason: str = ""
    """For the log; empty if it is not logged."""
    cool_down: float = 0.0
    """Seconds during which the provider gets no calls of this model."""


class ErrorResponse(Struct, frozen=True):
    """A response with a status other than 2xx."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    """Needed for `RELAYED_STATUSES` only."""
    retry_after: float | None = None
    """Seconds."""
    secrets: Sequence[str] = ()
    """Must not be shown."""
    credentials: Sequence[str] = ()
    """Must not be shown even in part: providers quote them masked."""


def classify(failure: ErrorResponse | UpstreamError, failover_on: Collection[int | str]) -> Verdict:
    """Return the verdict on an attempt without a response that can be relayed.

    `failover_on`: statuses, and `timeout`, after which another provider is tried.
    """
    if isinstance(failure, UpstreamError):
        return _classify_failure(failure, failover_on)
    status = failure.status
    outcome = _OUTCOMES.get(status, "failed")
    return Verdict(
        relay_error(failure) if status in RELAYED_STATUSES else map_status(status, failure.retry_after),
        fail_over=status in failover_on,
        trips=status in _TRIP,
        outcome=outcome,
        reason=f"status {status}" if outcome == "failed" else "",
        cool_down=failure.retry_after or 0.0 if status == 429 else 0.0,
    )


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
    fail_over: bool = False
    """Whether the provider certainly did no work."""


_FAILURES = {
    "no_connection": _Failure(ProviderFailed, "Connection to the provider of this model failed.", fail_over=True),
    "login": _Failure(ProviderFailed, "Login to the provider of this model failed.", fail_over=True),
    "login_refused": _Failure(
        ProviderAuthFailed,
        "The provider of this model rejected the proxy's login; contact the proxy's administrator.",
        fail_over=True,
    ),
    "no_response": _Failure(
        ProviderFailed, "The provider of this model closed the connection without a valid response."
    ),
    "invalid_response": _Failure(ProviderFailed, "The provider of this model {reason}."),
    "timeout": _Failure(ProviderTimeout, "The provider of this model timed out before sending a response.", "timeout"),
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
        fail_over=row.fail_over or kind in failover_on,
        trips=True,
        outcome=row.outcome,
        reason=failure.reason,
    )


def map_status(status: int, retry_after: float | None) -> ApiError:
    """Return the caller's error for a status whose body is not relayed."""
    if status in _AUTH_FAILED:
        return ProviderAuthFailed(
            f"The provider of this model rejected the proxy's credential (status {status}); "
            "contact the proxy's administrator."
        )
    if status in _UNAVAILABLE:
        seconds = FULL_FOR if retry_after is None else retry_after
        return ProviderUnavailable(
            f"The provider of this model is unavailable (status {status}); retry after {whole_seconds(seconds)} s.",
            retry_after=seconds,
        )
    if status in (408, 504):
        return ProviderTimeout(f"The provider of this model timed out (status {status}).", retry_after=retry_after)
    if status >= 500:
        message = f"The provider of this model returned a server error (status {status})."
        return ProviderFailed(message, retry_after=retry_after)
    if 300 <= status < 400:
        return ProviderRejected(
            f"The provider of this model returned a redirect (status {status}), which is not followed; "
            "contact the proxy's administrator."
        )
    cause = "; it may not have this endpoint or this model" if status in (404, 405) else ""
    return ProviderRejected(f"The provider of this model rejected the request (status {status}){cause}.")


def relay_error(response: ErrorResponse) -> ApiError:
    """Return the provider's error about the request, without secrets; for a 429 also without account ids."""
    status, headers, body = response.status, response.headers, response.body
    payload = decode_or_none(body)
    if not isinstance(payload, dict) or len(body) > MAX_BYTES or headers.get("Content-Encoding"):
        return _without_body(status, response.retry_after)
    try:
        body = _redacted_body(response, payload)
    except RecursionError:  # too deeply nested
        return _without_body(status, response.retry_after)
    error = RelayedError(status, body, retry_after=response.retry_after)
    error.should_retry = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    return error


def _redacted_body(response: ErrorResponse, payload: dict[str, Any]) -> bytes:
    """Return the body; re-encoded only if secrets or account ids were redacted. Raises RecursionError."""
    secrets = [secret for secret in (*response.secrets, *response.credentials) if len(secret) >= _MIN_SECRET]
    shows_secrets = any(
        contains_secret(text, response.credentials) or any(secret in text for secret in secrets)
        for text in _texts(payload)
    )
    if response.status != 429 and not shows_secrets:
        return response.body
    return msgspec.json.encode(_without_account(payload, secrets))


def _without_body(status: int, retry_after: float | None) -> ApiError:
    """Return the error for a body that is not a JSON object."""
    if status == 429:
        when = "" if retry_after is None else f"; retry after {whole_seconds(retry_after)} s"
        return RateLimited(f"The provider is rate-limiting this model{when}.", retry_after=retry_after)
    return RelayedError(status, _NO_MESSAGE)


_NO_MESSAGE = msgspec.json.encode(
    {
        "error": {
            "message": "The provider of this model rejected the request without an error message.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_request",
        }
    }
)


def _texts(payload: Any) -> Iterator[str]:
    """Yield all strings of a decoded JSON value."""
    if isinstance(payload, str):
        yield payload
    elif isinstance(payload, list | dict):
        for item in payload if isinstance(payload, list) else (*payload, *payload.values()):
            yield from _texts(item)


def _without_account(payload: Any, secrets: Sequence[str]) -> Any:
    if isinstance(payload, str):
        return _ACCOUNT.sub("***", redact(payload, secrets))
    if isinstance(payload, list):
        return [_without_account(item, secrets) for item in payload]
    if isinstance(payload, dict):
        return {_without_account(name, secrets): _without_account(value, secrets) for name, value in payload.items()}
    return payload
