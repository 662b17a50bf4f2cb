"""The headers that report the limits of a caller, with the names of OpenAI's and of Anthropic's API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from proxy.asgi import Header
from proxy.limits.limiter import Status

PROVIDER_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
"""Names of headers with which providers report limits."""


def openai_limit_headers(statuses: Sequence[Status], time: float) -> list[Header]:
    """`x-ratelimit-limit-requests: 600` and so on; the reset is a duration such as `6m0s`."""
    return [
        header
        for name, status in _tightest(statuses)
        for header in (
            (b"x-ratelimit-limit-%b" % name, b"%d" % status.limit),
            (b"x-ratelimit-remaining-%b" % name, b"%d" % status.remaining),
            (b"x-ratelimit-reset-%b" % name, duration(status.reset)),
        )
    ]


def anthropic_limit_headers(statuses: Sequence[Status], time: float) -> list[Header]:
    """`anthropic-ratelimit-requests-limit: 600` and so on; the reset is a time of RFC 3339."""
    return [
        header
        for name, status in _tightest(statuses)
        for header in (
            (b"anthropic-ratelimit-%b-limit" % name, b"%d" % status.limit),
            (b"anthropic-ratelimit-%b-remaining" % name, b"%d" % status.remaining),
            (b"anthropic-ratelimit-%b-reset" % name, _rfc3339(time + status.reset)),
        )
    ]


def duration(seconds: float) -> bytes:
    """`120ms`, `59.5s`, `6m0s`, `1h0m0s`: as OpenAI's API writes it."""
    milliseconds = max(0, round(seconds * 1000))
    if milliseconds < 1000:
        return b"%dms" % milliseconds if milliseconds else b"0s"
    whole, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{second + rest / 1000:g}s"
    if minutes:
        text = f"{minute}m{second}s"
    return (f"{hours}h{text}" if hours else text).encode()


def _tightest(statuses: Iterable[Status]) -> Iterable[tuple[bytes, Status]]:
    """Return for requests and tokens the limit of which least remains; of equals, the one that is reset last."""
    for name, kinds in ((b"requests", ("requests", "list_requests")), (b"tokens", ("tokens",))):
        found = [status for status in statuses if status.kind in kinds]
        if found:
            yield name, min(found, key=lambda status: (status.remaining, -status.reset))


def _rfc3339(time: float) -> bytes:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
