"""What can go wrong, classed by what the reader can do about it.

Three families: `ApiError` is answered to a client, `UpstreamError` says why a provider's answer
could not be used, `ConfigError` tells an operator what to mend in the file.
"""

from __future__ import annotations

import traceback
from typing import Literal


class ApiError(Exception):
    """An error that a client is told. The message never holds a secret or a provider's own text."""

    status = 500
    type = "server_error"
    code = "internal_error"
    hint = "Try again; if it stays, tell whoever runs this proxy the x-request-id of this answer."
    should_retry: bool | None = None
    """Sent as `x-should-retry`, which OpenAI's SDK obeys before it looks at the status; None says nothing."""

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        """Seconds, sent as `Retry-After` rounded up."""


class BadRequest(ApiError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    hint = "Correct the parameter and send the request again."


class InvalidKey(ApiError):
    """No key, a wrong one, a revoked one, an expired one: always the same bytes (S10)."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    hint = "Send a valid key as `Authorization: Bearer <key>` or `X-Auth-Token: <key>`."

    def __init__(self) -> None:
        super().__init__(
            "Missing or invalid API key. Send one key of this proxy, once, as 'Authorization: Bearer <key>', "
            "'X-Auth-Token', 'x-api-key' or 'api-key'."
        )


class Forbidden(ApiError):
    status = 403
    type = "permission_error"
    code = "insufficient_permissions"
    hint = "Ask whoever runs this proxy for a key that may do this."


class ModelNotFound(ApiError):
    """Unknown and not allowed are the same answer: a caller never learns what others may see."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    hint = "List the models that your key may use with GET /v1/models."

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' does not exist or you do not have access to it.", param="model")


class VersionsNotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    hint = "Check the workspace id and the model id, and that your key may use them."

    def __init__(self) -> None:
        super().__init__("This workspace or model does not exist or you do not have access to it.")


class PathNotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"
    hint = "Check the URL: the list of models is at /v1/models."

    def __init__(self, path: str) -> None:
        super().__init__(f"There is nothing at {path}. The list of models is at /v1/models.")


class MethodNotAllowed(ApiError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    hint = "Use a method that the Allow header names."

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(f"{method} is not possible here; use {allow}.")
        self.allow = allow


class UpstreamNeverAnswered(ApiError):
    """408 of the Pangu contract: the provider has not responded within `initial_wait`."""

    status = 408
    type = "upstream_error"
    code = "timeout"
    hint = "Try again later."


class NothingKnown(ApiError):
    status = 503
    type = "service_unavailable_error"
    code = "no_models_known"
    hint = "Try again after the seconds in Retry-After."


class BodyTooLarge(ApiError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"
    hint = "Send a shorter body, or ask whoever runs this proxy for a larger `server: max_request`."

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit:,} bytes.")


class ModelNotCallable(ApiError):
    """A model that is listed, of providers that can only be asked for their lists."""

    status = 400
    type = "invalid_request_error"
    code = "model_not_callable"
    hint = "Choose another model; this one is listed only."

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' is listed, but cannot be called through this proxy.", param="model")


class Limited(ApiError):
    """All providers of a model have said that they are asked too often."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    hint = "Try again after the seconds in Retry-After."


class Unavailable(ApiError):
    """No provider of the model takes calls at the moment."""

    status = 503
    type = "service_unavailable_error"
    code = "provider_unavailable"
    hint = "Try again after the seconds in Retry-After."


class ProviderFailed(ApiError):
    """A provider could not be reached, or what it answered is none of the caller's business."""

    status = 502
    type = "upstream_error"
    code = "provider_failed"
    hint = "Try again; if it stays, tell whoever runs this proxy the x-request-id of this answer."


class ProviderRefuses(ProviderFailed):
    """Trying again is of no use: our credential, our account or our configuration is wrong."""

    code = "provider_refuses"
    should_retry = False


class ProviderRefusesUs(ProviderRefuses):
    """Never passed on as 401: it is our key that is wrong, not the caller's."""

    code = "provider_auth"


class ProviderTooSlow(ApiError):
    status = 504
    type = "upstream_error"
    code = "timeout"
    hint = "Try again, with less to do in one call."


class RelayedError(ApiError):
    """What a provider says about the request itself, in its own words."""

    type = "invalid_request_error"
    code = "invalid_request"

    def __init__(self, status: int, content_type: bytes, body: bytes, *, retry_after: float | None = None) -> None:
        super().__init__("the provider's own words", retry_after=retry_after)
        self.status = status
        self.content_type = content_type
        self.body = body


class InternalError(ApiError):
    """Our bug. The text is always this one: details belong in the log."""

    def __init__(self) -> None:
        super().__init__("Internal error of the proxy. Its log has the details under this x-request-id.")


UpstreamErrorKind = Literal[
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
    # The body of the response.
    "invalid_response",
    "too_large",
    "paging",
    "shrunk",
    # Calls only, where it matters whether the provider may have begun the work.
    "no_connection",
    "login",
    "no_response",
    "interrupted",
    "stalled",
    # A bug of this program.
    "internal_error",
]
"""Every class of `UpstreamError`, as `/health` and `check` show it."""


class UpstreamError(Exception):
    """A provider could not be reached, or its response could not be used.

    `kind` is a short class for metrics and health; `reason` is one sentence for an operator, free of secrets.
    """

    def __init__(
        self, kind: UpstreamErrorKind, reason: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after
        """Seconds, between 0 and an hour, when the provider named a time."""
        self.attempts = 1
        """One, and one more for each retry; set by the code that retries."""

    @classmethod
    def from_bug(cls, bug: Exception) -> UpstreamError:
        """Return the error for an exception that processing a response must not raise, without its text."""
        return cls("internal_error", f"internal error while processing its response ({type(bug).__name__})")


def describe_bug(bug: BaseException) -> str:
    """Return the class of an unexpected exception and its stack, for the log.

    Its text is left out: it can quote a header, a body or a key.
    """
    stack = "".join(traceback.format_tb(bug.__traceback__))
    return f"{type(bug).__name__}\n{stack}"
