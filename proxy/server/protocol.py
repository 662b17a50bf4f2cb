"""uvicorn's HTTP/1.1 protocol with six changes.

- A cached response is sent synchronously: creating a task per request costs more than the response.
- A client that disconnects during a call is detected, even if it has pipelined further requests.
- Malformed HTTP, and HTTP that another server could read differently (`heads`), gets an error in OpenAI's format, after
  the responses to earlier requests. Trailers are dropped.
- `Upgrade` is ignored, and the body of such a request is read.
- HTTP/1.0 clients get streams without chunk sizes; the end of the connection ends them.
"""

from __future__ import annotations

import asyncio
import logging
import typing
import weakref
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from proxy.api.headers import error_headers
from proxy.api.request import RequestHead, request_id
from proxy.asgi import Header, RawResponse, Scope
from proxy.errors import BadRequest
from proxy.seams import plain_http
from proxy.server import heads
from proxy.server.app import NO_TUNNEL, Proxy
from proxy.wire.openai import openai_error

if typing.TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_NOISE = (
    # Any client can cause one of these with every request, and flood the log.
    "ASGI callable returned without",  # a call ended early; the next two are logged by uvicorn's own protocol
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
)
_MALFORMED = "Malformed HTTP request; percent-encode non-ASCII characters in the URL."
_SLASH = ord("/")
STALL = 60.0
"""Seconds without progress after which the connection of a client that does not read its response is closed."""
_MAX_DIRECT = 64 * 1024  # bytes of a response that is written without flow control
_MAX_PIPELINED_BYTES = 1024 * 1024  # read ahead while a call is in progress
_MAX_PIPELINED = 100  # requests


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol for the application `Proxy`."""

    # Slots: CPython 3.11 accesses attributes more slowly if an object has more than 30 without them. uvicorn's has 28.
    __slots__ = ("_checked", "_client", "_framing", "_proxy", "_rejection", "_unread", "_valid")

    def __init__(self, *arguments: typing.Any, **settings: typing.Any) -> None:
        super().__init__(*arguments, **settings)
        self._client: _ClientConnection | None = None
        self._unread = 0
        """Bytes that the client had not read at the last check."""
        self._checked: list[Header] = []
        """The headers of the current request in `heads.CHECKED`."""
        self._valid: Sequence[Header] = ()
        """The same of an earlier request that were valid and without a body: those of most requests are equal."""
        self._framing = 0
        """Bytes since the last head or the last part of a body: a chunk's size and extensions, trailers."""
        self._rejection = ""
        """Why the data after the last valid request is not parsed."""

    def data_received(self, data: bytes) -> None:
        if self._rejection:
            return
        self._unset_keepalive_if_required()
        self._framing += len(data)
        try:
            self._parse(data)
        except HttpParserError as error:
            self._reject(error.__context__ if isinstance(error.__context__, BadRequest) else BadRequest(_MALFORMED))
        except HttpParserUpgrade:
            self._reject(NO_TUNNEL)
        else:
            if self._framing > heads.MAX_TRAILER_BYTES and isinstance(self.headers, heads.Trailers):
                self._reject(heads.too_many_trailers())

    def on_header(self, name: bytes, value: bytes) -> None:
        header = (name.lower(), value)
        self.headers.append(header)
        if header[0] in heads.CHECKED:
            self._checked.append(header)

    def on_headers_complete(self) -> None:
        """Check the head, and begin the request. In place of uvicorn's method, which this is otherwise equal to."""
        self._framing = 0
        checked, self._checked = self._checked, []
        if self.parser.should_upgrade():
            return  # `_parse` feeds the head again
        scope = self.scope
        scope["method"] = self.parser.get_method().decode()
        scope["http_version"] = version = self.parser.get_http_version()
        of_body: Sequence[bytes] = ()
        if version != "1.1" or checked != self._valid:
            of_body = heads.check(version, checked)
            self._valid = () if of_body else checked
        if self.url[0] != _SLASH or b"#" in self.url:
            self.url = heads.origin_form(scope["method"], self.url, checked)
        raw_path, _, scope["query_string"] = self.url.partition(b"?")
        scope["raw_path"] = raw_path
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        self._begin(version, of_body)

    def _begin(self, version: str, of_body: Sequence[bytes]) -> None:
        earlier = self.cycle
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            # HTTP/1.0 clients would read "100 Continue" as the response (RFC 9110, 10.1.1).
            expect_100_continue=version == "1.1" and b"expect" in of_body,
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if b"transfer-encoding" in of_body:
            # The parser calls `on_header` for trailers as well, and the scope of the request has the same list.
            self.headers = heads.Trailers()
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        super().on_body(body)

    def _reject(self, error: BadRequest) -> None:
        """Respond with 400 after the responses to earlier requests. Nothing that follows is parsed."""
        self._rejection = error.message
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self.send_400_response(self._rejection)
        elif cycle.more_body and self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
        elif cycle.more_body:
            self._reject_body(cycle)

    def _reject_body(self, cycle: RequestResponseCycle) -> None:
        """End a request with an invalid body that is in progress."""
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.response_started:
            self.transport.close()
        else:
            self.send_400_response(self._rejection)

    def on_response_complete(self) -> None:
        is_last = self._rejection and not self.pipeline
        super().on_response_complete()
        if is_last and not self.transport.is_closing():
            self.send_400_response(self._rejection)

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed the parser; parse a request head with `Upgrade` a second time, without that header.

        The parser stops at the end of such a head and would parse the request's body as the next request. Without
        `Upgrade` it reads the body according to Content-Length or Transfer-Encoding.

        Raises HttpParserUpgrade for CONNECT, where the parser always stops, and HttpParserError for invalid HTTP.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as stopped:
                offset: int = stopped.args[0]
            else:
                return
            head = self._head_without_upgrade()
            # The old parser ignores all further data if the request closes the connection.
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
            self.parser.feed_data(head)
            data = memoryview(data)[offset:]

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just parsed, without `Upgrade`, which a server may ignore (RFC 9110, 7.8)."""
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = (b"%b: %b" % field for field in self.headers if field[0] != b"upgrade")
        return b"\r\n".join((line, *fields, b"", b""))

    def _should_upgrade(self) -> bool:
        """Make uvicorn's callbacks skip a head at which the parser stops; `_parse` feeds it again."""
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        scope = typing.cast(Scope, cycle.scope)
        head = RequestHead(scope)
        decision = self._proxy.decide(head)
        if isinstance(decision, RawResponse) and not head.has_body and self._is_direct(cycle):
            self.write_response(cycle, decision)
            return
        scope["decided"] = head, decision
        scope["connection"] = self._client = _ClientConnection(self, cycle)
        # A pipelined request behind a cached response: the keep-alive timer of that response is still running.
        self._unset_keepalive_if_required()
        super()._start_asgi_task(cycle, _without_chunks(app, cycle) if scope["http_version"] == "1.0" else app)

    def _with_cors(self, request: Iterable[Header], headers: list[Header]) -> list[Header]:
        cors = self._proxy.deployment.cors
        return cors.add(request, headers) if cors else headers

    def _is_direct(self, cycle: RequestResponseCycle) -> bool:
        """Return whether a response can be written synchronously: keep-alive, no unread bytes, no pipelining.

        Of pipelined requests only the first is: afterwards the keep-alive timer is set. So a client cannot block the
        event loop with a thousand requests in one segment.
        """
        return (
            cycle.keep_alive
            and not self.flow.write_paused
            and not self.pipeline
            and self.timeout_keep_alive_task is None
        )

    def write_response(self, cycle: RequestResponseCycle, response: RawResponse) -> None:
        """Write a complete response on a keep-alive connection, with one system call."""
        fields = self._with_cors(cycle.scope["headers"], response.headers)
        headers = map(b": ".join, (*cycle.default_headers, *fields))
        start = STATUS_LINE[response.status] + b"\r\n".join(headers) + b"\r\n\r\n"
        cycle.response_started = cycle.response_complete = True
        if response.body or response.rest:
            self.transport.writelines([start, response.body, *response.rest])
        else:
            self.transport.write(start)
        cycle.message_event.set()
        cycle.on_response()
        cycle.on_response = _nothing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._proxy = typing.cast(Proxy, self.config.app)
        self.flow = WatchedFlowControl(self)

    def reads_on(self) -> bool:
        """Return whether to keep reading despite pipelined requests: a disconnect is only detected while reading."""
        if self._client is None or not self._client.is_watched or len(self.pipeline) >= _MAX_PIPELINED:
            return False
        return sum(_size(cycle) for cycle, _ in self.pipeline) < _MAX_PIPELINED_BYTES

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._client:
            self._client.lose()
            self._client = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; with unread bytes only if the client has read none since the last check."""
        unread = self.transport.get_write_buffer_size()
        if not unread:
            super().timeout_keep_alive_handler()
        elif unread == self._unread:
            self.transport.abort()
        else:
            self._unread = unread
            self.timeout_keep_alive_task = self.loop.call_later(STALL, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        body = openai_error(BadRequest(msg))
        headers = [
            *error_headers(BadRequest("")),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id()),
            (b"connection", b"close"),
        ]
        # The headers that were read before the error, possibly none.
        request = self.scope["headers"] if self.scope else ()
        fields = (*self.server_state.default_headers, *self._with_cors(request, headers))
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in fields)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()


class WatchedFlowControl(FlowControl):
    """uvicorn's flow control, which keeps reading while a call is watched for a disconnect."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol

    def pause_reading(self) -> None:
        if not self._protocol.reads_on():
            super().pause_reading()


