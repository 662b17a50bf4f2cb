"""What a provider's error means: for the caller, for failover and for the circuit. Pure.

New statuses and kinds of failures are added to the tables of this module.
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
    Limited,
    ProviderFailed,
    ProviderRefuses,
    ProviderRefusesUs,
    ProviderTooSlow,
    RelayedError,
    Unavailable,
    UpstreamError,
)
from proxy.inference.circuit import FULL_FOR
from proxy.telemetry.usage import Outcome
from proxy.upstream.redaction import contains_secret, redact

MAX_BYTES = 256 * 1024
"""Bytes of an error body that are relayed."""
RELAYED_STATUSES = frozenset({400, 413, 422, 429})
"""Errors about the request: their bodies are relayed to the caller."""
_TRIP = frozenset({502, 503, 504, 529})
"""Statuses that count as failures of the provider. One caller can cause a 500, and must not shut out the others."""
_OUTCOMES: Mapping[int, Outcome] = {400: "refused", 413: "refused", 422: "refused", 429: "limited"}
_ABOUT_OUR_ACCOUNT = frozenset({401, 402, 403})
_UNAVAILABLE = frozenset({503, 529})
_ACCOUNT = re.compile(
    r"\b(?:org|proj|acct|account|team|user|req)[-_][A-Za-z0-9_-]{6,}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_MIN_SECRET = 4  # characters; shorter secrets occur in texts by chance


class Verdict(Struct, frozen=True):
    """What follows from one failed attempt."""

    error: ApiError
    """The caller's response if no other provider takes the call."""
    fail_over: bool
    """Whether another provider may be tried."""
    trips: bool
    """Whether the circuit counts it as a failure of the provider."""
    outcome: Outcome
    reason: str = ""
    """For the log; empty if not worth a line."""
    cool_down: float = 0.0
    """Seconds during which the provider should get no calls of this model."""


class ErrorResponse(Struct, frozen=True):
    """A response other than 2xx."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    """Needed for `RELAYED_STATUSES` only."""
    retry_after: float | None = None
    """Seconds."""
    secrets: Sequence[str] = ()
    """Must not be shown in any form."""
    credentials: Sequence[str] = ()
    """Must not be shown even in parts: providers repeat them masked."""


def classify(failure: ErrorResponse | UpstreamError, failover_on: Collection[int | str]) -> Verdict:
    """The verdict on an attempt that returned an error, or no response that can be relayed.

    `failover_on`: statuses, and `timeout`, after which another provider may be tried.
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


def unusable(coding: str, content_type: str) -> UpstreamError | None:
    """Why a 2xx response cannot be relayed. `coding`: its content-encoding in lower case, "" for none."""
    if coding not in ("", "gzip", "x-gzip"):
        return UpstreamError("invalid_response", "answered in a content-encoding that was not asked for")
    if content_type[:9].lower() == "text/html":
        return UpstreamError("invalid_response", "answered with a web page")
    return None


class _Failure(Struct, frozen=True):
    error: type[ApiError]
    message: str
    outcome: Outcome = "failed"
    fail_over: bool = False
    """Whether it is certain that no work was done."""


_FAILURES = {
    "no_connection": _Failure(ProviderFailed, "The provider of this model cannot be reached.", fail_over=True),
    "login": _Failure(ProviderFailed, "The provider of this model could not be logged in to.", fail_over=True),
    "login_refused": _Failure(ProviderRefusesUs, "The provider of this model refused our login.", fail_over=True),
    "no_response": _Failure(ProviderFailed, "The provider of this model broke off before it answered."),
    "invalid_response": _Failure(ProviderFailed, "The provider of this model answered with something else."),
    "timeout": _Failure(ProviderTooSlow, "The provider of this model did not begin to answer in time.", "timeout"),
    "interrupted": _Failure(ProviderFailed, "The provider of this model broke off within its answer.", "broken"),
    "stalled": _Failure(ProviderTooSlow, "The provider of this model stopped within its answer.", "timeout"),
}
"""By the kind of the `UpstreamError`. `interrupted` and `stalled` happen while a response is relayed."""


def _classify_failure(failure: UpstreamError, failover_on: Collection[int | str]) -> Verdict:
    kind = "login_refused" if failure.kind == "login" and not failure.retryable else failure.kind
    row = _FAILURES[kind]
    return Verdict(
        row.error(row.message),
        fail_over=row.fail_over or kind in failover_on,
        trips=True,
        outcome=row.outcome,
        reason=failure.reason,
    )


def map_status(status: int, retry_after: float | None) -> ApiError:
    """The caller's error for a status whose body is not relayed."""
    if status in _ABOUT_OUR_ACCOUNT:
        return ProviderRefusesUs("The provider of this model refused our credential; tell whoever runs this proxy.")
    if status in _UNAVAILABLE:
        return Unavailable(
            "The provider of this model is not available.", retry_after=FULL_FOR if retry_after is None else retry_after
        )
    if status in (408, 504):
        return ProviderTooSlow("The provider of this model gave up before it could answer.", retry_after=retry_after)
    if status >= 500:
        return ProviderFailed("The provider of this model failed.", retry_after=retry_after)
    if 300 <= status < 400:
        return ProviderRefuses("The provider of this model redirects, which is never followed.")
    return ProviderRefuses(f"The provider of this model cannot do this (its status is {status}).")


def relay_error(response: ErrorResponse) -> ApiError:
    """An error about the request with the provider's own body, without anything that identifies our account."""
    status, headers, body = response.status, response.headers, response.body
    payload = decode_or_none(body)
    if not isinstance(payload, dict) or len(body) > MAX_BYTES or headers.get("Content-Encoding"):
        return _without_body(status, response.retry_after)
    try:
        body = _redacted_body(response, payload)
    except RecursionError:  # nested deeper than any error message is
        return _without_body(status, response.retry_after)
    error = RelayedError(status, b"application/json", body, retry_after=response.retry_after)
    error.should_retry = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    return error


def _redacted_body(response: ErrorResponse, payload: dict[str, Any]) -> bytes:
    """The body, encoded anew only where it shows our account. Raises RecursionError."""
    secrets = [secret for secret in (*response.secrets, *response.credentials) if len(secret) >= _MIN_SECRET]
    shows_secrets = any(
        contains_secret(text, response.credentials) or any(secret in text for secret in secrets)
        for text in _texts(payload)
    )
    if response.status != 429 and not shows_secrets:
        return response.body
    return msgspec.json.encode(_without_account(payload, secrets))


def _without_body(status: int, retry_after: float | None) -> ApiError:
    """For a body that no program can read: a web page, or half an object."""
    if status == 429:
        return Limited("The provider of this model asks for fewer calls.", retry_after=retry_after)
    return RelayedError(status, b"application/json", _NO_WORDS)


_NO_WORDS = msgspec.json.encode(
    {
        "error": {
            "message": "The provider of this model refused the request without saying why.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_request",
        }
    }
)


def _texts(payload: Any) -> Iterator[str]:
    """All strings of a decoded JSON value."""
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
