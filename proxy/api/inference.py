"""Calls of models: who may, which model at which provider, and its answer on its way to the client.

Called by the gate itself, as the list is. A path is passed on only if it stands in `calls.PATHS`.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from starlette.types import Receive, Scope, Send

from proxy.access import Caller
from proxy.api.http import ANTHROPIC_PATHS, ClientConnection, RequestHead
from proxy.api.models import view_of
from proxy.api.paths import CALLS, PATHS
from proxy.asgi import Header
from proxy.catalog import Catalog, Model
from proxy.config import Config, Target
from proxy.errors import (
    ApiError,
    BadRequest,
    BodyTooLarge,
    Forbidden,
    InvalidKey,
    MethodNotAllowed,
    ModelNotCallable,
    ModelNotFound,
    ProviderFailed,
    ProviderTooSlow,
    UpstreamError,
)
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineExceeded, DeadlineTimer, watch_receive
from proxy.inference.failover import Call, Candidate, ForwardedCall, Forwarder
from proxy.inference.provider_errors import classify
from proxy.inference.request.body import Body
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.json_body import JsonBody
from proxy.inference.response.event_stream import EventStreamRenamer
from proxy.inference.response.json_stream import JsonStreamRenamer
from proxy.inference.response.rename import rename_model
from proxy.store import Store
from proxy.telemetry import Tokens
from proxy.telemetry.usage import Outcome
from proxy.wire.anthropic import anthropic_error
from proxy.wire.openai import openai_error

_MAX_END = 32  # bytes of what is looked for
_GOES_UP = {
    name.lower().encode(): name
    for name in ("Accept", "OpenAI-Beta", "Anthropic-Version", "Anthropic-Beta", "Idempotency-Key", "Traceparent")
}
_READ = frozenset({b"content-type", b"content-encoding", b"content-length"})
_COMES_DOWN = frozenset(
    {
        b"content-type", b"content-disposition", b"retry-after", b"retry-after-ms", b"x-should-retry",
        b"openai-processing-ms", b"x-ratelimit-limit-requests", b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-requests", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-requests",
        b"x-ratelimit-reset-tokens",
    }
)  # fmt: skip
_MAX_WHOLE = 32 * 1024**2
"""Bytes of a JSON answer that is read before it is passed on; a longer one goes on piece by piece."""
_PIECE = 64 * 1024  # bytes
_COMMENT = b": keep-alive\n\n"
_STREAM_HEADERS: Sequence[Header] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class Inference:
    """Passes calls on for callers who may make them."""

    def __init__(self, config: Config, store: Store, forwarder: Forwarder) -> None:
        self._store = store
        self._forwarder = forwarder
        self._timer = DeadlineTimer()
        self._server = config.server
        self._has_keys = not config.is_open
        self._providers = {provider.name: provider for provider in config.providers}
        self._targets = {provider.name: target for provider in config.providers if (target := provider.target)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send, head: RequestHead, caller: Caller) -> None:
        """What the gate has found out comes as `head` and `caller`. Raises ApiError."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(scope["method"], "POST")
        self._refuse_who_may_only_list(caller)
        path = PATHS[scope["path"]]
        sent, callers = _headers(scope["headers"], caller.name or "")
        try:
            content = await self._whole_body(sent, receive)
            head.has_body = False  # it is read, so the connection can be used again
            body = _read(content, sent)
            view = self._store.cached_view(caller.policy) or await view_of(self._store, caller.policy)
            candidates = self._candidates(view.catalog, body)
            call = Call(path, body, callers, candidates, head.request_id.decode(), caller.name or "")
            provider = self._providers[candidates[0].offer.provider]
            direct: ClientConnection | None = scope.get("direct")
            watch = direct.watch if direct else watch_receive(receive)
            with CallScope(self._timer, watch, provider.call_timeout) as call_scope:
                forwarded = await self._forwarder.forward(call, call_scope)
                call_scope.limit_to(forwarded.provider.call_timeout)
                relay = Relay(forwarded, body.model, send, direct, call_scope)
                await relay.run(scope["path"], head, CALLS[path], self._server.sse_keepalive)
        except ClientDisconnected:
            return

    def _refuse_who_may_only_list(self, caller: Caller) -> None:
        if caller.may_call:
            return
        if caller.name is None and self._has_keys:
            raise InvalidKey  # with a key it would be possible
        raise Forbidden("This key may list models, but not call them." if caller.name else _CALLS_NEED_A_KEY)

    async def _whole_body(self, sent: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Raises BodyTooLarge and ClientLeft."""
        limit = self._server.max_request
        if int(sent.get(b"content-length", b"0")) > limit:
            raise BodyTooLarge(limit)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise BodyTooLarge(limit)
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _candidates(self, catalog: Catalog, body: Body) -> Sequence[Candidate]:
        """The ways to answer a call, in the operator's order. Raises ApiError."""
        model = _found(catalog, body.model)
        others = {name: _found(catalog, name) for name in (*body.models[1:], *body.models_of_tools)}
        callable_here = [offer for offer in model.offers if offer.provider in self._targets]
        if not callable_here:
            raise ModelNotCallable(body.model)
        candidates = []
        for offer in callable_here:
            target = self._targets[offer.provider]
            ids = {body.model: target.called(offer.entry.id)}
            for name, other in others.items():
                ids[name] = _own_id(other, offer.provider, target)
            if all(ids.values()) and all(ids[name] == name for name in body.models_of_tools):
                candidates.append(Candidate(offer, ids))
        if not candidates:
            raise BadRequest("All models that a call names must be models of one provider.", param="models")
        if not body.refers_to_state:
            return candidates
        # What was begun with one provider is known to no other one.
        stateful = [candidate for candidate in candidates if self._providers[candidate.offer.provider].stateful]
        if not stateful:
            raise BadRequest(_SHARED)
        return stateful[:1]


_CALLS_NEED_A_KEY = (
    "Without keys this proxy only lists models; whoever runs it can say `call: true` at the group default."
)
_SHARED = (
    "This call refers to something that the provider keeps (an earlier response, a conversation, a file store). "
    "Its account is shared by all callers here, so that is not possible unless the provider is marked `stateful: true`."
)


def _headers(headers: Iterable[Header], key: str) -> tuple[Mapping[bytes, bytes], Mapping[str, str]]:
    """What we act on, and what may go up."""
    sent: dict[bytes, bytes] = {}
    goes_up: dict[str, str] = {}
    for name, value in headers:
        if name in _READ:
            sent[name] = value
        elif name in _GOES_UP and value.isascii() and (text := value.decode()).isprintable():
            goes_up[_GOES_UP[name]] = text
    if "Idempotency-Key" in goes_up:
        # The provider sees one account: two callers who happen on the same one would share an answer.
        goes_up["Idempotency-Key"] = sha256(f"{key} {goes_up['Idempotency-Key']}".encode()).hexdigest()
    return sent, goes_up


def _read(body: bytes, sent: Mapping[bytes, bytes]) -> Body:
    """Raises BadRequest."""
    if sent.get(b"content-encoding", b"identity").lower() != b"identity":
        raise BadRequest("A compressed body cannot be read here; send it as it is.")
    content_type = sent.get(b"content-type", b"")
    return FormBody(body, content_type) if content_type.lower().startswith(b"multipart/") else JsonBody(body)


def _found(catalog: Catalog, name: str) -> Model:
    model = catalog.find(name)
    if model is None:
        raise ModelNotFound(name)
    return model


def _own_id(model: Model, provider: str, target: Target) -> str:
    """What a provider wants a model to be called, "" if it has none under this id."""
    for offer in model.offers:
        if offer.provider == provider:
            return target.called(offer.entry.id)
    return ""


class Relay:
    """An answer on its way to the client."""

    def __init__(
        self, call: ForwardedCall, model: str, send: Send, direct: ClientConnection | None, call_scope: CallScope
    ) -> None:
        """`model` is the id that the caller used."""
        self._call = call
        self._response = call.response
        self._model = model
        self._to_client = send
        self._direct = direct
        self._scope = call_scope
        self._seconds = call.provider.idle_timeout
        self._tokens = Tokens()

    async def run(self, path: str, head: RequestHead, end: re.Pattern[bytes], sse_keepalive: float) -> None:
        """Raises ApiError where nothing has gone out yet, and ClientLeft."""
        kind = self._response.content_type.partition(";")[0].strip().lower()
        headers = [*_down(self._response.raw_headers), (b"x-request-id", head.request_id)]
        if path in ANTHROPIC_PATHS:
            headers.append((b"request-id", head.request_id))  # where Anthropic's SDK looks for it
        outcome: Outcome = "left"
        try:
            if kind == "text/event-stream":
                outcome = await self._stream(path, headers, end, sse_keepalive)
            elif kind == "application/json" or kind.endswith("+json"):
                outcome = await self._whole(headers)
            else:
                outcome = await self._as_it_comes(headers)
        except ApiError as error:
            outcome = "timeout" if isinstance(error, ProviderTooSlow) else "broken"
            raise
        finally:
            self._call.finish(outcome, self._tokens)

    async def _read(self) -> bytes:
        """What comes next, b"" at the end. Raises ApiError and ClientLeft."""
        try:
            return await self._scope.wait(self._response.read(), self._seconds)
        except DeadlineExceeded:
            raise _relay_error(UpstreamError("stalled", "")) from None
        except UpstreamError as error:
            raise _relay_error(error) from error

    def _read_nowait(self) -> bytes:
        """The bytes that have arrived already, b"" if none. Raises ApiError."""
        try:
            return self._response.read_nowait()
        except UpstreamError as error:
            raise _relay_error(error) from error

    async def _send(self, body: bytes, *, more: bool = True) -> None:
        """A client that does not read is waited for no longer than a provider that does not write."""
        message = {"type": "http.response.body", "body": body, "more_body": more}
        try:
            await self._scope.wait(self._to_client(message), self._seconds)
        except DeadlineExceeded:
            raise self._given_up() from None

    def _given_up(self) -> ClientDisconnected:
        """The client does not read any more: what it has not read would stay in memory until it leaves."""
        if self._direct:
            self._direct.abort()
        return ClientDisconnected()

    async def _start(self, headers: Sequence[Header]) -> None:
        """Raises ClientLeft: what was sent before on this connection may not have been read."""
        start = {"type": "http.response.start", "status": self._response.status, "headers": headers}
        try:
            await self._scope.wait(self._to_client(start), self._seconds)
        except DeadlineExceeded:
            raise self._given_up() from None

    async def _whole(self, headers: list[Header]) -> Outcome:
        parts: list[bytes] = []
        size = 0
        while not self._response.is_over and (part := self._read_nowait() or await self._read()):
            parts.append(part)
            size += len(part)
            if size > _MAX_WHOLE:
                return await self._piece_by_piece(headers, parts)
        body = b"".join(parts)
        if not _looks_like_json(body):
            raise ProviderFailed("The provider of this model answered with something that is no JSON.")
        body, self._tokens = rename_model(body, self._call.own_id, self._model)
        headers.append((b"content-length", b"%d" % len(body)))
        if not (self._direct and self._direct.send((self._response.status, headers, body))):
            await self._start(headers)
            for at in range(0, len(body), _PIECE):  # so that a client which does not read is noticed
                await self._send(body[at : at + _PIECE])
            await self._send(b"", more=False)
        return "ok"

    async def _piece_by_piece(self, headers: list[Header], begun: list[bytes]) -> Outcome:
        """A JSON answer too long to be held; `begun` was read already."""
        long = JsonStreamRenamer(self._call.own_id, self._model)
        try:
            return await self._as_it_comes(headers, begun, long)
        finally:
            self._tokens = long.tokens

    async def _as_it_comes(
        self, headers: list[Header], begun: list[bytes] | None = None, long: JsonStreamRenamer | None = None
    ) -> Outcome:
        """Sound, pictures, text, and what is too long."""
        if self._response.length is not None and not (long and long.renames):
            headers = [*headers, (b"content-length", b"%d" % self._response.length)]
        waiting = deque(begun or [await self._read()])
        await self._start(headers)
        try:
            while chunk := waiting.popleft() if waiting else await self._read():
                if out := long.passed(chunk) if long else chunk:
                    await self._send(out)
        except ApiError as error:
            # The client sees that it is not whole: the connection ends before the answer does.
            return "timeout" if isinstance(error, ProviderTooSlow) else "broken"
        await self._send(long.rest() if long else b"", more=False)
        return "ok"

    async def _stream(
        self, path: str, headers: Sequence[Header], end: re.Pattern[bytes], sse_keepalive: float
    ) -> Outcome:
        await self._start([*headers, *_STREAM_HEADERS])
        events = EventStreamRenamer(self._call.own_id, self._model)
        ended, read = not self._response.ends_by_closing, b""
        failure: ApiError | None = None
        with Heartbeat(sse_keepalive, partial(self._comment, events)) as beat:
            try:
                while chunk := await self._read():
                    beat.heard()
                    if not ended:
                        read += chunk
                        ended, read = bool(end.search(read)), read[-_MAX_END:]
                    if out := events.passed(chunk):
                        await self._send(out)
                if not ended:
                    failure = _relay_error(UpstreamError("interrupted", ""))
            except ApiError as error:
                failure = error
            finally:
                self._tokens = events.tokens
        # Half a line is of no use in front of an error: it would be read as the first half of it.
        await self._send(_told(path, failure, events) if failure else events.rest())
        await self._send(b"", more=False)
        if failure is None:
            return "ok"
        return "timeout" if isinstance(failure, ProviderTooSlow) else "broken"

    async def _comment(self, events: EventStreamRenamer) -> None:
        if events.between_events:  # an empty line would end an event whose rest is still to come
            await self._to_client({"type": "http.response.body", "body": _COMMENT, "more_body": True})


class Heartbeat:
    """Sends something whenever nothing was heard for a while: what stands in between ends silent streams."""

    def __init__(self, seconds: float, send: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._seconds = seconds
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._sending: asyncio.Task[None] | None = None

    def __enter__(self) -> Heartbeat:
        self._timer = self._loop.call_later(self._seconds, self._look)
        return self

    def __exit__(self, *ending: object) -> None:
        self._timer.cancel()
        if self._sending:
            self._sending.cancel()

    def heard(self) -> None:
        self._heard_at = self._loop.time()

    def _look(self) -> None:
        if self._loop.time() >= self._heard_at + self._seconds:
            self._heard_at = self._loop.time()
            if self._sending is None or self._sending.done():
                self._sending = self._loop.create_task(self._send(), name="keep-alive")
        self._timer = self._loop.call_at(self._heard_at + self._seconds, self._look)


def _told(path: str, error: ApiError, events: EventStreamRenamer) -> bytes:
    """An event that the SDKs raise as an error."""
    line_end = b"" if events.between_events else b"\n\n"
    if path in ANTHROPIC_PATHS:
        return b"%bevent: error\ndata: %b\n\n" % (line_end, anthropic_error(error))
    return b"%bdata: %b\n\n" % (line_end, openai_error(error))


def _relay_error(error: UpstreamError) -> ApiError:
    return classify(error, ()).error


def _down(raw_headers: Iterable[Header]) -> Iterator[Header]:
    """Of a provider's headers, those that may come down."""
    for raw_name, value in raw_headers:
        name = raw_name.lower()
        if name in _COMES_DOWN and value.isascii() and value.decode().isprintable():
            yield name, value


def _looks_like_json(body: bytes) -> bool:
    text = body.strip()
    return (text[:1], text[-1:]) in ((b"{", b"}"), (b"[", b"]"))
