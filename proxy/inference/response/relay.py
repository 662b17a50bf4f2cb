"""Relay a provider's response to the client: JSON, event streams, and any other content, whatever its content type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.asgi import Header
from proxy.decoding import has_many_values, is_json, is_unfinished
from proxy.errors import ApiError, ProviderFailed
from proxy.inference.deadline import CallScope
from proxy.inference.error_content import MAX_BYTES
from proxy.inference.forwarded import ForwardedCall
from proxy.inference.request.body import joined_in_steps
from proxy.inference.response.client import STREAM_HEADERS, ClientResponse
from proxy.inference.response.content import BOM, Content, content_of, first_item, has_lines
from proxy.inference.response.event_relay import EventRelay
from proxy.inference.response.ids import IdReader
from proxy.inference.response.json_lines import JsonLinesRenamer
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.observer import Observer, observer_of
from proxy.inference.response.reader import ResponseReader, outcome_of
from proxy.inference.response.rename import rename_model
from proxy.inference.response.short_form import short_form
from proxy.inference.response.steps import in_turns, send_fed
from proxy.inference.response.stream_format import StreamFormat
from proxy.inference.response.text_counter import TextCounter
from proxy.inference.response.tokens import usage_tokens
from proxy.telemetry import Outcome, Tokens

_MAX_BUFFERED = 32 * 1024**2  # bytes of a JSON response; longer ones are streamed
_MAX_UNYIELDING = 256 * 1024  # bytes of a JSON response; longer ones are renamed in steps
_PIECE = 64 * 1024  # bytes

_Renamer = JsonStreamRenamer | JsonLinesRenamer


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
        text_counter: Callable[[], TextCounter] | None = None,
    ) -> None:
        """`model` is the requested id. `sse_keepalive`: seconds. `ids` reads the ids in the response.

        `release_body` is called when the request cannot be sent to another provider any more. `text_counter` returns
        the text counter; it is called when a stream begins.
        """
        self._call = call
        self._response = call.response
        self._model = model
        self._client = client
        self._scope = scope
        self._ids = ids
        self._text_counter = text_counter
        self._release_body = release_body or (lambda: None)
        self._format = stream_format
        self._sse_keepalive = sse_keepalive
        self._reader = ResponseReader(call.response, scope, call.provider.idle_timeout)
        self._tokens = Tokens()

    async def run(self, headers: list[Header]) -> None:
        """Relay the response and finish the call.

        Raises ApiError while no output was sent, and ClientDisconnected.
        """
        self._client.write_timeout = self._call.provider.idle_timeout
        outcome: Outcome = "client_disconnected"
        try:
            outcome = await self._relay(headers)
        except ApiError as error:
            outcome = outcome_of(error)
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
            part = await self._reader.read()
            head += part
        return self._call.error_in(head) or ProviderFailed(
            "The provider of this model did not return an event stream, although the request has `stream: true`."
        )

    async def _read_head(self) -> tuple[bytes, Content]:
        """Read until the content is known. Raises ApiError and ClientDisconnected."""
        head = b""
        while True:
            part = b"" if self._response.is_over else self._reader.read_nowait() or await self._reader.read()
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
                return outcome_of(error)
        if content == "events":
            return await self._relay_events(headers, head)
        return await self._relay_rest(head, self._json_renamer() if content == "json" else None)

    async def _start(self, headers: Sequence[Header]) -> None:
        self._client.prepare(self._response.status, headers)
        await self._client.start()

    async def _relay_json(self, headers: list[Header], head: bytes) -> Outcome:
        if self._response.is_over and not self._format.items:  # true for most responses
            return await self._relay_whole_json(headers, head)
        if self._format.items == "array" and head.removeprefix(BOM).lstrip().startswith(b"["):
            return await self._stream_json(headers, [head])
        parts, part = [head], head
        size = 0
        is_lines: bool | None = None  # None: not yet known
        try:
            while part:
                size += len(part)
                is_announced = self._response.length is not None and not self._format.items
                if is_lines is None and b"\n" in part and not is_announced:
                    is_lines = has_lines(b"".join(parts))
                if is_lines and self._format.items:
                    return await self._stream_json(headers, parts)
                if self._response.is_over:
                    break
                part = self._reader.read_nowait()
                if size > _MAX_BUFFERED or self._response.is_inflated or (is_lines and not part):
                    return await self._stream_json(headers, [*parts, part])
                part = part or await self._reader.read()
                parts.append(part)
        except ApiError:
            if not is_json(b"".join(parts).removeprefix(BOM)):
                raise
            self._response.close()  # the response is complete, only its framing is not
        return await self._relay_whole_json(headers, await in_turns(self._scope, joined_in_steps(parts)))

    async def _relay_long_json(self, headers: list[Header], json: bytes, before: bytes) -> Outcome:
        """Relay a response in steps. `before`: bytes before its JSON."""
        errors = self._call.error_texts
        short = await in_turns(self._scope, short_form(json)) if self._ids or errors else None
        if short and self._ids:
            self._ids.read(short.text)
        if short and errors:
            json = await in_turns(self._scope, errors.redacted_long(json, short))
        renamed, self._tokens = await self._renamed(json)
        await self._start([*headers, (b"content-length", b"%d" % (len(before) + len(renamed)))])
        await self._send_in_pieces(before, renamed)
        return "ok"

    async def _relay_whole_json(self, headers: list[Header], body: bytes) -> Outcome:
        if error := self._call.error_in(body):
            raise error
        json = body.removeprefix(BOM)
        if json[-1:] not in (b"}", b"]") and is_unfinished(json):
            raise ProviderFailed("The provider of this model returned an unusable response (truncated JSON).")
        if len(json) > _MAX_UNYIELDING:
            return await self._relay_long_json(headers, json, body[: len(body) - len(json)])
        if self._ids:
            self._ids.read(json)
            if self._client.before_send:
                await self._client.before_send()
        if (error_texts := self._call.error_texts) and not has_many_values(json):
            json = error_texts.redacted_json(json)
        renamed, self._tokens = await self._renamed(json)
        body = BOM + renamed if body.startswith(BOM) else renamed
        headers.append((b"content-length", b"%d" % len(body)))
        if not self._client.send_whole(self._response.status, headers, body):
            await self._start(headers)
            await self._send_in_pieces(body)
        return "ok"

    async def _send_in_pieces(self, *parts: bytes) -> None:
        """Send a whole body, so that a client that stops reading is detected."""
        for part in parts:
            for start in range(0, len(part), _PIECE):
                await self._client.send(part[start : start + _PIECE])
        await self._client.send(b"", more=False)

    async def _renamed(self, json: bytes) -> tuple[bytes, Tokens]:
        """Return a complete JSON response with the requested model, and its tokens. Raises as `send_fed`."""
        if len(json) <= _MAX_UNYIELDING:
            return rename_model(json, self._call.own_id, self._model, self._format.fields)
        renamer = JsonStreamRenamer(self._call.own_id, self._model, fields=self._format.fields)
        parts: list[bytes] = []

        async def keep(part: bytes) -> None:
            if renamer.renames:
                parts.append(part)

        await send_fed(self._scope, renamer.feed, json, keep)
        end = json[-_PIECE:]  # where the counts of Ollama are
        tokens = renamer.tokens if self._format.fields.usage else usage_tokens(end, self._format.fields)
        if not renamer.renames:
            return json, tokens
        return await in_turns(self._scope, joined_in_steps([*parts, renamer.rest()])), tokens

    def _json_renamer(self) -> _Renamer:
        own_id, fields, items = self._call.own_id, self._format.fields, self._format.items
        if items == "lines":
            return JsonLinesRenamer(own_id, self._model, fields, self._call.error_texts, self._observer)
        is_array = items == "array"
        observer = self._observer if is_array else None
        return JsonStreamRenamer(own_id, self._model, fields=fields, in_array=is_array, observer=observer)

    async def _stream_json(self, headers: list[Header], parts: Sequence[bytes]) -> Outcome:
        """Stream JSON that is too long to be buffered, or whose values arrive one by one, in lines or in an array."""
        renamer, begin = self._json_renamer(), b"".join(parts)
        if self._format.items:
            if error := self._call.error_in(first_item(begin)):
                raise error
            headers = [*headers, *STREAM_HEADERS]
        await self._start(headers if renamer.renames or self._format.items else self._with_length(headers))
        return await self._relay_rest(begin, renamer)

    async def _relay_bytes(self, headers: list[Header], head: bytes) -> Outcome:
        """Relay audio, images and text."""
        await self._start(self._with_length(headers))
        return await self._relay_rest(head)

    def _with_length(self, headers: list[Header]) -> list[Header]:
        if self._response.length is None:
            return headers
        return [*headers, (b"content-length", b"%d" % self._response.length)]

    async def _relay_rest(self, chunk: bytes, renamer: _Renamer | None = None) -> Outcome:
        """Relay a response whose head was sent. `chunk`: its first bytes, b"" if it has none."""
        self._release_body()
        try:
            while chunk:
                if renamer:
                    await send_fed(self._scope, renamer.feed, chunk, self._client.send)
                else:
                    await self._client.send(chunk)
                chunk = await self._reader.read()
        except ApiError as error:
            is_complete = renamer is not None and renamer.is_complete
            before = renamer.error_item if renamer and self._format.items and not is_complete else None
            if before is not None:
                await self._client.send(self._format.error_end(error, before), more=False)
                return outcome_of(error)
            if self._response.length is not None or not is_complete:
                # The connection is closed before the response ends, which marks the response as incomplete.
                return outcome_of(error)
            self._response.close()  # the response is complete, only its framing is not
        finally:
            if renamer:
                self._tokens = renamer.tokens
        await self._client.send(renamer.rest() if renamer else b"", more=False)
        return "ok"

    async def _relay_events(self, headers: Sequence[Header], chunk: bytes) -> Outcome:
        """Relay a stream. `chunk`: its first bytes, b"" if they must be read."""
        relay = EventRelay(
            self._call,
            self._model,
            self._client,
            self._scope,
            self._reader,
            self._format,
            self._observer,
            self._release_body,
        )
        try:
            return await relay.run(headers, chunk, self._sse_keepalive)
        finally:
            self._tokens = relay.tokens

    @property
    def _observer(self) -> Observer | None:
        """Return the observer of a stream, None without one."""
        return observer_of(self._ids, self._text_counter() if self._text_counter else None)
