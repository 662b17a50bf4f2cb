"""What went wrong between the proxy and a provider."""

from __future__ import annotations

from typing import Literal

ListErrorKind = Literal[
    # No response.
    "dns",
    "connection_refused",
    "connection_reset",
    "tls",
    "proxy",
    "timeout",
    # The status of the response.
    "status",
    "redirect",
    "rate_limited",
    "unauthorized",
    "blocked",
    # The body of the response.
    "invalid_response",
    "too_large",
    "paging",
    # A valid list that may lack models: it is marked as partial, it is empty, or it lost most of its models.
    "incomplete",
    "empty",
    "shrunk",
    # A bug in the proxy.
    "internal_error",
]
"""The kinds of failed list refreshes, as shown by `/health` and `check --json`."""

CallErrorKind = Literal[
    # Nothing was sent.
    "no_connection",
    "no_descriptor",
    "login",
    # No response, but the provider may have done the work.
    "timeout",
    "no_response",
    # The response cannot be relayed, was cut off, or stopped.
    "invalid_response",
    "empty_stream",
    "interrupted",
    "stalled",
]
"""The kinds of failed calls. They decide on failover and on the caller's error; the kinds themselves are not shown."""


UpstreamErrorKind = Literal[ListErrorKind, CallErrorKind]
"""The kinds of `UpstreamError`."""


class UpstreamError(Exception):
    """A provider could not be reached, or its response could not be used.

    `kind` is a constant for programs; `reason` is a phrase for operators without secrets.
    """

    def __init__(
        self, kind: UpstreamErrorKind, reason: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after
        """Seconds, 0 to 3600, from the provider's `Retry-After`; None without one."""
        self.attempts = 1
        """1 plus the number of retries; set by the code that retries."""
        self.url = ""
        """What was requested, without query and secrets; "" if nothing was, or if it does not matter."""

    @classmethod
    def from_bug(cls, bug: Exception) -> UpstreamError:
        """Return the error for an unexpected exception while a response was processed, without the exception's text."""
        return cls("internal_error", f"internal error while processing its response ({type(bug).__name__})")
