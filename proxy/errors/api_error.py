"""The base of all errors that clients get."""

from __future__ import annotations

import math
from collections.abc import Sequence


class ApiError(Exception):
    """An error response. The message never contains a secret; that of a `RelayedError` is the provider's."""

    status = 500
    type = "server_error"
    code = "internal_error"
    hint = "Retry; if the error persists, contact the proxy's administrator with the x-request-id of this response."
    should_retry: bool | None = None
    """Value of the `x-should-retry` header, which overrides the status in SDKs; None: no header."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Headers of the provider's response that are relayed, with names in lower case."""
    provider = ""
    """The name of the provider that caused the error, if one did."""

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        """Seconds; `whole_seconds` of it is the `Retry-After` header."""


def whole_seconds(seconds: float) -> int:
    """Return the value of a `Retry-After` header: rounded up, at least 1."""
    return max(1, math.ceil(seconds))
