"""Relay a provider's response to the client: JSON, event streams, and any other content, whatever its type says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from proxy.asgi import Header, RawResponse
from proxy.decoding import has_many_values, is_json, is_unfinished
from proxy.errors import ApiError, ProviderFailed, ProviderTimeout, ShuttingDown, UpstreamError
from proxy.inference.deadline import CallScope, DeadlineExceeded
from proxy.inference.error_content import MAX_BYTES
from proxy.inference.forwarded import ForwardedCall
from proxy.inference.provider_errors import classify
from proxy.inference.response.client import STREAM_HEADERS, ClientResponse
from proxy.inference.response.content import BOM, Content, content_of
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.ids import IdReader
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.opening import Opening
from proxy.inference.response.rename import rename_model
from proxy.telemetry import Outcome, Tokens

_MAX_BUFFERED = 32 * 1024**2  # bytes of a JSON response; longer ones are streamed
_MAX_FIRST_LINE = 1024**2  # bytes of the first of several JSON values in lines
_MAX_UNYIELDING = 256 * 1024  # bytes of a JSON response; longer ones are renamed in steps
_PIECE = 64 * 1024  # bytes
_STEP = 2 * 1024
"""Bytes of a stream that are read before the time is checked: up to 1 ms for members of a few bytes."""
_TURN_SECONDS = 0.0005
"""How long a call works on a stream before others continue."""
_MAX_HELD_SECONDS = 1.0
"""How long events before the first output are held."""
_EMPTY_SECONDS = 5.0
"""A stream that ends without output within this time has done no work."""


class StreamFormat(Struct, frozen=True):
    """How event streams of a path end."""

    has_last_event: bool
    """As in `CallPath`."""
    error_event: Callable[[ApiError, int], bytes]
    """Returns a complete event that SDKs raise as an error. The number is that of the event in the stream."""
    is_stored: bool = False
    """Whether streams repeat a response that was stored: an event in it that is an error refuses nothing."""


class Relay:
    """Relays one response to the client."""

    def __init__(
        self,
        call: ForwardedCall,
        model: str,
        client: ClientResponse,
        scope: CallScope,
        stream_format: StreamFormat,
        sse_keepalive: float,
        ids: IdReader | None = None,
        release_body: Callable[[], None] | None = None,
    ) -> None:
        """`model` is the requested id. `sse_keepalive`: seconds. `ids` reads those in the response.

        `release_body` is called when the request cannot be sent to another provider any more.
        """
        self._call = call
        self._response = call.response
        self._model = model
        self._client = client
        self._scope = scope
        self._ids = ids
        self._release_body = release_body or (lambda: None)
        self._stream_format = stream_format
        self._sse_keepalive = sse_keepalive
        self._seconds = call.provider.idle_timeout
        self._tokens = Tokens()
        self._unread = b""
        """Bytes that have arrived and were not yet relayed."""

    async def run(self, headers: list[Header]) -> None:
        """Relay the response and finish the call.

        Raises ApiError while no output was sent, and ClientDisconnected.
        """
        self._client.write_timeout = self._seconds
        outcome: Outcome = "client_disconnected"
        try:
            outcome = await self._relay(headers)
        except ApiError as error:
            outcome = _outcome(error)
            self._call.attribute(error)
            self._client.wait_for_provider()
            raise
        finally:
            self._call.finish(outcome, self._tokens)

    async def _relay(self, headers: list[Header]) -> Outcome:
        if self._response.content_type[:17].lower() == "text/event-stream":
            return await self._relay_events(headers, b"")
        head, content = await self._read_head()
        if content == "events":
            return await self._relay_events(headers, head)
        self._client.stop_heartbeat()
        if self._client.has_started:
            raise await self._not_events(head, content)
        if content == "blank":
            return await self._relay_after_blanks(headers, head)
        if content == "json":
            return await self._relay_json(headers, head)
        if content == "html":
            raise ProviderFailed("The provider of this model returned an unusable response (an HTML page).")
        return await self._relay_bytes(headers, head)

    async def _not_events(self, head: bytes, content: Content) -> ApiError:
        """Return the error for a response that cannot be sent, because an event stream has been started."""
        part = head
        while content == "json" and part and len(head) <= MAX_BYTES:
            part = await self._read()
            head += part
        return self._call.error_in(head) or ProviderFailed(
            "The provider of this model did not return an event stream, although the request has `stream: true`."
        )

    async def _read_head(self) -> tuple[bytes, Content]:
        """Read until the content is known. Raises ApiError and ClientDisconnected."""
        head = b""
        while True:
            part = b"" if self._response.is_over else self._read_nowait() or await self._read()
            head += part
            if content := content_of(head, is_whole=not part):
                return head, content

    async def _relay_after_blanks(self, headers: list[Header], blanks: bytes) -> Outcome:
        """Send blank lines, which keep connections alive, as they arrive, and then what follows them."""
        await self._start([*headers, *STREAM_HEADERS])
        head = blanks
        content: Content = "blank"
        while content == "blank":
            await self._client.send(head)
            try:
                head, content = await self._read_head()
            except ApiError as error:
                return _outcome(error)
        if content == "events":
            return await self._relay_events(headers, head)
        return await self._relay_rest(head, self._json_renamer() if content == "json" else None)

    async def _read(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises ApiError and ClientDisconnected."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
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

    async def _start(self, headers: Sequence[Header]) -> None:
        self._client.prepare(self._response.status, headers)
        await self._client.start()

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
                if size > _MAX_BUFFERED or self._response.is_inflated or (has_lines and not part):
                    return await self._stream_json(headers, [*parts, part])
                part = part or await self._read()
                parts.append(part)
        except ApiError:
            if not is_json(b"".join(parts).removeprefix(BOM)):
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
        if (error_texts := self._call.error_texts) and not has_many_values(json):
            json = error_texts.redacted_json(json)
        renamed, self._tokens = await self._renamed(json)
        body = BOM + renamed if body.startswith(BOM) else renamed
        headers.append((b"content-length", b"%d" % len(body)))
        if not self._client.send_whole(RawResponse(self._response.status, headers, body)):
            await self._start(headers)
            for start in range(0, len(body), _PIECE):  # in pieces, so that a client that stops reading is detected
                await self._client.send(body[start : start + _PIECE])
            await self._client.send(b"", more=False)
        return "ok"

    async def _renamed(self, json: bytes) -> tuple[bytes, Tokens]:
        """Return a complete JSON response with the requested model, and its tokens. Raises as `_next_turn`."""
        if len(json) <= _MAX_UNYIELDING:
            return rename_model(json, self._call.own_id, self._model)
        renamer = self._json_renamer()
        parts: list[bytes] = []

        async def keep(part: bytes) -> None:
            parts.append(part)

        await self._in_steps(renamer.feed, json, keep)
        return b"".join((*parts, renamer.rest())), renamer.tokens

    async def _in_steps(
        self, feed: Callable[[bytes], bytes], chunk: bytes, send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Send what `feed` returns for a chunk, and let others continue whenever this takes long."""
        parts: list[bytes] = []
        until = self._scope.now + (0.0 if self._scope.turns_are_taken else _TURN_SECONDS)
        for start in range(0, len(chunk), _STEP):
            if self._scope.now >= until:
                await _send_joined(parts, send)
                await self._next_turn()
                until = self._scope.now + _TURN_SECONDS
            parts.append(feed(chunk[start : start + _STEP]))
        await _send_joined(parts, send)

    async def _next_turn(self) -> None:
        """Let others continue. Raises ApiError and ClientDisconnected."""
        try:
            await self._scope.next_turn()
        except DeadlineExceeded:
            raise _error(UpstreamError("stalled", "")) from None

    async def _send_fed(self, feed: Callable[[bytes], bytes], chunk: bytes) -> None:
        """Send what `feed` returns for a chunk. Raises ApiError and ClientDisconnected."""
        if len(chunk) <= _STEP:
            if out := feed(chunk):
                await self._client.send(out)
            return
        await self._in_steps(feed, chunk, self._client.send)

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
        self._release_body()
        try:
            while chunk:
                if renamer:
                    await self._send_fed(renamer.feed, chunk)
                else:
                    await self._client.send(chunk)
                chunk = await self._read()
        except ApiError as error:
            if self._response.length is not None or not (renamer and renamer.is_one_object):
                # The connection is closed before the response ends, which marks the response as incomplete.
                return _outcome(error)
            self._response.close()  # the response is complete, only its framing is not
        finally:
            if renamer:
                self._tokens = renamer.tokens
        await self._client.send(renamer.rest() if renamer else b"", more=False)
        return "ok"

    async def _relay_events(self, headers: Sequence[Header], chunk: bytes) -> Outcome:
        """Relay a stream. `chunk`: its first bytes, b"" if they must be read."""
        self._client.prepare(self._response.status, [*headers, *STREAM_HEADERS])
        observe = self._ids.read_lines if self._ids else None
        events = EventStreamRenamer(self._call.own_id, self._model, observe, self._call.error_texts)
        opening = Opening("output" if self._stream_format.is_stored else "lead_in")
        self._client.keep_alive(self._sse_keepalive, lambda: opening.kind == "lead_in" or events.between_events)
        failure: ApiError | None = None
        try:
            is_over = await self._relay_opening(chunk, events, opening)
            self._release_body()
            while not is_over and (chunk := await self._read()):
                await self._send_fed(events.feed, chunk)
        except ApiError as error:
            if opening.kind != "output":
                raise
            failure = error
        finally:
            self._tokens = events.tokens
        # Incomplete lines are dropped, because the error event would be parsed as their continuation.
        line_end = b"" if events.between_events else b"\n\n"
        rest = events.rest()
        self._tokens = events.tokens
        needs_end = self._stream_format.has_last_event and self._response.ends_by_closing
        if failure is None and needs_end and not events.end.is_over:
            failure = _error(UpstreamError("interrupted", ""))
        if failure is None or events.end.is_over:
            if failure:
                self._response.close()  # the stream is complete, only its framing is not
            await self._client.send(rest, more=False)
            return "ok"
        await self._client.send(line_end + self._stream_format.error_event(failure, events.end.next_number))
        await self._client.send(b"", more=False)
        return _outcome(failure)

    async def _relay_opening(self, chunk: bytes, events: EventStreamRenamer, opening: Opening) -> bool:
        """Relay a stream up to its first event with output. Returns whether it has ended.

        Until then only comments are sent. Raises ApiError; `opening.kind` is `output` if a part of the stream was sent.
        """
        began = self._scope.now
        is_over, failure = False, None
        try:
            is_over = await self._read_opening(chunk, events, opening)
        except ApiError as error:
            opening.end()
            is_over, failure = isinstance(error, ProviderFailed), error
        if opening.kind == "error":
            raise self._call.error_in_event(opening.error)
        is_empty = is_over and opening.kind == "lead_in" and self._scope.now < began + _EMPTY_SECONDS
        if is_empty and (refusal := self._call.error_if_empty()):
            raise refusal
        if held := opening.release():
            await self._client.send(held)
        if failure:
            raise failure
        return is_over

    async def _read_opening(self, chunk: bytes, events: EventStreamRenamer, opening: Opening) -> bool:
        """Read up to the first output or error, or until what is held must be sent. Returns whether it ended."""
        held_until = float("inf")
        while True:
            part = chunk or await self._read_before(held_until)
            if part is None:
                return False
            if len(part) > _STEP:
                part, self._unread = part[:_STEP], part[_STEP:]
                await self._next_turn()
            if comments := opening.feed(events.feed(part) if part else events.rest()):
                await self._client.send(comments)
            if not part:
                opening.end()
                return True
            if opening.kind != "lead_in":
                return False
            chunk = b""
            if opening.held:
                held_until = min(held_until, self._scope.now + _MAX_HELD_SECONDS)

    async def _read_before(self, moment: float) -> bytes | None:
        """Return the next bytes, b"" at the end, None if there are none before this moment. Raises ApiError."""
        seconds = moment - self._scope.now
        if self._unread or seconds >= self._seconds:
            return await self._read()
        try:
            return await self._scope.wait(self._response.read(), max(0.0, seconds))
        except DeadlineExceeded:
            return None
        except UpstreamError as error:
            raise _error(error) from error


async def _send_joined(parts: list[bytes], send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send the parts, unless they are empty, and remove them."""
    if out := b"".join(parts):
        await send(out)
    parts.clear()


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
    return len(line) <= _MAX_FIRST_LINE and is_json(line)
