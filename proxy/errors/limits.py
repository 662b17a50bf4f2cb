"""A caller has exceeded a limit of this proxy."""

from __future__ import annotations

from proxy.errors.api_error import whole_seconds
from proxy.errors.calls import RateLimited

MAX_RETRIED = 60.0
"""Seconds. SDKs wait no longer, but retry sooner: then a retry cannot succeed."""


class LimitExceeded(RateLimited):
    """More requests or tokens than the caller's key, user or group may use."""

    hint = "Retry after the number of seconds in the Retry-After header, or contact the proxy's administrator."

    def __init__(self, reason: str, seconds: float) -> None:
        """`reason`: which limit; `seconds`: until a retry can succeed."""
        text = f"Rate limit of this proxy exceeded: {reason}; retry after {whole_seconds(seconds)} s."
        super().__init__(text, retry_after=seconds)
        if seconds > MAX_RETRIED:
            self.should_retry = False
