"""HTTP/1.1 as uvicorn speaks it, but for four things.

What is ready is sent at once: a task for each request costs more than the answer. Whoever leaves in the midst of a call
is noticed, whatever else they have sent. Where a request is not even HTTP, our words say so. And `Upgrade` is ignored:
the body of such a request is read as that of any other.
"""

from __future__ import annotations

import asyncio
import logging
import typing
import weakref

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from proxy.api.request import RequestHead, request_id
from proxy.asgi import RawResponse, Scope
from proxy.errors import BadRequest
from proxy.seams import plain_http
from proxy.server.app import Proxy
from proxy.wire.headers import error_headers
from proxy.wire.openai import openai_error

if typing.TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_NOISE = (
    # Any client can cause one of these with every request, and fill the log.
    "ASGI callable returned without",  # a client left, or a provider broke off; the next two by uvicorn's own protocol
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
)
_MALFORMED = "This is not a valid HTTP request; percent-encode what is not ASCII in its URL."
_CONNECT = "The method CONNECT is not supported: this server does not open tunnels."
STALL = 60.0
"""Seconds without any progress after which a client that does not read its answer is cut off."""
_AT_ONCE = 64 * 1024  # bytes of an answer that nobody has to wait for
_MAX_AHEAD = 1024 * 1024  # bytes that are read behind a call before it is answered
_MAX_WAITING = 100  # requests that are


class Protocol(HttpToolsProtocol):
    """uvicorn's, around the application `Proxy`."""

    _client: _ClientConnection | None = None
    _unread = 0
    """Bytes that the client had not read when its connection was last looked at."""

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError:
            self.send_400_response(_MALFORMED)
        except HttpParserUpgrade:
            self.send_400_response(_CONNECT)

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed the parser; parse a head that asks for an upgrade a second time, without its `Upgrade` headers.

        The parser stops at the end of such a head, skips the rest of the segment and would parse the request's body as
        the next request. Without `Upgrade` it reads the body that Content-Length or Transfer-Encoding announce.

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
            # The old parser ignores all further data where the request closes the connection.
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
            self.parser.feed_data(head)
            data = memoryview(data)[offset:]

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just parsed, except `Upgrade`, which a server may ignore (RFC 9110, 7.8)."""
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = (b"%b: %b" % field for field in self.headers if field[0] != b"upgrade")
        return b"\r\n".join((line, *fields, b"", b""))

    def _should_upgrade(self) -> bool:
        """Make uvicorn's callbacks skip a head at which the parser stops: `_parse` feeds it again."""
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        scope = typing.cast(Scope, cycle.scope)
        proxy = typing.cast(Proxy, self.config.app)
        if proxy.decides_early:
            head = RequestHead(scope)
            decision = proxy.decide(head)
            if isinstance(decision, RawResponse) and not head.has_body and self._may_be_sent_at_once(cycle):
                self.write_response(cycle, decision)
                return
            scope["decided"] = head, decision
        scope["connection"] = self._client = _ClientConnection(self, cycle)
        # What came in one piece with a request that was answered at once is no idle connection.
        self._unset_keepalive_if_required()
        super()._start_asgi_task(cycle, app)

    def _may_be_sent_at_once(self, cycle: RequestResponseCycle) -> bool:
        """Whether the client keeps the connection, reads what it is sent, and asks one question at a time.

        Of what comes in one piece only the first is answered so: then the time limit of the idle connection runs.
        Nobody can stop the event loop with a thousand requests in a row.
        """
        return (
            cycle.keep_alive
            and not self.flow.write_paused
            and not self.pipeline
            and self.timeout_keep_alive_task is None
        )

    def write_response(self, cycle: RequestResponseCycle, response: RawResponse) -> None:
        """A whole answer on a connection that goes on, with one system call; two of `write` are two."""
        headers = map(b": ".join, (*cycle.default_headers, *response.headers))
        start = STATUS_LINE[response.status] + b"\r\n".join(headers) + b"\r\n\r\n"
        cycle.response_started = cycle.response_complete = True
        if response.body:
            self.transport.writelines([start, response.body])
        else:
            self.transport.write(start)
        cycle.message_event.set()
        cycle.on_response()
        cycle.on_response = _nothing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.flow = WatchedFlowControl(self)

    def reads_on(self) -> bool:
        """Whether to read although requests wait: only who reads sees a client leave in the midst of a call."""
        if self._client is None or not self._client.is_watched or len(self.pipeline) >= _MAX_WAITING:
            return False
        return sum(_size(cycle) for cycle, _ in self.pipeline) < _MAX_AHEAD

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._client:
            self._client.lose()
            self._client = None

    def timeout_keep_alive_handler(self) -> None:
        """Whoever still reads an answer is not idle; for whoever has stopped reading nothing is kept."""
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
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()


class WatchedFlowControl(FlowControl):
    """uvicorn's, which does not always stop reading."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol

    def pause_reading(self) -> None:
        if not self._protocol.reads_on():
            super().pause_reading()


class _ClientConnection:
    """`proxy.asgi.ClientConnection` of one request: needs no task that waits for the client to disconnect."""

    __slots__ = ("_cycle", "_protocol", "left")

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        # It stands in the cycle's own scope: a plain reference would leave each request to the garbage collector.
        self._cycle = weakref.ref(cycle)
        self.left: typing.Callable[[], None] = _nothing

    def lose(self) -> None:
        """The connection is gone. uvicorn tells only the newest request, and this may be one before."""
        cycle = self._cycle()
        if cycle and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.left()

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to know when the client leaves."""
        return self.left is not _nothing

    def abort(self) -> None:
        self._protocol.transport.abort()

    def watch(self, left: typing.Callable[[], None]) -> typing.Callable[[], None]:
        self.left = left
        # Behind a long body uvicorn has stopped reading, and only who reads sees a client leave.
        self._protocol.flow.resume_reading()
        cycle = self._cycle()
        if cycle is None or cycle.disconnected:
            self._protocol.loop.call_soon(left)
        return self._stop_watching

    def _stop_watching(self) -> None:
        self.left = _nothing

    def send(self, response: RawResponse) -> bool:
        cycle, protocol = self._cycle(), self._protocol
        if (
            cycle is None
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or protocol.flow.write_paused
            or len(response.body) > _AT_ONCE
        ):
            return False
        protocol.write_response(cycle, response)
        return True


def _size(cycle: RequestResponseCycle) -> int:
    """Bytes of a request that are held, about."""
    return len(cycle.body) + len(cycle.scope["raw_path"]) + sum(len(n) + len(v) for n, v in cycle.scope["headers"])


def _nothing() -> None:
    pass


def drop_noise() -> None:
    """Keep the log free of what any client can cause as often as it likes."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_NOISE))


def http_protocol() -> type[asyncio.Protocol]:
    """The HTTP protocol to serve with: ours, or uvicorn's on h11, which uses no private part of it.

    h11, not httptools: it reads the body of a request that offers an upgrade.
    """
    if not plain_http():
        return Protocol
    from uvicorn.protocols.http.h11_impl import H11Protocol

    return H11Protocol
