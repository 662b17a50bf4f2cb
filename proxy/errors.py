"""Errors: `ApiError` becomes the response to a client, `UpstreamError` describes a failed exchange with a provider.

Errors in the configuration file are in `config/problems.py`.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence
from typing import Literal


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


class BadRequest(ApiError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    hint = "Fix the request and send it again."


class InvalidKey(ApiError):
    """The same bytes for a missing, unknown, revoked or expired key, so that responses do not reveal which."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    hint = "Send a valid key as `Authorization: Bearer <key>` or `X-Auth-Token: <key>`."
    # Without it, some clients retry a 401 for a minute before they show it.
    should_retry = False

    def __init__(self) -> None:
        # Clients recognize the first words, which are those of OpenAI's API. The message must not contain `x-api-key`:
        # then Claude Code replaces it by "Not logged in".
        super().__init__(
            "Incorrect API key provided, or none. Send one API key of this proxy, as 'Authorization: Bearer <key>' "
            "or in 'api-key' or 'X-Auth-Token'."
        )


class Forbidden(ApiError):
    status = 403
    type = "permission_error"
    code = "insufficient_permissions"
    hint = "Use an API key with this permission, or contact the proxy's administrator."


class HostNotAllowed(ApiError):
    """A host name that is not known to be the proxy's, while no keys are configured (DNS rebinding)."""

    status = 403
    type = "permission_error"
    code = "host_not_allowed"
    hint = "Use localhost or 127.0.0.1 in the base URL, or add the host to `server.allowed_hosts`."

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Host {host[:255]!a} is not allowed: this proxy has no API keys, so it accepts loopback names and "
            "addresses only. Use localhost in the base URL, or add the host to `server.allowed_hosts`."
        )


class OriginNotAllowed(ApiError):
    """A web page of an origin that is not configured, while no keys are configured."""

    status = 403
    type = "permission_error"
    code = "origin_not_allowed"
    hint = "Add the origin to `server.cors`."

    def __init__(self) -> None:
        super().__init__(
            "The origin of this request is not allowed: this proxy has no API keys, so it accepts requests of web "
            "pages of configured origins only. Add the origin to `server.cors`."
        )


class ModelNotFound(ApiError):
    """The same response for unknown and for forbidden models: it does not reveal what other keys can access."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    hint = "List the models available to your key with GET /v1/models."

    def __init__(self, model: str, similar: Sequence[str] = ()) -> None:
        """`similar`: ids that the caller can see."""
        *others, last = [f"'{each}'" for each in similar] or [""]
        hint = f" Did you mean {', '.join(others)}{' or ' * bool(others)}{last}?" if similar else ""
        super().__init__(f"The model '{model}' does not exist or you do not have access to it.{hint}", param="model")


class ResponseNotFound(ApiError):
    """A stored response. The same bytes for unknown ids and for those of other keys."""

    status = 404
    type = "invalid_request_error"
    code = "response_not_found"
    hint = "Use the key that created the response; with `store: false`, nothing is stored."

    def __init__(self, response: str) -> None:
        super().__init__(
            f"The response '{response}' does not exist, or this API key did not create it in the last day."
        )


class VersionsNotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    hint = "Check the workspace id, the model id and the permissions of your key."

    def __init__(self) -> None:
        super().__init__("The workspace or model does not exist or you do not have access to it.")


class ProviderNotFound(ApiError):
    """An administrator named a provider that the configuration does not have, or does not use."""

    status = 404
    type = "invalid_request_error"
    code = "provider_not_found"
    hint = "Use the name of a provider in the configuration."


class ReloadDisabled(ApiError):
    status = 409
    type = "invalid_request_error"
    code = "reload_disabled"
    hint = "Restart the proxy, or set `server.reload` to `auto` or `signal` and restart it once."


class ConfigurationRejected(ApiError):
    """The files of the configuration cannot be used as they are now. The one in use is not changed."""

    status = 422
    type = "invalid_request_error"
    code = "configuration_rejected"
    hint = "Fix the problems that the response lists, and reload again."

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"The configuration has {count}; the previous one is still used.")


class PathNotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"
    hint = "Check the URL; the model list is at /v1/models."

    def __init__(self, path: str, call: str = "", reason: str = "") -> None:
        """`call`: the path of a call, such as `/v1/chat/completions`, with whose end the path ends.

        `reason`: why the proxy does not serve this path of an API.
        """
        known = f"this call is at {call}: check the client's base URL" if call else "the model list is at /v1/models"
        super().__init__(f"{path} is not served: {reason}." if reason else f"Unknown path {path}; {known}.")


class MethodNotAllowed(ApiError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    hint = "Use a method listed in the Allow header."

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(f"Method {method} is not allowed; use {allow}.")
        self.allow = allow


class WebsocketNotSupported(ApiError):
    """A WebSocket handshake on the path of a call. Clients switch to HTTP after 426, and retry after other statuses."""

    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"
    hint = "Send the call with POST; with `stream: true` the response is a stream of server-sent events."

    def __init__(self) -> None:
        super().__init__(
            "Calls over WebSocket are not supported; send them with POST. With `stream: true` the response is a "
            "stream of server-sent events."
        )


class UpstreamTimeout(ApiError):
    """408 of the Pangu contract: a provider has not responded within `initial_wait`."""

    status = 408
    type = "upstream_error"
    code = "timeout"
    hint = "Retry later."


class ModelListUnavailable(ApiError):
    """No provider has returned a model list, or all lists have expired."""

    status = 503
    type = "service_unavailable_error"
    code = "no_models_known"
    hint = "Retry after the number of seconds in the Retry-After header."


class ModelListIncomplete(ApiError):
    """A model that is not known while the list of a provider is missing.

    The same response for unknown and for forbidden models, as for ModelNotFound.
    """

    status = 503
    type = "service_unavailable_error"
    code = "model_list_incomplete"
    hint = "Retry after the number of seconds in the Retry-After header."

    def __init__(self, model: str, retry_after: float, *, is_listed: bool = False) -> None:
        """`is_listed`: a virtual model that is listed, but none of its targets is suitable yet."""
        what = "cannot be called in this way yet" if is_listed else "is not in the model list, which is incomplete"
        super().__init__(
            f"The model '{model}' {what}: the list of a provider is missing; retry after "
            f"{whole_seconds(retry_after)} s.",
            param="model",
            retry_after=retry_after,
        )


class BodyTooLarge(ApiError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"
    hint = "Send a smaller body, or ask the proxy's administrator to raise `server.max_request`."

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body exceeds the limit of {limit:,} bytes.")


class RequestTimeout(ApiError):
    """A client that takes too long to send a request."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"
    hint = "Send the request again, faster, or ask the proxy's administrator to raise `server.limits`."