class _ClientConnection:
    """`proxy.asgi.ClientConnection` of one request. Detects a disconnect without a task."""

    __slots__ = ("_cycle", "_protocol", "on_disconnect")

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        # The cycle's scope references this object: a strong reference would create a reference cycle per request.
        self._cycle = weakref.ref(cycle)
        self.on_disconnect: typing.Callable[[], None] = _nothing

    def lose(self) -> None:
        """The connection is closed. uvicorn notifies only the newest request, and this may be an earlier one."""
        cycle = self._cycle()
        if cycle and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.on_disconnect()

    @property
    def is_watched(self) -> bool:
        """Whether a disconnect of the client must be detected."""
        return self.on_disconnect is not _nothing

    def abort(self) -> None:
        self._protocol.transport.abort()

    def watch(self, on_disconnect: typing.Callable[[], None]) -> typing.Callable[[], None]:
        self.on_disconnect = on_disconnect
        # uvicorn pauses reading after a long body, and a disconnect is only detected while reading.
        self._protocol.flow.resume_reading()
        cycle = self._cycle()
        if cycle is None or cycle.disconnected:
            self._protocol.loop.call_soon(on_disconnect)
        return self._stop_watching

    def _stop_watching(self) -> None:
        self.on_disconnect = _nothing

    def send(self, response: RawResponse) -> bool:
        cycle, protocol = self._cycle(), self._protocol
        if (
            cycle is None
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or protocol.flow.write_paused
            or len(response.body) > _MAX_DIRECT
        ):
            return False
        protocol.write_response(cycle, response)
        return True


