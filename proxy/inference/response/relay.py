"""Relay a provider's response to the client: JSON, event streams, and any other content, whatever its type says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from proxy.asgi import ClientConnection, Header, RawResponse, Send
from proxy.decoding import decode_or_none, is_unfinished
from proxy.errors import ApiError, ProviderFailed, ProviderTimeout, ShuttingDown, UpstreamError
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded
from proxy.inference.failover import ForwardedCall
from proxy.inference.provider_errors import classify
from proxy.inference.response.content import BOM, Content, content_of
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.ids import IdReader
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.rename import rename_model
from proxy.telemetry import Tokens
from proxy.telemetry.usage import Outcome

_MAX_BUFFERED = 32 * 1024**2  # bytes of a JSON response; longer ones are streamed
_MAX_FIRST_LINE = 1024**2  # bytes of the first of several JSON values in lines
_PIECE = 64 * 1024  # bytes
_COMMENT = b": keep-alive\n\n"
_STREAM_HEADERS: Sequence[Header] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class StreamFormat(Struct, frozen=True):
    """How event streams of a path end."""

    has_last_event: bool
    """As in `CallPath`."""
    error_event: Callable[[ApiError, int], bytes]
    """Returns a complete event that SDKs raise as an error. The number is that of the event in the stream."""


class Relay:
    """Relays one response to the client."""

    def __init__(
        self,
        call: ForwardedCall,
        model: str,
        send: Send,
        connection: ClientConnection | None,
        scope: CallScope,
        ids: IdReader | None = None,
    ) -> None:
        """`model` is the requested id; `ids` reads those in the response, None if none are needed."""
        self._call = call
        self._response = call.response
        self._model = model
        self._send_message = send
        self._connection = connection
        self._scope = scope
        self._ids = ids
        self._seconds = call.provider.idle_timeout
        self._tokens = Tokens()

    async def run(self, headers: list[Header], stream_format: StreamFormat, sse_keepalive: float) -> None:
        """Relay the response and finish the call. `sse_keepalive`: seconds.

        Raises ApiError while nothing was sent, and ClientDisconnected.
        """
        outcome: Outcome = "client_disconnected"
        try:
            outcome = await self._relay(headers, stream_format, sse_keepalive)
        except ApiError as error:
            outcome = _outcome(error)
            self._call.attribute(error)
            raise
        finally:
            self._call.finish(outcome, self._tokens)

    async def _relay(self, headers: list[Header], stream_format: StreamFormat, sse_keepalive: float) -> Outcome:
        if self._response.content_type[:17].lower() == "text/event-stream":
            # Started before the first event, so that comments keep the connection alive until it arrives.
            await self._start([*headers, *_STREAM_HEADERS])
            return await self._relay_events(b"", stream_format, sse_keepalive)
        head, content = await self._read_head()
        if content == "blank":
            return await self._relay_after_blanks(headers, head, stream_format, sse_keepalive)
        if content == "events":
            await self._start([*headers, *_STREAM_HEADERS])
            return await self._relay_events(head, stream_format, sse_keepalive)
        if content == "json":
            return await self._relay_json(headers, head)
        if content == "html":
            raise ProviderFailed("The provider of this model returned an unusable response (an HTML page).")
        return await self._relay_bytes(headers, head)

    async def _read_head(self) -> tuple[bytes, Content]:
        """Read until the content is known. Raises ApiError and ClientDisconnected."""
        head = b""
        while True:
            part = b"" if self._response.is_over else self._read_nowait() or await self._read()
            head += part
            if content := content_of(head, is_whole=not part):
                return head, content

    async def _relay_after_blanks(
        self, headers: list[Header], blanks: bytes, stream_format: StreamFormat, sse_keepalive: float
    ) -> Outcome:
        """Send blank lines, which keep connections alive, as they arrive, and then what follows them."""
        await self._start([*headers, *_STREAM_HEADERS])
        head = blanks
        content: Content = "blank"
        while content == "blank":
            await self._send(head)
            try:
                head, content = await self._read_head()
            except ApiError as error:
                return _outcome(error)
        if content == "events":
            return await self._relay_events(head, stream_format, sse_keepalive)
        return await self._relay_rest(head, self._json_renamer() if content == "json" else None)

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
            await self._scope.wait(self._send_message(message), self._seconds, sends=True)
        except DeadlineExceeded:
            if self._connection:
                self._connection.abort()  # otherwise the unread bytes stay in memory until the client disconnects
            raise ClientDisconnected from None

    async def _relay_json(self, headers: list[Header], head: bytes) -> Outcome:
        parts, part = [head], head
        size = 0
        has_lines: bool | None = None  # None: not yet known
        try:
            while part:
                size += len(part)
                if has_lines is None and b"\n" in part and self._response.length is None:
                    has_lines = _has_lines(b"".join(parts))
                if self._response.is_over:
                    break
                part = self._read_nowait()
                if size > _MAX_BUFFERED or (has_lines and not part):
                    return await self._stream_json(headers, [*parts, part])
                part = part or await self._read()
                parts.append(part)
        except ApiError:
            if decode_or_none(b"".join(parts).removeprefix(BOM)) is None:
                raise
            self._response.close()  # the response is complete, only its framing is not
        body = b"".join(parts)
        if error := self._call.error_in(body):
            raise error
        json = body.removeprefix(BOM)
        if json[-1:] not in (b"}", b"]") and is_unfinished(json):
            raise ProviderFailed("The provider of this model returned an unusable response (truncated JSON).")
        if self._ids:
            self._ids.read(json)
        renamed, self._tokens = rename_model(json, self._call.own_id, self._model)
        body = renamed if json is body else BOM + renamed
        headers.append((b"content-length", b"%d" % len(body)))
        if not (self._connection and self._connection.send(RawResponse(self._response.status, headers, body))):
            await self._start(headers)
            for start in range(0, len(body), _PIECE):  # in pieces, so that a client that stops reading is detected
                await self._send(body[start : start + _PIECE])
            await self._send(b"", more=False)
        return "ok"

    def _json_renamer(self) -> JsonStreamRenamer:
        return JsonStreamRenamer(self._call.own_id, self._model)

    async def _stream_json(self, headers: list[Header], parts: Sequence[bytes]) -> Outcome:
        """Stream JSON that is too long to be buffered, or of which values arrive one by one, in lines."""
        renamer = self._json_renamer()
        await self._start(headers if renamer.renames else self._with_length(headers))
        return await self._relay_rest(b"".join(parts), renamer)

    async def _relay_bytes(self, headers: list[Header], head: bytes) -> Outcome:
        """Relay audio, images and text."""
        await self._start(self._with_length(headers))
        return await self._relay_rest(head)

    def _with_length(self, headers: list[Header]) -> list[Header]:
        if self._response.length is None:
            return headers
        return [*headers, (b"content-length", b"%d" % self._response.length)]

    async def _relay_rest(self, chunk: bytes, renamer: JsonStreamRenamer | None = None) -> Outcome:
        """Relay a response whose head was sent. `chunk`: its first bytes, b"" if it has none."""
        try:
            while chunk:
                if out := renamer.feed(chunk) if renamer else chunk:
                    await self._send(out)
                chunk = await self._read()
        except ApiError as error:
            if self._response.length is not None or not (renamer and renamer.is_one_object):
                # The connection is closed before the response ends, which marks the response as incomplete.
                return _outcome(error)
            self._response.close()  # the response is complete, only its framing is not
        finally:
            if renamer:
                self._tokens = renamer.tokens
        await self._send(renamer.rest() if renamer else b"", more=False)
        return "ok"

    async def _relay_events(self, chunk: bytes, stream_format: StreamFormat, sse_keepalive: float) -> Outcome:
        """Relay a stream whose head was sent. `chunk`: its first bytes, b"" if they must be read."""
        events = EventStreamRenamer(self._call.own_id, self._model, self._ids.read_lines if self._ids else None)
        failure: ApiError | None = None
        with Heartbeat(sse_keepalive, partial(self._send_comment, events)) as heartbeat:
            try:
                while chunk := chunk or await self._read():
                    heartbeat.postpone()
                    if out := events.feed(chunk):
                        await self._send(out)
                    chunk = b""
            except ApiError as error:
                failure = error
            finally:
                self._tokens = events.tokens
        # Incomplete lines are dropped, because the error event would be parsed as their continuation.
        line_end = b"" if events.between_events else b"\n\n"
        rest = events.rest()
        self._tokens = events.tokens
        needs_end = stream_format.has_last_event and self._response.ends_by_closing
        if failure is None and needs_end and not events.end.is_over:
            failure = _error(UpstreamError("interrupted", ""))
        if failure is None or events.end.is_over:
            if failure:
                self._response.close()  # the stream is complete, only its framing is not
            await self._send(rest, more=False)
            return "ok"
        await self._send(line_end + stream_format.error_event(failure, events.end.next_number))
        await self._send(b"", more=False)
        return _outcome(failure)

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
    if isinstance(error, ShuttingDown):
        return "shut_down"
    return "timeout" if isinstance(error, ProviderTimeout) else "interrupted"


def _has_lines(json: bytes) -> bool | None:
    """Return whether the first line is a complete value, as in JSON lines; None if the line is not complete."""
    line, line_end, _ = json.removeprefix(BOM).lstrip().partition(b"\n")
    if not line_end:
        return None
    return len(line) <= _MAX_FIRST_LINE and decode_or_none(line) is not None
