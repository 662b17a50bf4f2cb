"""HTTP/1.1 on one connection, in place of uvicorn's protocol, which differs in nine points.

- A cached response is sent synchronously: creating a task per request costs more than the response (`cycle`).
- Requests are parsed one at a time: what follows a request is kept as bytes, up to a limit, until it has its response.
- A key gets a share of each iteration of the event loop (`shares`), however many connections it has.
- A client that disconnects during a call is detected, even if it has pipelined further requests.
- Heads, connections and the time that clients take are limited (`timeouts`, `connections`).
- Malformed HTTP, and HTTP that another server could read differently (`heads`), gets an error in OpenAI's format.
- Trailers are dropped.
- `Upgrade` is ignored, and the body of such a request is read.
- HTTP/1.0 clients get streams without chunk sizes; the end of the connection ends them.
"""

from __future__ import annotations

import asyncio
import logging
import typing
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import get_remote_addr

from proxy.api.headers import error_headers
from proxy.api.request import RequestHead, request_id
from proxy.asgi import Handler, Header, RawResponse, Scope
from proxy.errors import ApiError, BadRequest, UriTooLong, describe_bug
from proxy.seams import plain_http
from proxy.server import heads
from proxy.server.app import NO_TUNNEL, Proxy
from proxy.server.cycle import Cycle, head_bytes
from proxy.server.deployment import Deployment
from proxy.server.receiver import MAX_URL, Receiver
from proxy.server.shares import BYTES_PER_UNIT, LOW, REQUEST, Share
from proxy.server.timeouts import Timeouts
from proxy.telemetry.events import RefusedRequest
from proxy.wire.openai import openai_error

if typing.TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

_NOISE = (
    # Any client can cause one of these with every request, and flood the log. Only uvicorn's own protocol logs them.
    "ASGI callable returned without",  # a call ended early
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
)
_MALFORMED = "Malformed HTTP request; percent-encode non-ASCII characters in the URL."
_SLASH = ord("/")

_log = logging.getLogger("models_proxy")


