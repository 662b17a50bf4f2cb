"""The response to the client: its head, its body, and the comments that keep its connection alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping, Sequence
from typing import Any

from proxy.asgi import ClientConnection, Header, RawResponse, Send, headers_of
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded
from proxy.telemetry import CallRecord

_COMMENT = b": keep-alive\n\n"
STREAM_HEADERS: Sequence[Header] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_OF_EVERY_STREAM = (b"content-type", b"cache-control", b"x-accel-buffering")
_WITHOUT_PROVIDER: Sequence[Header] = ((b"content-type", b"text/event-stream; charset=utf-8"), *STREAM_HEADERS)

_log = logging.getLogger("models_proxy")


class ClientResponse:
    """One response. Its head is sent with the first bytes of its body, so that another provider can be tried before."""

    def __init__(
        self,
        send: Send,
        connection: ClientConnection | None,
        scope: CallScope,
        record: CallRecord,
        monotonic: Callable[[], float],
        *,
        id_headers: Sequence[Header],
        lines: bytes,
        waiting: float | None,
    ) -> None:
        """`record`: of the call; `monotonic`: the clock of its times; `id_headers`: with the id of the request.

        `lines`: further headers, as in `RawResponse`. `waiting`: seconds after which comments are sent although no
        provider has responded; None if none are.
        """
        self.has_started = False
        """Whether the head was sent."""
        self.write_timeout = float("inf")
        """Seconds after which a client that reads nothing is disconnected."""
        self.before_send: Callable[[], Awaitable[None]] | None = None
        """What must be done before a part of the body is sent."""
        self._send_message = send
        self._connection = connection
        self._scope = scope
        self._record = record
        self._monotonic = monotonic
        self._id_headers = id_headers
        self._lines = lines
        self._waiting = waiting
        self._status = 200
        self._headers: Sequence[Header] = ()
        self._may_comment: Callable[[], bool] = lambda: True
        self._heartbeat: Heartbeat | None = None
        self.wait_for_provider()

    def wait_for_provider(self) -> None:
        """Expect the response of a provider: the first one, or, after a failover, the next one."""
        if self._waiting is None:
            self.stop_heartbeat()
            return
        if not self.has_started:
            self._status, self._headers = 200, [*_WITHOUT_PROVIDER, *self._id_headers]
        self.keep_alive(self._waiting, lambda: True)

    def prepare(self, status: int, headers: Sequence[Header]) -> None:
        """Set the head. If it was already sent, the headers are logged."""
        if self.has_started:
            self.log_unsent(headers)
        else:
            self._status, self._headers = status, headers

    def log_unsent(self, headers: Iterable[Header]) -> None:
        """Log headers that cannot be sent, because the head was sent before they were known."""
        sent = self._all_headers
        new = (header for header in headers if header not in sent and header[0] not in _OF_EVERY_STREAM)
        if unsent := [b"%b: %b" % header for header in new]:
            request_id = self._id_headers[0][1].decode()
            text = b", ".join(unsent).decode("latin-1")
            _log.info("call %s: headers not sent, because the response had already started: %s", request_id, text)

    def keep_alive(self, seconds: float, may_comment: Callable[[], bool]) -> None:
        """Send a comment whenever nothing else was sent for this long.

        `may_comment`: whether the bytes sent so far end with a complete event.
        """
        self._may_comment = may_comment
        self._heartbeat = self._heartbeat or Heartbeat(self._send_comment)
        self._heartbeat.start(seconds)

    def stop_heartbeat(self) -> None:
        if self._heartbeat:
            self._heartbeat.stop()

    async def start(self) -> None:
        """Send the head. Can block if the client has not read the previous response on this connection."""
        if not self.has_started:
            self._begin(self._status)
            await self._deliver(self._start_message())

    async def send(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body. Raises ClientDisconnected."""
        if self.before_send:
            await self.before_send()
        if not self.has_started:
            await self.start()
        if self._heartbeat:
            self._heartbeat.postpone()
        record = self._record
        if record.first_byte is None:
            record.first_byte = self._monotonic() - record.began
        record.bytes_out += len(body)
        await self._deliver({"type": "http.response.body", "body": body, "more_body": more})

    def send_whole(self, status: int, headers: list[Header], body: bytes) -> bool:
        """Send a complete response, with its head, without waiting. Returns False if that is not possible."""
        if self._connection and self._connection.send_whole(RawResponse(status, headers, body, (), self._lines)):
            self._begin(status)
            record = self._record
            record.first_byte = self._monotonic() - record.began
            record.bytes_out += len(body)
            return True
        return False

    def _begin(self, status: int) -> None:
        self.has_started = True
        self._record.status = status

    def close(self) -> None:
        """Stop comments: the response has ended."""
        if self._heartbeat:
            self._heartbeat.close()
            self._heartbeat = None  # it refers to this object: a cycle would keep the call until a garbage collection

    @property
    def _all_headers(self) -> list[Header]:
        return [*self._headers, *headers_of(self._lines)]

    def _start_message(self) -> MutableMapping[str, Any]:
        return {"type": "http.response.start", "status": self._status, "headers": self._all_headers}

    async def _send_comment(self) -> None:
        if self._may_comment():
            if not self.has_started:
                self._begin(self._status)
                await self._send_message(self._start_message())
            await self._send_message({"type": "http.response.body", "body": _COMMENT, "more_body": True})

    async def _deliver(self, message: MutableMapping[str, Any]) -> None:
        """Send a message. Raises ClientDisconnected, also if the client reads nothing for `write_timeout`."""
        try:
            await self._scope.wait(self._send_message(message), self.write_timeout, sends=True)
        except DeadlineExceeded:
            if self._connection:
                self._connection.abort()  # otherwise the unread bytes stay in memory until the client disconnects
            raise ClientDisconnected from None


class Heartbeat:
    """Calls `send` after every `seconds` without `postpone`, because load balancers close idle connections."""

    def __init__(self, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._seconds = 0.0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self, seconds: float) -> None:
        """Start, or restart with another interval."""
        self.stop()
        self._seconds = seconds
        self._last = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._check)

    def stop(self) -> None:
        """Stop. What is being sent is sent completely."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Stop, also what is being sent: the response has ended."""
        self.stop()
        if self._sending:
            self._sending.cancel()

    def postpone(self) -> None:
        self._last = self._loop.time()

    def _check(self) -> None:
        if self._loop.time() >= self._last + self._seconds:
            self._last = self._loop.time()
            if self._sending is None or self._sending.done():
                self._sending = self._loop.create_task(self._send(), name="keep-alive")
        self._timer = self._loop.call_at(self._last + self._seconds, self._check)
