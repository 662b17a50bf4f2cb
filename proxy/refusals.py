"""What a provider's refusal of a call means for the caller."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from proxy.errors import (
    ApiError,
    Limited,
    PassedOn,
    ProviderFailed,
    ProviderRefuses,
    ProviderRefusesUs,
    ProviderTooSlow,
    Unavailable,
)
from proxy.failures import scrubbed, tells
from proxy.line import FULL_FOR

LONGEST = 256 * 1024
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
_SHORTEST_SECRET = 4  # characters; a shorter one stands in texts by chance


def translated(status: int, waits: float | None) -> ApiError:
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


def own_words(
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
        said = msgspec.json.decode(body)
        if not isinstance(said, dict) or len(body) > LONGEST or headers.get("Content-Encoding"):
            raise ValueError
    except (ValueError, RecursionError):
        # No words of its own for the caller: neither a page nor half an answer.
        error: ApiError = Limited("The provider of this model asks for fewer calls.", retry_after=waits)
        if status != 429:
            error = PassedOn(status, b"application/json", _NO_WORDS)
        return error
    secrets = [secret for secret in (*secrets, *credentials) if len(secret) >= _SHORTEST_SECRET]
    if status == 429 or any(tells(t, credentials) or any(s in t for s in secrets) for t in _texts(said)):
        body = msgspec.json.encode(_without_account(said, secrets))
    error = PassedOn(status, b"application/json", body, retry_after=waits)
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


def _texts(said: Any) -> Iterator[str]:
    """All strings of a decoded JSON value."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, list | dict):
        for item in said if isinstance(said, list) else (*said, *said.values()):
            yield from _texts(item)


def _without_account(said: Any, secrets: Sequence[str]) -> Any:
    if isinstance(said, str):
        return _ACCOUNT.sub("***", scrubbed(said, secrets))
    if isinstance(said, list):
        return [_without_account(item, secrets) for item in said]
    if isinstance(said, dict):
        return {_without_account(name, secrets): _without_account(value, secrets) for name, value in said.items()}
    return said