class UriTooLong(ApiError):
    status = 414
    type = "invalid_request_error"
    code = "uri_too_long"
    hint = "Send a shorter URL; parameters of calls belong to the request body."

    def __init__(self, limit: int) -> None:
        super().__init__(f"The URL exceeds the limit of {limit:,} bytes.")


class HeadersTooLarge(ApiError):
    status = 431
    type = "invalid_request_error"
    code = "request_headers_too_large"
    hint = "Send fewer or shorter headers, or ask the proxy's administrator to raise `server.limits.headers`."


class UnsupportedMediaType(ApiError):
    """A body with a content-encoding that is not supported."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"
    hint = "Send the body with `Content-Encoding: gzip` or `zstd`, or uncompressed."
    accept_encoding = "gzip, zstd"

    def __init__(self) -> None:
        super().__init__("The content-encoding of the request body is not supported; use gzip, zstd or none.")


class ContentTypeRequired(ApiError):
    """A call that a form of any web page could send, while no keys are configured."""

    status = 415
    type = "invalid_request_error"
    code = "content_type_required"
    hint = "Send JSON with `Content-Type: application/json`, or a form as multipart/form-data."

    def __init__(self) -> None:
        super().__init__(
            "The Content-Type of a call must be application/json or multipart/form-data, because this proxy has no "
            "API keys; add `Content-Type: application/json`."
        )


class ModelNotCallable(ApiError):
    """A model whose providers are all list-only."""

    status = 400
    type = "invalid_request_error"
    code = "model_not_callable"
    hint = "Choose another model; this one is list-only."

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model}' is list-only: it cannot be called through this proxy.", param="model")


class ApiNotSupported(ApiError):
    """A call in an API that no provider of the model supports (`speaks`)."""

    status = 400
    type = "invalid_request_error"
    code = "api_not_supported"
    hint = "Call the model through one of the APIs in the message, or choose another model."

    def __init__(self, model: str, api: str, supported: Sequence[str]) -> None:
        """`api`: the API of the call; `supported`: those that the model can be called through."""
        super().__init__(
            f"The model '{model}' cannot be called through the {api}; use the {' or the '.join(supported)}.",
            param="model",
        )


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


class InternalError(ApiError):
    """A bug in the proxy. The message is constant; details are logged."""

    def __init__(self) -> None:
        super().__init__("Internal error in the proxy; search its log for the x-request-id of this response.")


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


def whole_seconds(seconds: float) -> int:
    """Return the value of a `Retry-After` header: rounded up, at least 1."""
    return max(1, math.ceil(seconds))


def describe_bug(bug: BaseException) -> str:
    """Return the class and the stack of an unexpected exception, for the log.

    Its text is omitted: it can contain a header, a body or a key.
    """
    stack = "".join(traceback.format_tb(bug.__traceback__))
    return f"{type(bug).__name__}\n{stack}"
