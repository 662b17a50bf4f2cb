"""The headers that report the limits of a caller, with the names of OpenAI's and of Anthropic's API.

They are written as one text: building six pairs with every call takes several times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from proxy.limits.admission import Admission

PROVIDER_PREFIXES = (b"x-ratelimit-", b"x-ratelimitbysize-", b"x-rate-limit-", b"ratelimit-", b"anthropic-ratelimit-")
"""How the names of headers begin with which providers report limits."""

_KEPT = 1024
"""Maximum cached texts: days and months of all callers end at the same time, and many minutes within one second."""
_MINUTE = 59.9995
"""Seconds that are a minute when they are rounded to milliseconds: the reset of a full minute is often 59.999999999."""
_LAST_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
"""The latest time that can be formatted; a large debt of a small limit can last longer."""
_LINES = b"\r\n%b: %%d\r\n%b: %%d\r\n%b: %%b"
_REQUESTS = _LINES % (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_TOKENS = _REQUESTS.replace(b"requests", b"tokens")
_BOTH = _REQUESTS + _TOKENS
_ANTHROPIC_REQUESTS = _LINES % (
    b"anthropic-ratelimit-requests-limit",
    b"anthropic-ratelimit-requests-remaining",
    b"anthropic-ratelimit-requests-reset",
)
_ANTHROPIC_TOKENS = _ANTHROPIC_REQUESTS.replace(b"requests", b"tokens")


def openai_limit_lines(admission: Admission, time: Callable[[], float]) -> bytes:
    """`x-ratelimit-limit-requests: 600` and so on, as `RawResponse.lines`; the reset is a duration such as `6m0s`."""
    requests, tokens = admission.requests, admission.tokens_left
    if requests and tokens:  # one text takes less time than two
        limit, remaining, reset = requests
        token_limit, token_remaining, token_reset = tokens
        return _BOTH % (limit, remaining, duration(reset), token_limit, token_remaining, duration(token_reset))
    if either := requests or tokens:
        limit, remaining, reset = either
        return (_REQUESTS if requests else _TOKENS) % (limit, remaining, duration(reset))
    return b""


def anthropic_limit_lines(admission: Admission, time: Callable[[], float]) -> bytes:
    """`anthropic-ratelimit-requests-limit: 600` and so on; the reset is a time of RFC 3339."""
    lines, now = b"", time()
    if requests := admission.requests:
        limit, remaining, reset = requests
        lines = _ANTHROPIC_REQUESTS % (limit, remaining, _rfc3339((now + reset) // 1.0))
    if tokens := admission.tokens_left:
        limit, remaining, reset = tokens
        lines += _ANTHROPIC_TOKENS % (limit, remaining, _rfc3339((now + reset) // 1.0))
    return lines


def duration(seconds: float) -> bytes:
    """`120ms`, `59.5s`, `6m0s`, `1h0m0s`: as OpenAI's API writes it."""
    if seconds < _MINUTE:
        return _short_duration(max(0, round(seconds * 1000)))
    return _long_duration((seconds + 0.5) // 1.0)


@lru_cache(_KEPT)
def _long_duration(seconds: float) -> bytes:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minute, second) if hours else b"%dm%ds" % (minute, second)


def _short_duration(milliseconds: int) -> bytes:
    if milliseconds < 1000:
        return b"%dms" % milliseconds if milliseconds else b"0s"
    return f"{milliseconds / 1000:g}s".encode()


@lru_cache(_KEPT)
def _rfc3339(time: float) -> bytes:
    """`time`: whole Unix seconds."""
    return datetime.fromtimestamp(min(time, _LAST_TIME), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
