"""The headers that report the limits of a caller, with the names of OpenAI's and of Anthropic's API."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from proxy.asgi import Header
from proxy.limits.admission import Admission

PROVIDER_PREFIXES = (b"x-ratelimit-", b"x-ratelimitbysize-", b"x-rate-limit-", b"ratelimit-", b"anthropic-ratelimit-")
"""How the names of headers begin with which providers report limits."""


def openai_limit_headers(admission: Admission, time: float) -> list[Header]:
    """`x-ratelimit-limit-requests: 600` and so on; the reset is a duration such as `6m0s`."""
    headers: list[Header] = []
    if requests := admission.requests:
        limit, remaining, reset = requests
        headers += (
            (b"x-ratelimit-limit-requests", b"%d" % limit),
            (b"x-ratelimit-remaining-requests", b"%d" % remaining),
            (b"x-ratelimit-reset-requests", duration(reset)),
        )
    if tokens := admission.tokens_left:
        limit, remaining, reset = tokens
        headers += (
            (b"x-ratelimit-limit-tokens", b"%d" % limit),
            (b"x-ratelimit-remaining-tokens", b"%d" % remaining),
            (b"x-ratelimit-reset-tokens", duration(reset)),
        )
    return headers


def anthropic_limit_headers(admission: Admission, time: float) -> list[Header]:
    """`anthropic-ratelimit-requests-limit: 600` and so on; the reset is a time of RFC 3339."""
    headers: list[Header] = []
    if requests := admission.requests:
        limit, remaining, reset = requests
        headers += (
            (b"anthropic-ratelimit-requests-limit", b"%d" % limit),
            (b"anthropic-ratelimit-requests-remaining", b"%d" % remaining),
            (b"anthropic-ratelimit-requests-reset", _rfc3339(time + reset)),
        )
    if tokens := admission.tokens_left:
        limit, remaining, reset = tokens
        headers += (
            (b"anthropic-ratelimit-tokens-limit", b"%d" % limit),
            (b"anthropic-ratelimit-tokens-remaining", b"%d" % remaining),
            (b"anthropic-ratelimit-tokens-reset", _rfc3339(time + reset)),
        )
    return headers


def duration(seconds: float) -> bytes:
    """`120ms`, `59.5s`, `6m0s`, `1h0m0s`: as OpenAI's API writes it."""
    return _long_duration(round(seconds)) if seconds >= 60 else _short_duration(max(0, round(seconds * 1000)))


@lru_cache(maxsize=1024)  # days and months of all callers are reset at the same time, and most minutes after 60 s
def _long_duration(seconds: int) -> bytes:
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minute, second) if hours else b"%dm%ds" % (minute, second)


def _short_duration(milliseconds: int) -> bytes:
    if milliseconds < 1000:
        return b"%dms" % milliseconds if milliseconds else b"0s"
    return f"{milliseconds / 1000:g}s".encode()


def _rfc3339(time: float) -> bytes:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
