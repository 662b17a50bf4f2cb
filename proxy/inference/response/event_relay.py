"""Relay an event stream: hold its beginning while another provider can be tried, and end it with an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.asgi import Header
from proxy.errors import ApiError, ProviderFailed, UpstreamError
from proxy.inference.deadline import CallScope
from proxy.inference.forwarded import ForwardedCall
from proxy.inference.response.client import STREAM_HEADERS, ClientResponse
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.observer import Observer
from proxy.inference.response.opening import Opening
from proxy.inference.response.reader import ResponseReader, error_of, outcome_of
from proxy.inference.response.steps import STEP, next_turn, send_fed
from proxy.inference.response.stream_format import StreamFormat
from proxy.telemetry import Outcome, Tokens

_MAX_HELD_SECONDS = 1.0
"""How long events before the first output are held."""
_EMPTY_SECONDS = 5.0
"""A stream that ends without output within this time has done no work."""


class EventRelay:
    """Relays one event stream to the client."""

    def __init__(
        self,
        call: ForwardedCall,
        model: str,
        client: ClientResponse,
        scope: CallScope,
        reader: ResponseReader,
        stream_format: StreamFormat,
        observer: Observer | None,
        release_body: Callable[[], None],
    ) -> None:
        """The parameters are as those of `Relay`; `observer` is called with the events."""
        self._call = call
        self._response = call.response
        self._client = client
        self._scope = scope
        self._reader = reader
        self._format = stream_format
        self._release_body = release_body
        self._events = EventStreamRenamer(call.own_id, model, observer, call.error_texts, stream_format.fields)
        self._opening = Opening("output" if stream_format.is_stored else "lead_in")

    @property
    def tokens(self) -> Tokens:
        """Those that the events so far have reported."""
        return self._events.tokens

    async def run(self, headers: Sequence[Header], chunk: bytes, sse_keepalive: float) -> Outcome:
        """Relay the stream. `chunk`: its first bytes, b"" if they must be read; `sse_keepalive`: seconds.

        Raises ApiError while no output was sent, and ClientDisconnected.
        """
        events, opening = self._events, self._opening
        self._client.prepare(self._response.status, [*headers, *STREAM_HEADERS])
        if self._format.has_comments:
            self._client.keep_alive(sse_keepalive, lambda: opening.kind == "lead_in" or events.between_events)
        failure: ApiError | None = None
        try:
            is_over = await self._relay_opening(chunk)
            self._release_body()
            read, feed, send = self._reader.read, events.feed, self._client.send
            while not is_over and (chunk := await read()):
                if len(chunk) > STEP:
                    await send_fed(self._scope, feed, chunk, send)
                elif out := feed(chunk):  # nearly all: without a coroutine of its own
                    await send(out)
        except ApiError as error:
            if opening.kind != "output":
                raise
            failure = error
        return await self._end(failure)

    async def _end(self, failure: ApiError | None) -> Outcome:
        """Send the rest of the stream, or an event with the error that ended it too early."""
        # Incomplete lines are dropped, because the error event would be parsed as their continuation.
        line_end = b"" if self._events.between_events else b"\n\n"
        rest, end = self._events.rest(), self._events.end
        needs_end = self._format.has_last_event and self._response.ends_by_closing
        if failure is None and needs_end and not end.is_over:
            failure = error_of(UpstreamError("interrupted", ""))
        if failure is None or end.is_over:
            if failure:
                self._response.close()  # the stream is complete, only its framing is not
            await self._client.send(rest, more=False)
            return "ok"
        await self._client.send(line_end + self._format.format.error_event(failure, end.next_number))
        await self._client.send(b"", more=False)
        return outcome_of(failure)

    async def _relay_opening(self, chunk: bytes) -> bool:
        """Relay a stream up to its first event with output. Returns whether it has ended.

        Until then only comments are sent. Raises ApiError; the opening is `output` if a part of the stream was sent.
        """
        opening = self._opening
        began = self._scope.now
        is_over, failure = False, None
        try:
            is_over = await self._read_opening(chunk)
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

    async def _read_opening(self, chunk: bytes) -> bool:
        """Read up to the first output or error, or until what is held must be sent. Returns whether it ended."""
        events, opening = self._events, self._opening
        held_until = float("inf")
        while True:
            part = chunk or await self._reader.read_before(held_until)
            if part is None:
                return False
            if len(part) > STEP:
                self._reader.put_back(part[STEP:])
                part = part[:STEP]
                await next_turn(self._scope)
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
