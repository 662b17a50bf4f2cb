"""A call was not served, although nothing is wrong with the request: a provider or the proxy could not."""

from __future__ import annotations

from proxy.errors.api_error import ApiError


class RateLimited(ApiError):
    """All providers of a model are rate-limiting it."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    hint = "Retry after the number of seconds in the Retry-After header."


class ProviderUnavailable(ApiError):
    """No provider of the model accepts calls at the moment."""

    status = 503
    type = "service_unavailable_error"
    code = "provider_unavailable"
    hint = "Retry after the number of seconds in the Retry-After header."


class ServerBusy(ApiError):
    """The memory for request bodies is in use (`server.limits.body_memory`)."""

    status = 503
    type = "service_unavailable_error"
    code = "server_busy"
    hint = "Retry after the number of seconds in the Retry-After header, or send shorter bodies."

    def __init__(self) -> None:
        super().__init__(
            "The server is processing too many long request bodies, of this API key or of all; retry after 1 s.",
            retry_after=1.0,
        )


class ShuttingDown(ApiError):
    """A request that was not finished when the server had to stop."""

    status = 503
    type = "service_unavailable_error"
    code = "shutting_down"
    hint = "Send the request again; it goes to another instance, or to this one after its restart."

    def __init__(self) -> None:
        super().__init__("The proxy is shutting down and ended this request; retry after 1 s.", retry_after=1.0)


class ProviderFailed(ApiError):
    """A provider could not be reached, or returned an error that is not about the request."""

    status = 502
    type = "upstream_error"
    code = "provider_failed"
    hint = "Retry; if the error persists, contact the proxy's administrator with the x-request-id of this response."


class ProviderRejected(ProviderFailed):
    """A retry cannot help: the proxy's credential, account or configuration is wrong."""

    code = "provider_rejected"
    should_retry = False


class ProviderAuthFailed(ProviderRejected):
    """Never relayed as 401: the proxy's credential is invalid, not the caller's key."""

    code = "provider_auth"


class ProviderOutOfCredit(ProviderRejected):
    """Never relayed as 402: the proxy's account at the provider needs credit, not the caller's."""

    code = "provider_credit"


class ProviderTimeout(ApiError):
    status = 504
    type = "upstream_error"
    code = "timeout"
    hint = "Retry, or request less output in one call."


class RelayedError(ApiError):
    """A provider's error about the request, with the provider's status and message."""

    type = "invalid_request_error"
    code = "invalid_request"

    def __init__(self, status: int, message: str, *, body: bytes = b"", retry_after: float | None = None) -> None:
        """`body`: the JSON object to send; without it, the message is sent in the API format of the request."""
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.body = body
