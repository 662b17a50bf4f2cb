"""What a provider's refusal of a call means for the caller."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy.errors import (
    ApiError,
    Limited,
    ProviderFailed,
    ProviderRefuses,
    ProviderRefusesUs,
    ProviderTooSlow,
    RelayedError,
    Unavailable,
)
from proxy.inference.circuit import FULL_FOR
from proxy.upstream.redaction import contains_secret, redact

MAX_BYTES = 256 * 1024
"""Bytes of a refusal that are passed on."""
ABOUT_THE_REQUEST = frozenset({400, 413, 422})
"""Statuses with which a provider speaks of what was asked: its own words are for the caller."""
BREAKS = frozenset({502, 503, 504, 529})
"""Statuses that tell of the provider. A 500 may be the work of one caller, who must not shut out the others."""
_ABOUT_OUR_ACCOUNT = frozenset({401, 402, 403})
_UNAVAILABLE = frozenset({503, 529})
_ACCOUNT = re.compile(
    r"\b(?:org|proj|acct|account|team|user|req)[-_][A-Za-z0-9_-]{6,}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)
_MIN_SECRET = 4  # characters; a shorter one stands in texts by chance


def map_status(status: int, waits: float | None) -> ApiError:
    """A refusal in our words. `waits` is what its `Retry-After` says."""
    if status in _ABOUT_OUR_ACCOUNT:
        return ProviderRefusesUs("The provider of this model refused our credential; tell whoever runs this proxy.")
    if status in _UNAVAILABLE:
        return Unavailable(
            "The provider of this model is not available.", retry_after=FULL_FOR if waits is None else waits
        )
    if status in (408, 504):
        return ProviderTooSlow("The provider of this model gave up before it could answer.", retry_after=waits)
    if status >= 500:
        return ProviderFailed("The provider of this model failed.", retry_after=waits)
    if 300 <= status < 400:
        return ProviderRefuses("The provider of this model redirects, which is never followed.")
    return ProviderRefuses(f"The provider of this model cannot do this (its status is {status}).")


def relay_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    waits: float | None,
    secrets: Sequence[str],
    credentials: Sequence[str],
) -> ApiError:
    """A refusal that is about the request, with what identifies our account taken out.

    `secrets` must not be told in any form, `credentials`, which providers repeat in masks, not even in parts.
    """
    try:
        payload = msgspec.json.decode(body)
        if not isinstance(payload, dict) or len(body) > MAX_BYTES or headers.get("Content-Encoding"):
            raise ValueError
    except (ValueError, RecursionError):
        # No words of its own for the caller: neither a page nor half an answer.
        error: ApiError = Limited("The provider of this model asks for fewer calls.", retry_after=waits)
        if status != 429:
            error = RelayedError(status, b"application/json", _NO_WORDS)
        return error
    secrets = [secret for secret in (*secrets, *credentials) if len(secret) >= _MIN_SECRET]
    if status == 429 or any(contains_secret(t, credentials) or any(s in t for s in secrets) for t in _texts(payload)):
        body = msgspec.json.encode(_without_account(payload, secrets))
    error = RelayedError(status, b"application/json", body, retry_after=waits)
    error.should_retry = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    return error


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
