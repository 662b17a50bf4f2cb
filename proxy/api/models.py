"""Lists of models and single models, in all formats, from the caller's view: `GET /v1/models` and others.

This is the hot path: a rendered list is returned synchronously, without a coroutine.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial

from proxy.access import Caller, Policy
from proxy.access.keys import PRIVATE
from proxy.api.fact_sources import SourcesOfFacts
from proxy.api.http import json_response, read_body
from proxy.api.model_ids import model_in, spellings_of
from proxy.api.negotiation import accepts_gzip, matches
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.calls import APIS
from proxy.catalog import Model
from proxy.catalog.retirement import retirement_headers
from proxy.clock import Clock
from proxy.config import Provider
from proxy.errors import ModelListUnavailable, ModelNotFound, whole_seconds
from proxy.store import Status, Store, View
from proxy.store.formats import is_listed
from proxy.store.list_body import ReadyList
from proxy.wire import FORMATS, JSON, OPENAI_LISTS, lists_of
from proxy.wire.filters import Filters
from proxy.wire.format import LIST_PATHS
from proxy.wire.lists import ListFormat

_WHOLE_LIST = ("",)
_MAX_LOOK_UP = 64 * 1024
"""Bytes of a body with the id of a model."""
_MAX_KEPT = 1024
"""Maximum bytes of the query and of `Accept-Encoding` of a request whose response is kept: clients choose them."""


class Models:
    """Returns the list and single models from the caller's view."""

    def __init__(self, store: Store, clock: Clock, providers: Sequence[Provider]) -> None:
        self._store = store
        self._clock = clock
        self._sources = SourcesOfFacts(store, clock)
        self._callable_by_api: Mapping[str | None, frozenset[str]] = {
            api: frozenset(each.name for each in providers if each.target and api in each.target.speaks) for api in APIS
        }
        """API -> the providers whose models can be called through it."""

    def routes(self) -> Iterator[Route]:
        for lists in [row.lists for row in FORMATS if row.lists]:
            retrieve = self.retrieve if lists is OPENAI_LISTS else partial(self._retrieve_in, lists)
            for path in lists.paths:
                yield Route(path, READ, self.list, is_api=True, is_list=True)
                if lists.has_items:
                    yield Route(path + "/{id...}", READ, retrieve, is_api=True, is_list=True)
            for path, body in lists.fixed.items():
                yield Route(path, READ, partial(_fixed, body), is_api=True)
            if lists.look_up:
                yield Route(lists.look_up, ("POST",), partial(self._look_up, lists), is_api=True, is_list=True)

    def list(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return a list, or the part that a query selects, in the format that a path, header or parameter selects.

        Returns a handler if it must be encoded, or compressed, first. Raises BadRequest.
        """
        view = self._store.cached_view(caller.policy)
        # The whole request is the key: equal ones, as of clients that poll, are not parsed again.
        request = (head.path, head.list_headers, head.query, caller.admin, head.accept_encoding)
        if view is not None and (ready := view.ready.get(request)):
            return self._respond(head, view, ready)
        return self._list(head, caller, view, request)

    def _list(self, head: RequestHead, caller: Caller, view: View | None, request: Hashable) -> RawResponse | Handler:
        """Return a list whose response is not kept yet. `request`: what selects it."""
        lists = lists_of(head.path, head.list_headers, head.query)
        part = _part_of(lists, head, caller)
        if head.query and lists is OPENAI_LISTS and self._sources.are_requested(head, caller):
            return partial(self._with_sources, head, caller, _WHOLE_LIST)
        packed = accepts_gzip(head.accept_encoding)
        if view is not None and (ready := view.cached(lists, part, packed=packed)):
            if len(head.query) + len(head.accept_encoding) <= _MAX_KEPT:
                view.keep(request, ready)
            return self._respond(head, view, ready)
        if lists is OPENAI_LISTS and part is None and (unchanged := self._unchanged(head, caller, packed)):
            return unchanged
        return partial(self._encode, lists, part, head, caller.policy)

    async def _encode(
        self, lists: ListFormat, part: Hashable, head: RequestHead, policy: Policy, receive: Receive, send: Send
    ) -> RawResponse:
        view = await view_of(self._store, policy)
        encoded = await view.rendered.encoded(lists, part, self._callable_by_api.get(lists.api, frozenset()))
        packed = accepts_gzip(head.accept_encoding)
        if packed:
            await encoded.compressed()
        ready = encoded.ready(view.status.headers, packed=packed)
        assert ready is not None, "it is compressed"
        return self._respond(head, view, ready)

    def retrieve(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return one model by its id, in the format that a header selects. Raises ModelNotFound."""
        lists = lists_of(head.path, head.list_headers) if head.list_headers else OPENAI_LISTS
        if head.query and lists is OPENAI_LISTS and self._sources.are_requested(head, caller):
            return partial(self._with_sources, head, caller, spellings_of(head, LIST_PATHS))
        return self._retrieve_in(lists, head, caller)

    def _retrieve_in(self, lists: ListFormat, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        spellings = spellings_of(head, (*lists.paths, *LIST_PATHS))
        view = self._store.cached_view(caller.policy)
        if view is None or not view.catalog.models:
            return partial(self._retrieve_later, lists, spellings, head, caller)
        if model := _listed(view, spellings):
            return self._model(head, view, model, lists)
        if not all(spellings):
            return self.list(head, caller)
        if not view.is_prepared:
            return partial(self._retrieve_later, lists, spellings, head, caller)
        return self._model(head, view, _resolved(view, spellings), lists)

    async def _retrieve_later(
        self,
        lists: ListFormat,
        spellings: Sequence[str],
        head: RequestHead,
        caller: Caller,
        receive: Receive,
        send: Send,
    ) -> RawResponse | None:
        """Return a model when the view is rendered, or the whole list."""
        view = await view_of(self._store, caller.policy)
        if model := await _find(view, spellings):
            return self._model(head, view, model, lists)
        response = self.list(head, caller)
        return response if isinstance(response, RawResponse) else await response(receive, send)

    async def _with_sources(
        self, head: RequestHead, caller: Caller, spellings: Sequence[str], receive: Receive, send: Send
    ) -> RawResponse:
        """Return the list, or one model, with the source of each fact. Raises ModelNotFound and BadRequest."""
        view = await view_of(self._store, caller.policy)
        model = await _find(view, spellings)
        if model is None:
            body = await self._sources.list(view, caller.policy, _part_of(OPENAI_LISTS, head, caller))
        else:
            body = await self._sources.model(model, caller.policy)
        length = (b"content-length", b"%d" % len(body))
        return RawResponse(200, [JSON, length, *view.status.headers, *self._per_request(head, view.status)], body)

    def _look_up(self, lists: ListFormat, head: RequestHead, caller: Caller) -> Handler:
        """Return a handler that returns one model, whose id is in the body. Raises BadRequest and ModelNotFound."""

        async def respond(receive: Receive, send: Send) -> RawResponse:
            spellings = (model_in(await read_body(receive, _MAX_LOOK_UP)),)
            head.has_body = False  # it was read
            view = await view_of(self._store, caller.policy)
            model = await _find(view, spellings)
            return self._model(head, view, model or view.model(spellings[0]), lists)

        return respond

    # -- responses -----------------------------------------------------------------------------------------------------

    def _unchanged(self, head: RequestHead, caller: Caller, packed: bool) -> RawResponse | None:
        """Return a 304 for a list that is not in memory, None if the client needs the list."""
        status = self._store.cached_status(caller.policy) if head.if_none_match else None
        if status is None or status.is_empty:
            return None
        etag = status.etags[packed]
        return self._not_modified(head, status, etag) if matches(head.if_none_match, etag) else None

    def _respond(self, head: RequestHead, view: View, ready: ReadyList) -> RawResponse:
        etag, headers, body, rest = ready
        if head.if_none_match and matches(head.if_none_match, etag):
            return self._not_modified(head, view.status, etag)
        return RawResponse(200, [*headers, *self._per_request(head, view.status)], body, rest)

    def _not_modified(self, head: RequestHead, status: Status, etag: bytes) -> RawResponse:
        return RawResponse(304, [(b"etag", etag), *status.headers, *self._per_request(head, status)], b"")

    def _model(self, head: RequestHead, view: View, model: Model, lists: ListFormat) -> RawResponse:
        """Raises ModelNotFound for a model that the format does not list."""
        if lists is OPENAI_LISTS:
            body = view.rendered.object(model)
        else:
            if lists.api and not is_listed(model, self._callable_by_api[lists.api]):
                raise ModelNotFound(model.id)
            body = lists.item(model)
        length = (b"content-length", b"%d" % len(body))
        headers = [JSON, length, *view.status.headers, *retirement_headers(model.offers[0].entry)]
        return RawResponse(200, [*headers, *self._per_request(head, view.status)], body)

    def _per_request(self, head: RequestHead, status: Status) -> Sequence[Header]:
        """Return the headers that differ between requests. Lists with only declared models have no `Age`."""
        headers = [*head.connection_close, (b"x-request-id", head.request_id)]
        if status.oldest is not None:
            headers.append((b"age", b"%d" % max(0.0, self._clock.monotonic() - status.oldest)))
        return headers


def _part_of(lists: ListFormat, head: RequestHead, caller: Caller) -> Hashable:
    """Return the part of a list that a query selects; None for OpenAI's whole list. Raises BadRequest."""
    part = lists.query(head.query)
    return part.without_provider() if isinstance(part, Filters) and not caller.admin else part


def _fixed(body: bytes, head: RequestHead, caller: Caller) -> RawResponse:
    return json_response(head, body, PRIVATE)


async def view_of(store: Store, policy: Policy) -> View:
    """Return the view of a policy; render it if necessary. Raises ModelListUnavailable."""
    view = store.cached_view(policy)
    if view is not None and view.catalog.models:
        return view
    await store.wait_until_warmed_up()
    await store.prepare(policy)
    view = store.view(policy)
    if not view.catalog.models and not store.has_any_list:
        seconds = whole_seconds(store.seconds_to_next_attempt())
        raise ModelListUnavailable(
            "No model list is available: none has been fetched since the start, or all have expired; "
            f"retry after {seconds} s.",
            retry_after=seconds,
        )
    return view


async def _find(view: View, spellings: Sequence[str]) -> Model | None:
    """Return the requested model, or None for the whole list. Raises ModelNotFound."""
    model = _listed(view, spellings)
    if model is None and all(spellings):
        await view.prepare(spellings)
        return _resolved(view, spellings)
    return model


def _listed(view: View, spellings: Sequence[str]) -> Model | None:
    return next((model for spelling in spellings if (model := view.catalog.find(spelling))), None)


def _resolved(view: View, spellings: Sequence[str]) -> Model:
    """Raises ModelNotFound."""
    models = (model for spelling in spellings if (model := view.find(spelling)))
    return next(models, None) or view.model(spellings[-1])
