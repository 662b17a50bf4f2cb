"""The request itself is wrong: its path, method, headers or body."""

from __future__ import annotations

from proxy.errors.api_error import ApiError


class BadRequest(ApiError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    hint = "Fix the request and send it again."


class PathNotFound(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"
    hint = "Check the URL; the model list is at /v1/models."

    def __init__(self, path: str, call: str = "", reason: str = "", base: str = "") -> None:
        """`call`: the path of a call, such as `/v1/chat/completions`, with whose end the path ends. Both are below
        `base`, what all paths begin with.

        `reason`: why the proxy does not serve this path of an API.
        """
        models = f"the model list is at {base}/v1/models"
        known = f"this call is at {base}{call}: check the client's base URL" if call else models
        path = base + path
        super().__init__(f"{path} is not served: {reason}." if reason else f"Unknown path {path}; {known}.")


class PathOutsideBase(ApiError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"
    hint = "Add `server.base_path` to the client's base URL."

    def __init__(self, path: str, base: str) -> None:
        super().__init__(f"Unknown path {path}; all paths begin with {base}: check the client's base URL.")


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


class BodyTooLarge(ApiError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"
    hint = "Send a smaller body, or ask the proxy's administrator to raise `server.max_request`."

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body exceeds the limit of {limit:,} bytes.")


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
