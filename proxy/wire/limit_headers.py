"""The headers that report the limits of a caller, with the names of OpenAI's and of Anthropic's API."""

from __future__ import annotations

from datetime import UTC, datetime

from proxy.asgi import Header
from proxy.limits.limiter import Admission

PROVIDER_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
"""Names of headers with which providers report limits."""


def openai_limit_headers(admission: Admission, time: float) -> list[Header]:
    """`x-ratelimit-limit-requests: 600` and so on; the reset is a duration such as `6m0s`."""
    headers: list[Header] = []
    if status := admission.tightest("requests", "list_requests"):
        headers += (
            (b"x-ratelimit-limit-requests", b"%d" % status.limit),
            (b"x-ratelimit-remaining-requests", b"%d" % status.remaining),
            (b"x-ratelimit-reset-requests", duration(status.reset)),
        )
    if status := admission.tightest("tokens"):
        headers += (
            (b"x-ratelimit-limit-tokens", b"%d" % status.limit),
            (b"x-ratelimit-remaining-tokens", b"%d" % status.remaining),
            (b"x-ratelimit-reset-tokens", duration(status.reset)),
        )
    return headers


def anthropic_limit_headers(admission: Admission, time: float) -> list[Header]:
    """`anthropic-ratelimit-requests-limit: 600` and so on; the reset is a time of RFC 3339."""
    headers: list[Header] = []
    if status := admission.tightest("requests", "list_requests"):
        headers += (
            (b"anthropic-ratelimit-requests-limit", b"%d" % status.limit),
            (b"anthropic-ratelimit-requests-remaining", b"%d" % status.remaining),
            (b"anthropic-ratelimit-requests-reset", _rfc3339(time + status.reset)),
        )
    if status := admission.tightest("tokens"):
        headers += (
            (b"anthropic-ratelimit-tokens-limit", b"%d" % status.limit),
            (b"anthropic-ratelimit-tokens-remaining", b"%d" % status.remaining),
            (b"anthropic-ratelimit-tokens-reset", _rfc3339(time + status.reset)),
        )
    return headers


def duration(seconds: float) -> bytes:
    """`120ms`, `59.5s`, `6m0s`, `1h0m0s`: as OpenAI's API writes it."""
    if seconds >= 60:
        minutes, second = divmod(round(seconds), 60)
        hours, minute = divmod(minutes, 60)
        return b"%dh%dm%ds" % (hours, minute, second) if hours else b"%dm%ds" % (minute, second)
    milliseconds = max(0, round(seconds * 1000))
    if milliseconds < 1000:
        return b"%dms" % milliseconds if milliseconds else b"0s"
    return f"{milliseconds / 1000:g}s".encode()


def _rfc3339(time: float) -> bytes:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
