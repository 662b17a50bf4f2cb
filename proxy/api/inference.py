"""The endpoint of calls: checks permissions, reads the body, forwards the call. The paths are in `api/paths.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from proxy.access import Caller
from proxy.api.limited_calls import LimitedCall, LimitedCalls
from proxy.api.models import view_of
from proxy.api.paths import is_azure_path
from proxy.api.request import RequestHead
from proxy.api.request_body import read_body
from proxy.asgi import Header, Receive, Send
from proxy.calls import CallPath
from proxy.config import Config
from proxy.cooperative import run_now
from proxy.errors import ApiError, ApiNotSupported, Forbidden, InvalidKey, ModelListIncomplete
from proxy.inference.body_memory import Lease
from proxy.inference.call import Call
from proxy.inference.deadline import CallScope, ClientDisconnected, watch_receive
from proxy.inference.failover import Forwarder
from proxy.inference.forwarded import ForwardedCall
from proxy.inference.request.content_coding import decompress
from proxy.inference.request.headers import split_headers, without
from proxy.inference.request.parsing import parse_body
from proxy.inference.request.query import forwarded_query
from proxy.inference.resources import CallResources
from proxy.inference.response.client import ClientResponse
from proxy.inference.response.ids import IdReader
from proxy.inference.response.pending_ids import PendingIds
from proxy.inference.response.relay import Relay
from proxy.inference.response.stream_format import StreamFormat, stream_format_of
from proxy.inference.routing import Order, candidates
from proxy.inference.strategies import Conversation, strategies_of
from proxy.store import Store, View
from proxy.telemetry import CallRecord
from proxy.wire import format_of

_BEFORE_HEAD = 2
"""Comments begin after this many times `sse_keepalive` if no provider has responded: then its status cannot be sent."""
_ID = "{id}"
_CALLS_NEED_KEYS = (
    "This proxy has no API keys configured, so clients can list models but cannot call them; "
    "its administrator can add `keys:`, or set `call: true` in the group `default`."
)


class _Route(NamedTuple):
    """How the calls of one route are read and relayed."""

    call: CallPath
    stream_format: StreamFormat
    default_model: str
    """The model of a request without one; "" for none."""
    has_id: bool
    """Whether the path names the model."""


class Inference:
    """The endpoint of all calls."""

    def __init__(
        self,
        config: Config,
        store: Store,
        forwarder: Forwarder,
        resources: CallResources,
        calls: Mapping[str, CallPath],
        monotonic: Callable[[], float],
    ) -> None:
        """`calls`: by route of a request; `monotonic`: the clock of records of calls."""
        self._monotonic = monotonic
        default_models = config.server.default_models
        self._routes = {
            route: _Route(
                call,
                stream_format_of(call, format_of(route)),
                default_models.get(call.name, call.default_model),
                has_id=_ID in call.path,
            )
            for route, call in calls.items()
        }
        self._store = store
        self._forwarder = forwarder
        self._ledger = resources.ledger
        self._timer = resources.timer
        self._turns = resources.turns
        self._limits = LimitedCalls(resources.limiter, resources.turns)
        self.body_memory = resources.body_memory
        self._server = config.server
        self._has_keys = not config.is_open
        self._of_logins = frozenset(name.replace("_", "-").encode() for name in config.auth.headers)
        """The headers that identify users: no provider gets them."""
        self._providers = {provider.name: provider for provider in config.providers}
        self._targets = {provider.name: target for provider in config.providers if (target := provider.target)}
        self._strategies = strategies_of(config, lambda provider: forwarder.circuits[provider].load)
        self._virtual = frozenset(model.id for model in config.models)
        self._stateful = frozenset(provider.name for provider in config.providers if provider.stateful)

    def end_calls(self) -> int:
        """End all calls because the server stops. Returns the number of those in progress."""
        return self._timer.shut_down()

    async def __call__(self, head: RequestHead, caller: Caller, receive: Receive, send: Send) -> None:
        """Forward a call and relay its response. Raises ApiError while nothing was sent."""
        route = self._routes[head.route]
        record = head.begin_call(route.call.api)
        self.check_may_call(caller)
        lease = self.body_memory.lease(caller.identity)
        try:
            call = await self._read_call(head, route, record, caller, receive, lease)
            await self.forward(call, head, caller, receive, send, route.stream_format, lease)
        except ClientDisconnected:
            record.disconnected()
            return
        finally:
            lease.release()

    def raw_headers(self, head: RequestHead) -> Sequence[Header]:
        """Return the headers of which providers can get some (`forward_headers`)."""
        return without(head.headers, self._of_logins)

    def check_may_call(self, caller: Caller) -> None:
        if caller.may_call:
            return
        if caller.name is None and self._has_keys:
            raise InvalidKey  # 401: a key can have the permission
        if caller.is_user:
            raise Forbidden(f"Users of the group {caller.group!r} can list models but cannot call them.")
        raise Forbidden("This API key can list models but cannot call them." if caller.name else _CALLS_NEED_KEYS)

    async def _read_call(
        self, head: RequestHead, route: _Route, record: CallRecord, caller: Caller, receive: Receive, lease: Lease
    ) -> Call:
        """Raises ApiError and ClientDisconnected."""
        key = caller.identity
        headers, forwarded = split_headers(head.headers, key)
        content = await read_body(head, headers, receive, lease, self._server.max_request)
        head.has_body = False  # the body was read, so the connection can be reused
        record.bytes_in = len(content)
        if coding := headers.get(b"content-encoding"):
            content = await self._turns.run(decompress(content, coding, self._server.max_request, lease.grow))
            lease.shrink_to(len(content))
        view = self._store.cached_view(caller.policy) or await view_of(self._store, caller.policy)
        path, default_model = route.call, route.default_model
        path_model = head.path_params["id"] if route.has_id else head.path_model
        if default_model and not await _is_known(view, default_model):
            default_model = ""
        body = await self._turns.run(parse_body(content, headers, path, path_model, default_model))
        record.model, record.is_stream = body.model, body.is_stream
        await view.prepare(body.models)
        if body.references:
            await self._ledger.look_up(key, body.references)
        origin_of = partial(self._ledger.provider_of, key)
        request_id = head.request_id.decode()
        order: Order | None = None
        if self._strategies:
            order = partial(self._strategies.ordered, Conversation(key, body, head.headers, request_id))
        try:
            offers = candidates(view.model, body, self._targets, self._stateful, path.api, origin_of, order)
        except ApiNotSupported:
            if body.model in self._virtual and (seconds := view.seconds_until_known(body.model)):
                raise ModelListIncomplete(body.model, seconds, is_listed=True) from None
            raise
        record.is_known = True
        query = forwarded_query(head.query, is_azure=is_azure_path(head.scope["raw_path"])) if head.query else ""
        return Call(path.path, body, forwarded, offers, request_id, key, record, self.raw_headers(head), query)

    async def drop_body(
        self, head: RequestHead, headers: Mapping[bytes, bytes], caller: Caller, receive: Receive
    ) -> None:
        """Read a body that is not used. Raises BodyTooLarge, ServerBusy and ClientDisconnected."""
        lease = self.body_memory.lease(caller.identity)
        try:
            await read_body(head, headers, receive, lease, self._server.max_request)
        finally:
            lease.release()

    async def forward(
        self,
        call: Call,
        head: RequestHead,
        caller: Caller,
        receive: Receive,
        send: Send,
        stream_format: StreamFormat,
        lease: Lease | None = None,
    ) -> None:
        """Forward a call within the limits of its caller, and relay its response.

        `lease`: of its body, which is released as soon as the body is not used any more. Raises ApiError and
        ClientDisconnected.
        """
        limited: LimitedCall | None = None
        if (quota := caller.quota) is not None:
            limited = self._limits.begin_now(call, caller, quota, stream_format)
            if limited is None:
                limited = await self._limits.begin(call, caller, quota, stream_format)
        try:
            names_provider = caller.admin or self._server.expose_provider
            watch = head.connection.watch if head.connection else watch_receive(receive)
            first = self._providers[call.candidates[0].offer.provider]
            id_headers = [(name, head.request_id) for name in stream_format.format.request_id_headers]
            waiting = _BEFORE_HEAD * self._server.sse_keepalive
            with CallScope(self._timer, watch, first.call_timeout, call.record) as scope:
                client = ClientResponse(
                    send,
                    head.connection,
                    scope,
                    call.record,
                    self._monotonic,
                    id_headers=id_headers,
                    lines=limited.lines if limited is not None else b"",
                    waiting=waiting if call.body.is_stream and stream_format.has_last_event else None,
                )
                relay = partial(
                    self._relay, call, client, scope, stream_format, lease, limited, id_headers, names_provider
                )
                try:
                    await self._forwarder.forward(call, scope, relay)
                except ApiError as error:
                    if names_provider and error.provider:
                        error.headers = [*error.headers, (b"x-served-by", error.provider.encode())]
                    if limited is not None:
                        limited.failed(error)
                    if not client.has_started:
                        raise
                    call.record.failed(error, is_broken=True)
                    client.log_unsent(error.headers)
                    await client.send(stream_format.format.error_event(error, 0))
                    await client.send(b"", more=False)
                finally:
                    client.close()
        finally:
            if limited is not None:
                limited.end()

    async def _relay(
        self,
        call: Call,
        client: ClientResponse,
        scope: CallScope,
        stream_format: StreamFormat,
        lease: Lease | None,
        limited: LimitedCall | None,
        id_headers: Sequence[Header],
        names_provider: bool,
        forwarded: ForwardedCall,
    ) -> None:
        """Relay a response that has started. `limited`: None without limits. Raises ApiError and ClientDisconnected."""
        scope.limit_to(forwarded.provider.call_timeout)
        headers = forwarded.headers(has_limits=limited is not None, names_provider=names_provider)
        ids = self._id_reader(call, forwarded, client, scope)
        relay = Relay(
            forwarded,
            call.model,
            client,
            scope,
            stream_format,
            self._server.sse_keepalive,
            ids,
            # The reader of ids looks them up in the body.
            release_body=partial(_release, call, lease) if lease and not ids else None,
            text_counter=limited.begin_stream if limited is not None and limited.counts_text else None,
        )
        await relay.run([*headers, *id_headers])

    def _id_reader(
        self, call: Call, forwarded: ForwardedCall, client: ClientResponse, scope: CallScope
    ) -> IdReader | None:
        """Return what reads the ids in the response for the caller's key, None if it has no ids or no key."""
        path = call.path_of_ids
        if not call.key or not path:
            return None
        origin = self._ledger.origin(forwarded.provider.name, call.model)
        record, is_own_text = partial(self._ledger.record, call.key, origin), call.own_text()
        if call.body.is_long:
            pending = PendingIds(is_own_text, record, scope)
            client.before_send = pending.settle
            return IdReader(path, pending.add)
        return IdReader(path, partial(record, lambda text: run_now(is_own_text(text))))


def _release(call: Call, lease: Lease) -> None:
    call.body.discard()
    lease.release()


async def _is_known(view: View, model: str) -> bool:
    """Whether the caller can use a model, or perhaps when a list that is missing is there."""
    await view.prepare((model,))
    return view.find(model) is not None or view.seconds_until_known(model) > 0
