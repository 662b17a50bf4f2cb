"""What all faces share: reading a request's head, sending an answer whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import count
from secrets import token_hex
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from proxy.access import Caller
from proxy.access.keys import KEY_HEADERS
from proxy.asgi import Header
from proxy.errors import ApiError, RelayedError
from proxy.wire.anthropic import anthropic_error
from proxy.wire.headers import error_headers
from proxy.wire.openai import openai_error
from proxy.wire.pangu import pangu_error

RawResponse = tuple[int, list[Header], bytes]
"""A whole answer: status, headers, body."""

PANGU_PATHS = ("/v1/workspaces/", "/workspaces/")
BASES = ("/v1", "", "/v1/models", "/models")
"""The paths of a `base_url` under which calls are taken, as lists are."""
ANTHROPIC_PATHS = frozenset(base + path for base in BASES for path in ("/messages", "/messages/count_tokens"))

_MAX_ACCEPT = 512
_MAX_IF_NONE_MATCH = 8192
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_process = token_hex(6).encode()
_counter = count(1)
_READ = frozenset(
    {*KEY_HEADERS, b"accept-encoding", b"if-none-match", b"x-request-id", b"transfer-encoding", b"content-length"}
)


class RequestHead:
    """The few headers of a request that we act on, read in one pass."""

    __slots__ = ("accept_encoding", "credentials", "has_body", "if_none_match", "request_id")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.credentials: list[tuple[bytes, bytes]] = []
        self.accept_encoding = b""
        self.if_none_match = b""
        self.request_id = b""
        self.has_body = False
        for name, value in headers:
            if name not in _READ:  # most are not, and this is asked of each header of each request
                continue
            if name in KEY_HEADERS:
                self.credentials.append((name, value))
            elif name == b"accept-encoding":
                self.accept_encoding = value
            elif name == b"if-none-match":
                self.if_none_match = value
            elif name == b"x-request-id":
                self.request_id = value if _REQUEST_ID.fullmatch(value) else b""
            elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
                self.has_body = True
        if not self.request_id:
            self.request_id = new_request_id()

    @property
    def connection_close(self) -> Sequence[Header]:
        """Nobody is going to read a body, and a connection whose body was not read cannot be used again."""
        return _CONNECTION_CLOSE if self.has_body else ()


_CONNECTION_CLOSE: Sequence[Header] = ((b"connection", b"close"),)


def new_request_id() -> bytes:
    """Unlike any other of this process, and most likely of all others."""
    return b"%b-%x" % (_process, next(_counter))


def head_of(scope: Scope) -> RequestHead:
    """The head that the gate has read, for who is reached by a route."""
    head: RequestHead = scope["state"]["head"]
    return head


def caller_of(scope: Scope) -> Caller:
    """Who is asking, as the gate has found out, for who is reached by a route."""
    caller: Caller = scope["state"]["caller"]
    return caller


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether an `Accept-Encoding` header allows gzip (RFC 9110, 12.5.3); a very long one is not read."""
    return len(accept_encoding) <= _MAX_ACCEPT and _allows_gzip(accept_encoding)


# What a client sends is kept here, so it must be short.
@lru_cache(maxsize=1024)
def _allows_gzip(accept_encoding: bytes) -> bool:
    weights: dict[str, float] = {}
    for part in accept_encoding.decode("latin-1").lower().split(","):
        coding, _, parameters = part.partition(";")
        name, _, weight = parameters.strip().partition("=")
        try:
            weights[coding.strip()] = float(weight) if name == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    return max(weights.get("gzip", weights.get("*", 0.0)), weights.get("x-gzip", 0.0)) > 0


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Whether an `If-None-Match` header names this ETag (weak comparison, RFC 9110, 13.1.2)."""
    if not 0 < len(if_none_match) <= _MAX_IF_NONE_MATCH:
        return False
    if if_none_match == etag:
        return True  # as nearly always
    given = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag in given or given == [b"*"]


async def send_answer(send: Send, status: int, headers: Sequence[Header], body: bytes) -> None:
    """One whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(scope: Scope, send: Send, head: RequestHead, error: ApiError) -> None:
    """An error, in the dialect of the contract that was asked under this path."""
    body = _in_words_of(scope["path"], error)
    headers = [
        *error_headers(error),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", head.request_id),
        *head.connection_close,
    ]
    if scope["path"] in ANTHROPIC_PATHS:
        headers.append((b"request-id", head.request_id))  # where Anthropic's SDK looks for it
    await send_answer(send, error.status, headers, b"" if scope["method"] == "HEAD" else body)


def _in_words_of(path: str, error: ApiError) -> bytes:
    """The body of an error in the dialect of whoever asks under this path; a provider's own words as they are."""
    if isinstance(error, RelayedError):
        return error.body
    if path in ANTHROPIC_PATHS:
        return anthropic_error(error)
    return (pangu_error if path.startswith(PANGU_PATHS) else openai_error)(error)


class ClientConnection(Protocol):
    """What our own server can do beyond ASGI; it stands in the scope as `direct`."""

    def watch(self, left: Callable[[], None]) -> Callable[[], None]:
        """Calls `left` when the client leaves; what is returned ends that."""
        ...

    def send(self, response: RawResponse) -> bool:
        """Sends a whole answer with one system call; False where ASGI must do it."""
        ...

    def abort(self) -> None:
        """Ends the connection, although the client has not read all of it."""
        ...


class Answer:
    """A JSON answer as a starlette endpoint returns it: an ASGI application."""

    def __init__(self, body: bytes, status: int = 200, headers: Iterable[Header] = ()) -> None:
        self._body = body
        self._status = status
        self._headers = list(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        headers = [
            *self._headers,
            (b"content-length", b"%d" % len(self._body)),
            (b"x-request-id", head_of(scope).request_id),
        ]
        await send_answer(send, self._status, headers, b"" if scope["method"] == "HEAD" else self._body)
