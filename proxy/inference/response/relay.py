"""Relay a provider's response to the client: JSON, event streams, and any other content."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from proxy.asgi import ClientConnection, Header, RawResponse, Send
from proxy.errors import ApiError, ProviderFailed, ProviderTimeout, UpstreamError
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded
from proxy.inference.failover import ForwardedCall
from proxy.inference.provider_errors import classify
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.rename import rename_model
from proxy.telemetry import Tokens
from proxy.telemetry.usage import Outcome

_MAX_LAST_EVENT = 32  # bytes that `StreamFormat.last_event` can match
_MAX_BUFFERED = 32 * 1024**2  # bytes of a JSON response; longer ones are streamed
_PIECE = 64 * 1024  # bytes
_COMMENT = b": keep-alive\n\n"
_STREAM_HEADERS: Sequence[Header] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class StreamFormat(Struct, frozen=True):
    """How event streams of a path end."""

    last_event: re.Pattern[bytes]
    """Matches within the last event of a complete stream."""
    error_event: Callable[[ApiError], bytes]
    """A complete event that SDKs raise as an error."""


class Relay:
    """Relays one response to the client."""

    def __init__(
        self, call: ForwardedCall, model: str, send: Send, connection: ClientConnection | None, scope: CallScope
    ) -> None:
        """`model` is the requested id."""
        self._call = call
        self._response = call.response
        self._model = model
        self._send_message = send
        self._connection = connection
        self._scope = scope
        self._seconds = call.provider.idle_timeout
        self._tokens = Tokens()

    async def run(self, headers: list[Header], stream_format: StreamFormat, sse_keepalive: float) -> None:
        """Relay the response and finish the call. `sse_keepalive`: seconds.

        Raises ApiError while nothing was sent, and ClientDisconnected.
        """
        kind = self._response.content_type.partition(";")[0].strip().lower()
        outcome: Outcome = "client_disconnected"
        try:
            if kind == "text/event-stream":
                outcome = await self._relay_events(headers, stream_format, sse_keepalive)
            elif kind == "application/json" or kind.endswith("+json"):
                outcome = await self._relay_json(headers)
            else:
                outcome = await self._relay_bytes(headers)
        except ApiError as error:
            outcome = _outcome(error)
            raise
        finally:
            self._call.finish(outcome, self._tokens)

    async def _read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ApiError and ClientDisconnected."""
        try:
            return await self._scope.wait(self._response.read(), self._seconds)
        except DeadlineExceeded:
            raise _error(UpstreamError("stalled", "")) from None
        except UpstreamError as error:
            raise _error(error) from error

    def _read_nowait(self) -> bytes:
        """Return the bytes that have already arrived, b"" if none. Raises ApiError."""
        try:
            return self._response.read_nowait()
        except UpstreamError as error:
            raise _error(error) from error

    async def _send(self, body: bytes, *, more: bool = True) -> None:
        await self._deliver({"type": "http.response.body", "body": body, "more_body": more})

    async def _start(self, headers: Sequence[Header]) -> None:
        """Send the head. Can block if the client has not read the previous response on this connection."""
        await self._deliver({"type": "http.response.start", "status": self._response.status, "headers": headers})

    async def _deliver(self, message: MutableMapping[str, Any]) -> None:
        """Send a message. Raises ClientDisconnected, also if the client reads nothing for `idle_timeout`."""
        try:
            await self._scope.wait(self._send_message(message), self._seconds)
        except DeadlineExceeded:
            if self._connection:
                self._connection.abort()  # otherwise the unread bytes stay in memory until the client disconnects
            raise ClientDisconnected from None

    async def _relay_json(self, headers: list[Header]) -> Outcome:
        parts: list[bytes] = []
        size = 0
        while not self._response.is_over and (part := self._read_nowait() or await self._read()):
            parts.append(part)
            size += len(part)
            if size > _MAX_BUFFERED:
                return await self._relay_long_json(headers, parts)
        body = b"".join(parts)
        if not _looks_like_json(body):
            raise ProviderFailed("The provider of this model returned an unusable response (not JSON).")
        body, self._tokens = rename_model(body, self._call.own_id, self._model)
        headers.append((b"content-length", b"%d" % len(body)))
        if not (self._connection and self._connection.send(RawResponse(self._response.status, headers, body))):
            await self._start(headers)
            for start in range(0, len(body), _PIECE):  # in pieces, so that a client that stops reading is detected
                await self._send(body[start : start + _PIECE])
            await self._send(b"", more=False)
        return "ok"

    async def _relay_long_json(self, headers: list[Header], parts: list[bytes]) -> Outcome:
        """Stream a JSON response that is too long to be buffered; `parts` were already read."""
        renamer = JsonStreamRenamer(self._call.own_id, self._model)
        try:
            return await self._relay_bytes(headers, parts, renamer)
        finally:
            self._tokens = renamer.tokens

    async def _relay_bytes(
        self, headers: list[Header], parts: list[bytes] | None = None, renamer: JsonStreamRenamer | None = None
    ) -> Outcome:
        """Relay audio, images, text, and long JSON."""
        if self._response.length is not None and not (renamer and renamer.renames):
            headers = [*headers, (b"content-length", b"%d" % self._response.length)]
        waiting = deque(parts or [await self._read()])
        await self._start(headers)
        try:
            while chunk := waiting.popleft() if waiting else await self._read():
                if out := renamer.feed(chunk) if renamer else chunk:
                    await self._send(out)
        except ApiError as error:
            # The connection is closed before the response ends, which marks the response as incomplete.
            return _outcome(error)
        await self._send(renamer.rest() if renamer else b"", more=False)
        return "ok"

    async def _relay_events(
        self, headers: Sequence[Header], stream_format: StreamFormat, sse_keepalive: float
    ) -> Outcome:
        await self._start([*headers, *_STREAM_HEADERS])
        events = EventStreamRenamer(self._call.own_id, self._model)
        ended, read = not self._response.ends_by_closing, b""
        failure: ApiError | None = None
        with Heartbeat(sse_keepalive, partial(self._send_comment, events)) as heartbeat:
            try:
                while chunk := await self._read():
                    heartbeat.postpone()
                    if not ended:
                        read += chunk
                        ended, read = bool(stream_format.last_event.search(read)), read[-_MAX_LAST_EVENT:]
                    if out := events.feed(chunk):
                        await self._send(out)
                if not ended:
                    failure = _error(UpstreamError("interrupted", ""))
            except ApiError as error:
                failure = error
            finally:
                self._tokens = events.tokens
        if failure is None:
            await self._send(events.rest())
        else:
            # Incomplete lines are dropped, because the error event would be parsed as their continuation.
            line_end = b"" if events.between_events else b"\n\n"
            await self._send(line_end + stream_format.error_event(failure))
        await self._send(b"", more=False)
        return _outcome(failure) if failure else "ok"

    async def _send_comment(self, events: EventStreamRenamer) -> None:
        if events.between_events:  # an empty line within an event would end it
            await self._send_message({"type": "http.response.body", "body": _COMMENT, "more_body": True})


class Heartbeat:
    """Calls `send` after every `seconds` without `postpone`, because load balancers close idle connections."""

    def __init__(self, seconds: float, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._seconds = seconds
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._sending: asyncio.Task[None] | None = None

    def __enter__(self) -> Heartbeat:
        self._timer = self._loop.call_later(self._seconds, self._check)
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()
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


def _error(failure: UpstreamError) -> ApiError:
    return classify(failure, ()).error


def _outcome(error: ApiError) -> Outcome:
    return "timeout" if isinstance(error, ProviderTimeout) else "interrupted"


def _looks_like_json(body: bytes) -> bool:
    text = body.strip()
    return (text[:1], text[-1:]) in ((b"{", b"}"), (b"[", b"]"))
