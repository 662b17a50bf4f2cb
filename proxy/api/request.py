"""The head of a request: method, path and the headers that the proxy uses, read in one pass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count
from secrets import token_hex

from proxy.access.sessions import Session
from proxy.asgi import AddHeaders, ClientConnection, Header, Scope
from proxy.calls import Api
from proxy.key_headers import KEY_HEADERS
from proxy.telemetry import CallRecord
from proxy.wire import LIST_HEADERS

# Ids are logged, and sent to providers; a key that a client sends as one must not be.
_REQUEST_ID = re.compile(rb"(?!sk-|mp-|eyJ)[A-Za-z0-9._:-]{1,128}")
_process = token_hex(6).encode()
"""Begins all ids of this process."""
_counter = count(1)
_READ = frozenset(
    {
        *KEY_HEADERS,
        *LIST_HEADERS,
        b"accept-encoding",
        b"if-none-match",
        b"x-request-id",
        b"transfer-encoding",
        b"content-length",
        b"x-forwarded-for",
    }
)
_CONNECTION_CLOSE: Sequence[Header] = ((b"connection", b"close"),)

ReadHeaders = tuple[list[Header], bytes, bytes, tuple[bytes, ...], bytes, bool, bytes]
"""What a `RequestHead` reads from headers: its credentials, accept_encoding, if_none_match and list_headers, the
`x-request-id`, its has_body and forwarded_for."""


class RequestHead:
    """A request without its body."""

    __slots__ = (
        "accept_encoding",
        "add_headers",
        "began",
        "call",
        "cost",
        "credentials",
        "error",
        "forwarded_for",
        "has_body",
        "if_none_match",
        "key",
        "list_headers",
        "method",
        "path",
        "path_model",
        "query",
        "raw_path",
        "read_headers",
        "request_id",
        "route",
        "scope",
        "status",
    )

    def __init__(self, scope: Scope, began: float = 0.0, read_headers: ReadHeaders | None = None) -> None:
        """`scope`: the ASGI scope of an HTTP request; `began`: monotonic seconds.

        `read_headers`: those of an earlier request with the same headers.
        """
        self.scope = scope
        self.began = began
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        """Percent-decoded."""
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.path_model = ""
        """The model in the path of a call (Azure)."""
        self.credentials: list[Header]
        self.accept_encoding: bytes
        self.if_none_match: bytes
        self.list_headers: tuple[bytes, ...]
        """The headers that select the format of a model list."""
        self.request_id: bytes
        self.has_body: bool
        """Whether the request has a body that was not read yet."""
        self.forwarded_for: bytes
        """The header `X-Forwarded-For`; several are joined."""
        self.read_headers = read_headers or _read(scope["headers"])
        (
            self.credentials,
            self.accept_encoding,
            self.if_none_match,
            self.list_headers,
            sent_id,
            self.has_body,
            self.forwarded_for,
        ) = self.read_headers
        self.request_id = request_id(sent_id)
        self.key: str | None = None
        """The identity of the caller, "" without one; None if the caller was not identified."""
        self.cost = 0
        """The cost of identifying the caller, in about microseconds of CPU, besides the cost of every request."""
        self.route = ""
        """The path in the table of routes, such as `/v1/models/{id}`; "" if none matches."""
        self.call: CallRecord | None = None
        """None unless the request is a call."""
        self.status = 0
        """The status of the response, 0 before it is known."""
        self.error = ""
        """The code of an error response, "" for none."""
        self.add_headers: AddHeaders | None = None
        """What the server adds to the headers of the response."""

    def begin_call(self, api: Api) -> CallRecord:
        """Record that the request is a call of an identified caller, in this API."""
        self.call = CallRecord(
            self.request_id.decode(),
            self.method,
            self.route,
            api,
            self.key or "",
            self.peer,
            self.forwarded_for,
            self.began,
        )
        return self.call

    @property
    def peer(self) -> str:
        """The address of the connection, "" if unknown."""
        client = self.scope.get("client")
        return client[0] if client else ""

    @property
    def headers(self) -> Sequence[Header]:
        headers: Sequence[Header] = self.scope["headers"]
        return headers

    @property
    def is_websocket_handshake(self) -> bool:
        """Whether the request is a WebSocket handshake. A reverse proxy may have removed `Upgrade`."""
        return self.method == "GET" and any(name == b"sec-websocket-key" for name, _ in self.headers)

    @property
    def path_params(self) -> Mapping[str, str]:
        """Values of the `{name}` segments of the route's path; set by the router."""
        params: Mapping[str, str] = self.scope["path_params"]
        return params

    @property
    def session(self) -> Session | None:
        """The session of an administrator, for paths of the status page; set by the gate."""
        return self.scope.get("session")

    @property
    def csrf_token(self) -> str:
        """What forms of the status page must contain as the field `csrf`; set by the gate."""
        token: str = self.scope["csrf_token"]
        return token

    @property
    def form(self) -> Mapping[str, str]:
        """The fields of a form of the status page, without `csrf`; set by the gate."""
        form: Mapping[str, str] = self.scope["form"]
        return form

    @property
    def connection(self) -> ClientConnection | None:
        """The client's connection; None on other servers than the proxy's own."""
        return self.scope.get("connection")

    @property
    def connection_close(self) -> Sequence[Header]:
        """`connection: close` if the body was not read, because the connection cannot be reused then."""
        return _CONNECTION_CLOSE if self.has_body else ()


def _read(headers: Sequence[Header]) -> ReadHeaders:
    credentials: list[Header] = []
    accept_encoding = if_none_match = sent_id = forwarded_for = b""
    list_headers: tuple[bytes, ...] = ()
    has_body = False
    for name, value in headers:
        if name not in _READ:  # most headers of most requests
            continue
        if name in LIST_HEADERS and value.startswith(LIST_HEADERS[name]) and name not in list_headers:
            list_headers += (name,)
        if name in KEY_HEADERS:
            credentials.append((name, value))
        elif name == b"accept-encoding":
            accept_encoding = value
        elif name == b"if-none-match":
            if_none_match = value
        elif name == b"x-request-id":
            sent_id = value
        elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            has_body = True
        elif name == b"x-forwarded-for":
            forwarded_for = b"%b, %b" % (forwarded_for, value) if forwarded_for else value
    return credentials, accept_encoding, if_none_match, list_headers, sent_id, has_body, forwarded_for


def request_id(given: bytes = b"") -> bytes:
    """Return the client's `x-request-id` if it is valid, otherwise a new id."""
    return given if given and _REQUEST_ID.fullmatch(given) else b"%b-%x" % (_process, next(_counter))


def renew_process_id() -> None:
    """Begin ids with other digits, in a copy of a process that has created some."""
    global _process
    _process = token_hex(6).encode()
