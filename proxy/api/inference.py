"""Calls of models: who may call, and the way through the proxy. Which paths exist is in `api/paths.py`."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from proxy.access import Caller
from proxy.api.http import ANTHROPIC_PATHS, ClientConnection, RequestHead
from proxy.api.models import view_of
from proxy.api.paths import CALLS, PATHS
from proxy.config import Config
from proxy.errors import ApiError, BadRequest, BodyTooLarge, Forbidden, InvalidKey, MethodNotAllowed
from proxy.inference.deadline import CallScope, ClientDisconnected, DeadlineTimer, watch_receive
from proxy.inference.failover import Call, Forwarder
from proxy.inference.request.body import Body
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.headers import split_headers
from proxy.inference.request.json_body import JsonBody
from proxy.inference.response.headers import relayed_headers
from proxy.inference.response.relay import Relay, StreamFormat
from proxy.inference.routing import candidates
from proxy.store import Store
from proxy.wire.anthropic import anthropic_error
from proxy.wire.openai import openai_error

_CALLS_NEED_A_KEY = (
    "Without keys this proxy only lists models; whoever runs it can say `call: true` at the group default."
)


class Inference:
    """The endpoint of all calls."""

    def __init__(self, config: Config, store: Store, forwarder: Forwarder) -> None:
        self._store = store
        self._forwarder = forwarder
        self._timer = DeadlineTimer()
        self._server = config.server
        self._has_keys = not config.is_open
        self._providers = {provider.name: provider for provider in config.providers}
        self._targets = {provider.name: target for provider in config.providers if (target := provider.target)}
        self._stateful = frozenset(provider.name for provider in config.providers if provider.stateful)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, head: RequestHead, caller: Caller) -> None:
        """Raises ApiError if nothing was sent yet."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(scope["method"], "POST")
        self._check_may_call(caller)
        try:
            call = await self._read_call(scope, receive, head, caller)
            await self._forward(call, scope, receive, send, head)
        except ClientDisconnected:
            return

    def _check_may_call(self, caller: Caller) -> None:
        if caller.may_call:
            return
        if caller.name is None and self._has_keys:
            raise InvalidKey  # a key would help
        raise Forbidden("This key may list models, but not call them." if caller.name else _CALLS_NEED_A_KEY)

    async def _read_call(self, scope: Scope, receive: Receive, head: RequestHead, caller: Caller) -> Call:
        """Raises ApiError and ClientDisconnected."""
        key = caller.name or ""
        headers, forwarded = split_headers(scope["headers"], key)
        content = await self._read_body(headers, receive)
        head.has_body = False  # it was read, so the connection can be used again
        body = _parse(content, headers)
        view = self._store.cached_view(caller.policy) or await view_of(self._store, caller.policy)
        offers = candidates(view.catalog, body, self._targets, self._stateful)
        return Call(PATHS[scope["path"]], body, forwarded, offers, head.request_id.decode(), key)

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Raises BodyTooLarge and ClientDisconnected."""
        limit = self._server.max_request
        if int(headers.get(b"content-length", b"0")) > limit:
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

    async def _forward(self, call: Call, scope: Scope, receive: Receive, send: Send, head: RequestHead) -> None:
        """Raises ApiError and ClientDisconnected."""
        direct: ClientConnection | None = scope.get("direct")
        watch = direct.watch if direct else watch_receive(receive)
        first = self._providers[call.candidates[0].offer.provider]
        with CallScope(self._timer, watch, first.call_timeout) as call_scope:
            forwarded = await self._forwarder.forward(call, call_scope)
            call_scope.limit_to(forwarded.provider.call_timeout)
            headers = [*relayed_headers(forwarded.response.raw_headers), (b"x-request-id", head.request_id)]
            if scope["path"] in ANTHROPIC_PATHS:
                headers.append((b"request-id", head.request_id))  # where Anthropic's SDK looks for it
            relay = Relay(forwarded, call.model, send, direct, call_scope)
            await relay.run(headers, _STREAM_FORMATS[scope["path"]], self._server.sse_keepalive)


def _parse(body: bytes, headers: Mapping[bytes, bytes]) -> Body:
    """Raises BadRequest."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise BadRequest("A compressed body cannot be read here; send it as it is.")
    content_type = headers.get(b"content-type", b"")
    return FormBody(body, content_type) if content_type.lower().startswith(b"multipart/") else JsonBody(body)


def _openai_error_event(error: ApiError) -> bytes:
    return b"data: %b\n\n" % openai_error(error)


def _anthropic_error_event(error: ApiError) -> bytes:
    return b"event: error\ndata: %b\n\n" % anthropic_error(error)


_STREAM_FORMATS = {
    path: StreamFormat(CALLS[call], _anthropic_error_event if path in ANTHROPIC_PATHS else _openai_error_event)
    for path, call in PATHS.items()
}
