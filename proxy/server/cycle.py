"""A request and its response: what the application receives and sends, by ASGI and beyond it.

In place of uvicorn's class of the same purpose: an `asyncio.Event`, a buffer and a weak reference for each request cost
more than a cached response.
"""

from __future__ import annotations

import asyncio
import re
import typing
from collections.abc import Callable, Iterable, Sequence

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from proxy.asgi import AddHeaders, Header, Message, RawResponse

_MAX_DIRECT = 64 * 1024  # bytes of a response that is written without flow control
_WITHOUT_BODY = frozenset({204, 304})
_CHUNKED: Header = (b"transfer-encoding", b"chunked")
_CLOSE: Header = (b"connection", b"close")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""A character that could end a header."""


class Connection(typing.Protocol):
    """The HTTP protocol of the connection."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    @property
    def flow(self) -> FlowControl: ...

    @property
    def default_headers(self) -> Sequence[Header]:
        """The first headers of every response."""
        ...

    def write_response(self, cycle: Cycle, response: RawResponse) -> None: ...

    def on_response_complete(self) -> None: ...


class Cycle:
    """One request on a connection. Is its `proxy.asgi.ClientConnection`, which detects a disconnect without a task.

    Does not reference the scope of the request, which references it: each request would leave a reference cycle.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_has_arrived",
        "_is_chunked",
        "_is_head",
        "_left",
        "_may_chunk",
        "_waiter",
        "add_headers",
        "disconnected",
        "keep_alive",
        "more_body",
        "on_disconnect",
        "request_headers",
        "response_complete",
        "response_started",
        "task",
        "waiting_for_100_continue",
    )

    def __init__(
        self, connection: Connection, method: str, version: str, headers: Iterable[Header], *, keep_alive: bool
    ) -> None:
        """`version`: of HTTP. Clients of HTTP/1.0 get responses of unknown length without chunk sizes."""
        self._connection = connection
        self.request_headers = headers
        self.add_headers: AddHeaders | None = None
        """What is added to the headers of a response that is sent as a whole."""
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = False
        self.more_body = True
        """Whether a part of the request's body was not received yet."""
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.on_disconnect: Callable[[], None] = _nothing
        self.task: asyncio.Task[None]
        """What responds to the request, unless the response is written at once."""
        self._body: bytes | bytearray = b""
        self._has_arrived = False
        """Whether there is something that `receive` has not returned: a part of the body, or its end."""
        self._waiter: asyncio.Future[None] | None = None
        self._is_head = method == "HEAD"
        self._may_chunk = version != "1.0"
        self._is_chunked = False
        self._left: int | None = None
        """Bytes of the response's body that were not sent, None if unknown."""

    # -- the connection ------------------------------------------------------------------------------------------------

    def add(self, data: bytes) -> None:
        """Add a part of the request's body."""
        if self._body:
            self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
            self._body += data
        else:
            self._body = data
        if len(self._body) > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()
        self._wake()

    def end_body(self) -> None:
        self.more_body = False
        self._wake()

    def lose(self) -> None:
        """The client has disconnected."""
        if not self.response_complete:
            self.disconnected = True
            self._wake()
        self.on_disconnect()

    def end_response(self) -> None:
        self.response_started = self.response_complete = True
        if self._waiter:
            self._wake()
        self._connection.on_response_complete()

    def _wake(self) -> None:
        self._has_arrived = True
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():  # it is done if the task was canceled
            waiter.set_result(None)

    # -- ASGI ----------------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        connection = self._connection
        if self.waiting_for_100_continue and not connection.transport.is_closing():
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            connection.flow.resume_reading()
            if not self._has_arrived:
                self._waiter = connection.loop.create_future()
                await self._waiter
            self._has_arrived = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body = self._body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Send the head, or a part of the body. Does nothing after a disconnect. Raises RuntimeError in wrong order."""
        if self._connection.flow.write_paused and not self.disconnected:
            await self._connection.flow.drain()
        if self.disconnected:
            return
        if self.response_complete or self.response_started is (message["type"] == "http.response.start"):
            raise RuntimeError(f"{message['type']} out of order")
        if self.response_started:
            self._send_body(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            self.response_started = True
            self._send_head(message["status"], message["headers"])

    def _send_head(self, status: int, headers: Sequence[Header]) -> None:
        self.waiting_for_100_continue = False
        values = dict(headers)
        lines = [*self._connection.default_headers, *headers]
        if values.get(b"connection") == _CLOSE[1]:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(_CLOSE)
        if self._is_head or status in _WITHOUT_BODY:
            self._left = 0
        elif length := values.get(b"content-length"):
            self._left = int(length)
        elif self._may_chunk:
            self._is_chunked = True
            lines.append(_CHUNKED)
        if any(_CONTROL.search(value) for _, value in headers):
            raise RuntimeError("control character in a header")
        self._connection.transport.write(head_bytes(status, lines))

    def _send_body(self, body: bytes, *, is_last: bool) -> None:
        if self._is_head:
            body = b""
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (is_last and self._left):
                raise RuntimeError("the body has another length than its content-length")
        if self._is_chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if is_last else b"")
        self._connection.transport.write(body)
        if is_last:
            if not self.keep_alive:
                self._connection.transport.close()
            self.end_response()

    # -- beyond ASGI ---------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        self._connection.transport.abort()

    def whole_body(self) -> bytes | None:
        if self.more_body or self.disconnected or self.waiting_for_100_continue or self._connection.flow.read_paused:
            return None
        self._has_arrived = False
        body, self._body = self._body, b""
        return bytes(body)

    def watch(self, on_disconnect: Callable[[], None]) -> Callable[[], None]:
        self.on_disconnect = on_disconnect
        # Reading is paused after a long body, and a disconnect is only detected while reading.
        if self._connection.flow.read_paused:
            self._connection.flow.resume_reading()
        if self.disconnected:
            self._connection.loop.call_soon(on_disconnect)
        return self._stop_watching

    def _stop_watching(self) -> None:
        self.on_disconnect = _nothing

    def send_whole(self, response: RawResponse) -> bool:
        if self.response_started or self.disconnected or not self.is_direct or len(response.body) > _MAX_DIRECT:
            return False
        self._connection.write_response(self, response)
        return True

    @property
    def is_direct(self) -> bool:
        """Whether a response can be written synchronously: keep-alive, no unread bytes."""
        return self.keep_alive and not self._connection.flow.write_paused


def head_bytes(status: int, headers: Iterable[Header], lines: bytes = b"") -> bytes:
    """`headers`: at least one; `lines`: as in `RawResponse`."""
    return STATUS_LINE[status] + b"\r\n".join(map(b": ".join, headers)) + lines + b"\r\n\r\n"


def _nothing() -> None:
    pass
