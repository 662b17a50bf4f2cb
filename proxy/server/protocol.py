"""HTTP/1.1 on one connection, in place of uvicorn's protocol, which differs in ten points.

- A cached response is sent synchronously: creating a task per request costs more than the response (`cycle`).
- A request that repeats the last one is not parsed again (`request_parser`).
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
from collections.abc import Mapping, Sequence

from uvicorn.protocols.utils import get_remote_addr

from proxy.api.request import RequestHead, request_id
from proxy.asgi import Handler, Header, RawResponse, Scope
from proxy.errors import ApiError, describe_bug
from proxy.server.app import Proxy
from proxy.server.cycle import Cycle, head_bytes
from proxy.server.deployment import Deployment
from proxy.server.error_response import error_response
from proxy.server.flow_control import WatchedFlowControl
from proxy.server.gate import decide
from proxy.server.read_turns import ReadTurns
from proxy.server.receiver import Receiver
from proxy.server.request_parser import RequestParser
from proxy.server.shares import BYTES_PER_UNIT, LOW, REQUEST, Share
from proxy.server.timeouts import Timeouts
from proxy.telemetry.events import RefusedRequest

if typing.TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

TLS_CLOSE_SECONDS = 1.0
"""How long an idle client can take to confirm the end of TLS; its descriptor is in use until then."""
FIRST_REQUEST_SECONDS = 1.0
"""How long a stopping server waits for the first request on a connection."""

_log = logging.getLogger("models_proxy")


class Protocol(asyncio.Protocol):
    """One connection of a client to the application `Proxy`."""

    __slots__ = (
        "_head",
        "_is_admitted",
        "_proxy",
        "_shares",
        "_timeouts",
        "bytes_received",
        "client",
        "cycle",
        "flow",
        "loop",
        "parser",
        "receiver",
        "server_state",
        "share",
        "transport",
    )

    flow: WatchedFlowControl
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
        self.parser = RequestParser(self)
        self.client: tuple[str, int] | None = None
        self.cycle: Cycle | None = None
        """The last request, None before the first one and after an error."""
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

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # of uvicorn's protocols
        self.transport = transport
        self.flow = WatchedFlowControl(transport)
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
        self.parser.close()
        # They reference this object: without that, all of it is freed at once. The garbage collector would stop the
        # event loop for 40 ms to find the remains of 1,000 connections.
        del self.parser, self.receiver, self._timeouts
        self._head = None

    def eof_received(self) -> None:
        """A client may have finished sending: the connection is closed."""

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    def shutdown(self) -> None:
        """Close the connection after the request in progress. Called by uvicorn when the server stops.

        A new connection is closed after its first request, which may be on its way.
        """
        if cycle := self.current:
            cycle.keep_alive = False
        elif self.cycle is None and not self._timeouts.lingers:
            self.loop.call_later(FIRST_REQUEST_SECONDS, self._close_unused)
        else:
            self.close_idle()

    def _close_unused(self) -> None:
        if self.cycle is None and not self.has_begun:
            self.close_idle()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def default_headers(self) -> Sequence[Header]:
        """The first headers of every response."""
        return self.server_state.default_headers

    @property
    def read_turns(self) -> ReadTurns:
        return self._proxy.connections.read_turns

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
        """Close the connection. With TLS that waits for the client, which may not read."""
        self.transport.close()
        if self.transport.get_extra_info("ssl_object"):
            self.loop.call_later(TLS_CLOSE_SECONDS, self.transport.abort)

    # -- requests ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and (self.share is None or self.share.left > 0):
            if data == self.parser.last:
                self.parser.repeat()
                return
            if self.receiver.is_simple(data):
                self.parser.feed_whole(data)
                return
        self.parser.last = b""
        self.receiver.receive(data)

    def begin(self, scope: Scope, of_body: Sequence[bytes], *, keep_alive: bool, repeats: bool = False) -> None:
        """See `request_parser.Connection`."""
        version, keep_alive = scope["http_version"], keep_alive and not self._proxy.connections.are_ending
        self.cycle = cycle = Cycle(self, scope["method"], version, scope["headers"], keep_alive=keep_alive)
        # HTTP/1.0 clients would read "100 Continue" as the response (RFC 9110, 10.1.1).
        if of_body:
            cycle.waiting_for_100_continue = version == "1.1" and b"expect" in of_body
        proxy = self._proxy
        telemetry = proxy.telemetry
        read_headers = self._head.read_headers if repeats and self._head else None
        self._head = head = RequestHead(scope, telemetry.monotonic(), read_headers)
        deployment = proxy.deployment
        decision = decide(deployment, head)
        cycle.add_headers = head.add_headers
        if isinstance(decision, RawResponse):
            self._account(head, len(decision.body) // BYTES_PER_UNIT)
            if cycle.is_direct and not head.has_body:
                self.write_response(cycle, decision)
                head.status = decision.status
                telemetry.request_ended(head)
                return
        else:
            self._account(head, 0)
        scope["connection"] = cycle
        cycle.task = self.loop.create_task(self._respond(cycle, head, decision, deployment))
        self.server_state.tasks.add(cycle.task)

    def _account(self, head: RequestHead, of_body: int) -> None:
        """Count a request against the share of its key. `of_body`: the cost of writing the response's body."""
        share = self.share
        if share is None or share.key != head.key:
            share = self.share = self._shares.of(head.key, self.loop)
        share.left -= REQUEST + head.cost + of_body
        if share.left <= LOW:
            share.renew_soon()

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
            self.server_state.tasks.discard(cycle.task)
            if not cycle.response_complete:
                self.transport.close()

    def write_response(self, cycle: Cycle, response: RawResponse) -> None:
        """Write a complete response on a keep-alive connection, with one system call."""
        fields = response.headers
        if cycle.add_headers:
            fields = cycle.add_headers(cycle.request_headers, fields)
        start = head_bytes(response.status, (*self.server_state.default_headers, *fields), response.lines)
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
        self.parser.last = b""
        own_id = request_id()
        self._record(error, cycle, own_id)
        request, cors = self.parser.request_headers, self._proxy.deployment.cors
        self.transport.write(error_response(error, own_id, self.default_headers, request, cors))
        self.cycle = None  # as before the first request: its response is the error
        if self.transport.can_write_eof():  # TLS cannot
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
