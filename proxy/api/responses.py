"""The endpoints of stored responses (retrieve, cancel, delete, list the input), for the key that created them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from urllib.parse import parse_qsl, quote

from proxy.access import Caller
from proxy.api.inference import Inference
from proxy.api.models import view_of
from proxy.api.request import RequestHead
from proxy.asgi import Receive, Send
from proxy.calls import Api
from proxy.config import Config
from proxy.errors import ApiNotSupported, BadRequest, ModelNotCallable, ModelNotFound, ResponseNotFound
from proxy.inference.call import Call
from proxy.inference.deadline import ClientDisconnected
from proxy.inference.ledger import Ledger, Origin
from proxy.inference.request.body import NoBody
from proxy.inference.request.headers import split_headers
from proxy.inference.request.params import ParamOverrides
from proxy.inference.response.stream_format import StreamFormat
from proxy.inference.routing import Candidate, candidates
from proxy.store import Store
from proxy.telemetry import CallRecord
from proxy.upstream.calls import Endpoint
from proxy.upstream.response import UpstreamResponse
from proxy.wire import format_of

_RESPONSES = "/v1/responses"
_API: Api = "openai"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=:-]*")
"""An id that is one segment of a path for every provider."""
_PARAMETERS = frozenset(
    {"include", "include[]", "stream", "starting_after", "include_obfuscation", "after", "before", "limit", "order"}
)
_MAX_PARAMETERS = 50


class StoredCall(Call, frozen=True, kw_only=True):
    """A request for a stored response."""

    method: str
    parameters: Sequence[tuple[str, str]]

    has_new_tokens: bool = False

    @property
    def path_of_ids(self) -> str:
        """Empty for lists of input, in which the caller has chosen ids, and for deleted responses."""
        return "" if self.method == "DELETE" or self.path.endswith("/input_items") else _RESPONSES

    def send(
        self, endpoint: Endpoint, candidate: Candidate, changes: ParamOverrides | None
    ) -> Awaitable[UpstreamResponse]:
        return endpoint.request(
            self.method,
            self.path,
            self.parameters,
            headers=self.headers_for(endpoint.provider),
            request_id=self.request_id,
            model=candidate.offer.entry.id,
            caller=self.key,
        )


class StoredResponses:
    """The endpoints of responses that providers store."""

    def __init__(self, config: Config, store: Store, ledger: Ledger, inference: Inference) -> None:
        self._targets = {provider.name: target for provider in config.providers if (target := provider.target)}
        self._store = store
        self._ledger = ledger
        self._inference = inference
        self._stream_format = StreamFormat(has_last_event=True, format=format_of(_RESPONSES), is_stored=True)

    async def __call__(self, head: RequestHead, caller: Caller, receive: Receive, send: Send) -> None:
        """Forward a request to the provider that has the response. Raises ApiError while nothing was sent."""
        record = head.begin_call(_API)
        self._inference.check_may_call(caller)
        try:
            call = await self._read_call(head, record, caller, receive)
            await self._inference.forward(call, head, caller, receive, send, self._stream_format)
        except ClientDisconnected:
            record.disconnected()
            return
        if call.method == "DELETE":
            self._ledger.discard(call.key, head.path_params["id"])

    async def _read_call(self, head: RequestHead, record: CallRecord, caller: Caller, receive: Receive) -> StoredCall:
        """Raises ApiError and ClientDisconnected."""
        response, key = head.path_params["id"], caller.identity
        headers, forwarded = split_headers(head.headers, key)
        await self._inference.drop_body(head, headers, caller, receive)  # these requests have no parameters in a body
        head.has_body = False
        await self._ledger.look_up(key, (response,))
        origin = self._ledger.find(key, response)
        candidate = await self._candidate(origin, caller) if origin and _ID.fullmatch(response) else None
        if origin is None or candidate is None:
            raise ResponseNotFound(response)
        record.model, record.is_known = origin.model, True
        return StoredCall(
            path=f"{_RESPONSES}/{quote(response, safe='')}{_end(head.path)}",
            body=NoBody(origin.model),
            headers=forwarded,
            candidates=[candidate],
            request_id=head.request_id.decode(),
            key=key,
            record=record,
            raw_headers=self._inference.raw_headers(head),
            method=head.method,
            parameters=_parameters(head.query),
        )

    async def _candidate(self, origin: Origin, caller: Caller) -> Candidate | None:
        """Return the offer that made a response, None if the caller's rules or the list of models lack it now."""
        view = self._store.cached_view(caller.policy) or await view_of(self._store, caller.policy)
        await view.prepare((origin.model,))
        try:
            batch = candidates(view.model, NoBody(origin.model), self._targets, (), _API)
        except (ModelNotFound, ModelNotCallable, ApiNotSupported):
            return None
        return next((candidate for candidate in batch if candidate.offer.provider == origin.provider), None)


def _end(path: str) -> str:
    """Return what follows the id in a path: "", `/cancel` or `/input_items`."""
    _, slash, end = path.partition("/responses/")[2].partition("/")
    return slash + end


def _parameters(query: bytes) -> Sequence[tuple[str, str]]:
    """Return the parameters that are forwarded. Raises BadRequest."""
    try:
        parameters = parse_qsl(query.decode("latin-1"), max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise BadRequest(f"The query has more than {_MAX_PARAMETERS} parameters.") from None
    return [(name, value) for name, value in parameters if name in _PARAMETERS]