def _without_chunks(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """Return an application whose response of unknown length is sent without chunk sizes."""

    async def unchunked(scope: typing.Any, receive: typing.Any, send: typing.Any) -> None:
        is_sized = True

        async def send_plain(message: typing.Any) -> None:
            nonlocal is_sized
            if message["type"] == "http.response.start":
                is_sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = None if is_sized else False
            elif not is_sized:
                cycle.expected_content_length = len(message.get("body", b""))  # uvicorn compares the two lengths
            await send(message)

        await app(scope, receive, send_plain)

    return unchunked


def _size(cycle: RequestResponseCycle) -> int:
    """The approximate memory of a request in bytes."""
    return len(cycle.body) + len(cycle.scope["raw_path"]) + sum(len(n) + len(v) for n, v in cycle.scope["headers"])


def _nothing() -> None:
    pass


def drop_noise() -> None:
    """Drop log messages that any client can cause at will."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_NOISE))


def http_protocol() -> type[asyncio.Protocol]:
    """Return the HTTP protocol of the server: `Protocol`, or the unmodified h11 protocol of uvicorn.

    h11, not httptools, because it reads the body of a request with `Upgrade`.
    """
    if not plain_http():
        return Protocol
    from uvicorn.protocols.http.h11_impl import H11Protocol

    return H11Protocol