class Protocol(asyncio.Protocol):
    """One connection of a client to the application `Proxy`. The parser calls the methods `on_...`."""

    __slots__ = (
        "_checked",
        "_framing",
        "_head",
        "_is_admitted",
        "_proxy",
        "_shares",
        "_timeouts",
        "_valid",
        "bytes_received",
        "client",
        "cycle",
        "flow",
        "headers",
        "loop",
        "parser",
        "receiver",
        "scope",
        "server_state",
        "share",
        "transport",
        "url",
    )

    flow: FlowControl
    transport: asyncio.Transport

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: Mapping[str, typing.Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """With the arguments that uvicorn passes. Without its `__init__`, which takes as long as accepting does."""
        self.loop = _loop or asyncio.get_running_loop()
        self.server_state = server_state
        self.parser = _parser(self)
        self.client: tuple[str, int] | None = None
        self.cycle: Cycle | None = None
        """The last request, None before the first one and after an error."""
        self.scope: Scope = {}
        """Of the last request."""
        self.headers: list[Header] = []
        self._proxy = typing.cast(Proxy, config.app)
        limits = self._proxy.connections.limits
        self._timeouts = Timeouts(self, limits, self.loop)
        self.receiver = Receiver(self, self._timeouts, limits.headers)
        self._shares = self._proxy.shares
        self.share: Share | None = None
        """Of the key of the last request."""
        self._head: RequestHead | None = None
        """Of the last request."""
        self._is_admitted = False
        self.bytes_received = 0
        self.url = b""
        self._checked: list[Header] = []
        """The headers of the current request in `heads.CHECKED`."""
        self._valid: Sequence[Header] = ()
        """The same of an earlier request that were valid and without a body: those of most requests are equal."""
        self._framing = 0
        """Bytes since the last head or the last part of a body: a chunk's size and extensions, trailers."""

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # of uvicorn's protocols
        self.transport = transport
        self.flow = WatchedFlowControl(self)
        self.client = get_remote_addr(transport)
        descriptor = transport.get_extra_info("socket").fileno()
        self._is_admitted = self._proxy.connections.admit(self, self._address, descriptor)
        if not self._is_admitted:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        cycle, self.cycle = self.cycle, None
        if self._is_admitted:
            self._proxy.connections.discard(self, self._address)
        self.receiver.discard()
        if cycle:
            cycle.lose()
        self.flow.resume_writing()
        self.transport.close()
        self.parser = None  # type: ignore[assignment]  # it references this object

    def eof_received(self) -> None:
        """A client may have finished sending: the connection is closed."""

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    def shutdown(self) -> None:
        """Close the connection after the request in progress. Called by uvicorn when the server stops."""
        if cycle := self.current:
            cycle.keep_alive = False
        else:
            self.transport.close()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def default_headers(self) -> Sequence[Header]:
        """The first headers of every response."""
        return self.server_state.default_headers

    @property
    def current(self) -> Cycle | None:
        """The request in progress, None if the connection is idle."""
        cycle = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    @property
    def has_begun(self) -> bool:
        """Whether a part of a head was received."""
        return self.receiver.head_size > 0

    @property
    def request_headers(self) -> Iterable[Header]:
        """Those of the last request."""
        return self.scope["headers"] if self.scope else ()

    @property
    def idle_rank(self) -> tuple[bool, float] | None:
        """The order in which idle connections are closed: those that sent no request first. None if it is not idle."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            return None
        if self.receiver.is_partial and self.receiver.waiting:
            return None
        return None if self.transport.get_write_buffer_size() else (cycle is not None, self._timeouts.deadline)

    def check(self, now: float) -> None:
        """Close the connection if one of its timeouts is over. `now`: event loop time."""
        self._timeouts.check(now)

    def close_idle(self) -> None:
        self.transport.close()

    # -- requests ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        cycle = self.cycle
        if (
            (cycle is None or cycle.response_complete)
            and (self.share is None or self.share.left > 0)
            and self.receiver.is_simple(data)
        ):
            self._framing = 0
            try:
                self.parser.feed_data(data)
            except (HttpParserError, HttpParserUpgrade) as stopped:
                self._stopped(data, stopped)
        else:
            self.receiver.receive(data)

    def feed(self, data: bytes | memoryview) -> None:
        """Parse bytes of one request; respond with an error if that is not possible."""
        self._framing += len(data)
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as stopped:
            self._stopped(data, stopped)
        else:
            if self._framing > heads.MAX_TRAILER_BYTES and isinstance(self.headers, heads.Trailers):
                self.refuse(heads.too_many_trailers())

    def _stopped(self, data: bytes | memoryview, stopped: HttpParserError | HttpParserUpgrade) -> None:
        """The parser does not continue: respond with an error, or parse a head with `Upgrade` again.

        The parser stops at the end of such a head and would parse the request's body as the next request. Without
        `Upgrade` it reads the body according to Content-Length or Transfer-Encoding. It also stops at CONNECT.
        """
        try:
            while isinstance(stopped, HttpParserUpgrade):
                head = self._head_without_upgrade()
                # The old parser ignores all further data if the request closes the connection.
                self.parser = _parser(self)
                self.parser.feed_data(head)
                data = memoryview(data)[stopped.args[0] :]
                try:
                    self.parser.feed_data(data)
                except HttpParserUpgrade as again:
                    stopped = again
                else:
                    return
        except HttpParserUpgrade:
            self.refuse(NO_TUNNEL)
            return
        except HttpParserError as error:
            stopped = error
        reason = stopped.__context__
        self.refuse(reason if isinstance(reason, ApiError) else BadRequest(_MALFORMED))

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just parsed, without `Upgrade`, which a server may ignore (RFC 9110, 7.8)."""
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = (b"%b: %b" % field for field in self.headers if field[0] != b"upgrade")
        return b"\r\n".join((line, *fields, b"", b""))

    def on_message_begin(self) -> None:
        """Begin a scope, without what the application does not read."""
        self.url = b""
        self.headers = []
        self.scope = {"type": "http", "client": self.client, "headers": self.headers}

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        header = (name.lower(), value)
        self.headers.append(header)
        if header[0] in heads.CHECKED:
            self._checked.append(header)

    def on_headers_complete(self) -> None:
        """Check the head, and begin the request."""
        self._framing = 0
        if len(self.url) > MAX_URL:
            raise UriTooLong(MAX_URL)
        if len(self.headers) > heads.MAX_FIELDS:
            raise heads.too_many_fields()
        checked, self._checked = self._checked, []
        if self.parser.should_upgrade():
            return  # the parser stops here; `_stopped` feeds the head again
        if self.cycle is not None and not self.cycle.response_complete:
            raise BadRequest(_MALFORMED)  # the receiver and the parser disagree on the end of the last request
        scope = self.scope
        scope["method"] = self.parser.get_method().decode()
        scope["http_version"] = version = self.parser.get_http_version()
        of_body: Sequence[bytes] = ()
        if version != "1.1" or checked != self._valid:
            of_body = heads.check(version, checked)
            self._valid = () if of_body or version != "1.1" else checked
        if self.url[0] != _SLASH or b"#" in self.url:
            self.url = heads.origin_form(scope["method"], self.url, checked)
        raw_path, _, scope["query_string"] = self.url.partition(b"?")
        scope["raw_path"] = raw_path
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        self._begin(version, of_body)

    def _begin(self, version: str, of_body: Sequence[bytes]) -> None:
        """Respond to the request, or start the task that does."""
        scope = self.scope
        keep_alive = version == "1.1" and self.parser.should_keep_alive()
        self.cycle = cycle = Cycle(self, scope["method"], version, self.headers, keep_alive=keep_alive)
        if of_body:
            # HTTP/1.0 clients would read "100 Continue" as the response (RFC 9110, 10.1.1).
            cycle.waiting_for_100_continue = version == "1.1" and b"expect" in of_body
            if b"transfer-encoding" in of_body:
                # The parser calls `on_header` for trailers as well, and the scope of the request has the same list.
                self.headers = heads.Trailers()
        telemetry = self._proxy.telemetry
        self._head = head = RequestHead(scope, telemetry.monotonic())
        decision = self._proxy.decide(head)
        cycle.add_headers = head.add_headers
        self._account(head.key, decision)
        if isinstance(decision, RawResponse) and not head.has_body and cycle.is_direct:
            self.write_response(cycle, decision)
            head.status = decision.status
            telemetry.request_ended(head)
            return
        scope["connection"] = cycle
        self.server_state.tasks.add(self.loop.create_task(self._respond(cycle, head, decision, self._proxy.deployment)))

    def _account(self, key: str | None, decision: RawResponse | Handler) -> None:
        """Count a request against the share of its key."""
        share = self.share
        if share is None or share.key != key:
            share = self.share = self._shares.of(key, self.loop)
        share.left -= REQUEST + len(decision.body) // BYTES_PER_UNIT if isinstance(decision, RawResponse) else REQUEST
        if share.left <= LOW:
            share.renew_soon()

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.add(body)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.end_body()

    # -- responses -----------------------------------------------------------------------------------------------------

    async def _respond(
        self, cycle: Cycle, head: RequestHead, decision: RawResponse | Handler, deployment: Deployment
    ) -> None:
        """Let the application respond. Whatever happens, the client does not wait for the rest of a response."""
        try:
            await self._proxy.respond(head, decision, deployment, cycle.receive, cycle.send)
        except Exception as error:
            _log.error("internal error while sending a response: %s", describe_bug(error))
        finally:
            # Not by a callback of the task, which would cost an iteration of the event loop.
            self.server_state.tasks.discard(typing.cast("asyncio.Task[None]", asyncio.current_task()))
            if not cycle.response_complete:
                self.transport.close()

    def _with_cors(self, request: Iterable[Header], headers: list[Header]) -> list[Header]:
        cors = self._proxy.deployment.cors
        return cors.add(request, headers) if cors else headers

    def write_response(self, cycle: Cycle, response: RawResponse) -> None:
        """Write a complete response on a keep-alive connection, with one system call."""
        fields = response.headers
        if cycle.add_headers:
            fields = cycle.add_headers(cycle.request_headers, fields)
        start = head_bytes(response.status, (*self.server_state.default_headers, *fields))
        if response.rest:
            self.transport.writelines([start, response.body, *response.rest])
        elif response.body:
            self.transport.writelines([start, response.body])
        else:
            self.transport.write(start)
        cycle.end_response()

    def on_response_complete(self) -> None:
        """Wait for the next request, or continue with the one that has already been received."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._timeouts.begin_idling()
        if self.receiver.is_partial:
            self.receiver.response_complete()

    def refuse(self, error: ApiError) -> None:
        """Send an error response, and close the connection when the client has received it."""
        cycle = self.current
        if cycle:
            cycle.lose()
        if cycle and cycle.response_started:
            self.transport.close()
            return
        self.receiver.discard()
        own_id = request_id()
        self._record(error, cycle, own_id)
        self.transport.write(self._error(error, own_id))
        self.cycle = None  # as before the first request: its response is the error
        self.transport.write_eof()
        self._timeouts.begin_lingering()
        self.receiver.discard_slowly()

    def _record(self, error: ApiError, cycle: Cycle | None, own_id: bytes) -> None:
        """Report a request that ends with this error. A request in progress (`cycle`) reports its own end."""
        telemetry = self._proxy.telemetry
        if cycle and (head := self._head):
            head.status, head.error = error.status, error.code
            if head.call:
                head.call.failed(error)
            return
        now = telemetry.monotonic()
        telemetry.request_ended(RefusedRequest(error.status, error.code, own_id, self._address, began=now))

    def _error(self, error: ApiError, own_id: bytes) -> bytes:
        body = openai_error(error)
        headers = [
            *error_headers(error),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", own_id),
            (b"connection", b"close"),
        ]
        # The origin is that of the headers that were read before the error, possibly none.
        fields = (*self.server_state.default_headers, *self._with_cors(self.request_headers, headers))
        return head_bytes(error.status, fields) + body


def _parser(protocol: Protocol) -> HttpRequestParser:
    parser = HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
    return parser


class WatchedFlowControl(FlowControl):
    """uvicorn's flow control, which does not resume reading while too many requests are waiting."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if not self._protocol.receiver.is_full:
            super().resume_reading()


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
