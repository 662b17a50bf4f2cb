"""Lists of models and single models, in all formats, from the caller's view: `GET /v1/models` and others.

This is the hot path: a rendered list is returned synchronously, without a coroutine.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache, partial

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
from proxy.store.formats import Page, is_listed
from proxy.wire import FORMATS, JSON, OPENAI_LISTS, lists_of
from proxy.wire.filters import Filters
from proxy.wire.format import LIST_PATHS
from proxy.wire.lists import ListFormat

_WHOLE_LIST = ("",)
_MAX_LOOK_UP = 64 * 1024
"""Bytes of a body with the id of a model."""


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
            is_shared = lists is OPENAI_LISTS
            list_, retrieve = partial(self._list_in, lists), partial(self._retrieve_in, lists)
            for path in lists.paths:
                yield Route(path, READ, self.list if is_shared else list_, is_api=True, is_list=True)
                if lists.has_items:
                    endpoint = self.retrieve if is_shared else retrieve
                    yield Route(path + "/{id...}", READ, endpoint, is_api=True, is_list=True)
            for path, body in lists.fixed.items():
                yield Route(path, READ, partial(_fixed, body), is_api=True)
            if lists.look_up:
                yield Route(lists.look_up, ("POST",), partial(self._look_up, lists), is_api=True, is_list=True)

    def list(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return the list if it is rendered (and compressed, if the client accepts gzip), otherwise a handler.

        In the format that a header or a parameter selects. Raises BadRequest.
        """
        if head.list_headers or head.query:
            lists, query = _selected(head.path, head.list_headers, head.query, caller.admin)
            if lists is not OPENAI_LISTS:
                return self._part(lists, query, head, caller)
            if self._sources.are_requested(head, caller):
                return partial(self._with_sources, head, caller, _WHOLE_LIST)
            if query:
                return self._part(lists, query, head, caller)
        view = self._store.cached_view(caller.policy)
        packed = accepts_gzip(head.accept_encoding)
        if view is not None and view.catalog.models and not (packed and view.rendered.gzip is None):
            return self._list(head, view, packed)
        return self._unchanged(head, caller, packed) or self._when_rendered(head, caller, _WHOLE_LIST)

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
            return self._when_rendered(head, caller, spellings, lists)
        if model := _listed(view, spellings):
            return self._model(head, view, model, lists)
        if not all(spellings):
            return self.list(head, caller) if lists is OPENAI_LISTS else self._list_in(lists, head, caller)
        if not view.is_prepared:
            return self._when_rendered(head, caller, spellings, lists)
        return self._model(head, view, _resolved(view, spellings), lists)

    async def _with_sources(
        self, head: RequestHead, caller: Caller, spellings: Sequence[str], receive: Receive, send: Send
    ) -> RawResponse:
        """Return the list, or one model, with the source of each fact. Raises ModelNotFound and BadRequest."""
        view = await view_of(self._store, caller.policy)
        model = await _find(view, spellings)
        if model is None:
            body = await self._sources.list(view, caller.policy, _query_of(OPENAI_LISTS, head, caller))
        else:
            body = await self._sources.model(model, caller.policy)
        length = (b"content-length", b"%d" % len(body))
        return RawResponse(200, [JSON, length, *view.status.headers, *self._per_request(head, view.status)], body)

    # -- other formats -------------------------------------------------------------------------------------------------

    def _list_in(self, lists: ListFormat, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return a list in another format than OpenAI's, in the same way. Raises BadRequest."""
        return self._part(lists, _query_of(lists, head, caller), head, caller)

    def _part(self, lists: ListFormat, query: Hashable, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return the part of a list that a query selects, if it is rendered, otherwise a handler."""
        view = self._store.cached_view(caller.policy)
        page = view.rendered.formats.cached(lists, query) if view and view.catalog.models else None
        packed = accepts_gzip(head.accept_encoding)
        if view is None or page is None or (packed and page.gzip is None):
            return partial(self._render_page, lists, query, head, caller.policy)
        return self._page(head, view, page, packed)

    async def _render_page(
        self, lists: ListFormat, query: Hashable, head: RequestHead, policy: Policy, receive: Receive, send: Send
    ) -> RawResponse:
        view = await view_of(self._store, policy)
        page = await view.rendered.formats.page(lists, query, self._callable_by_api.get(lists.api, frozenset()))
        packed = accepts_gzip(head.accept_encoding)
        if packed:
            await page.compressed()
        return self._page(head, view, page, packed)

    def _page(self, head: RequestHead, view: View, page: Page, packed: bool) -> RawResponse:
        status = view.status
        etag = page.etags[packed]
        if head.if_none_match and matches(head.if_none_match, etag):
            return self._not_modified(head, status, etag)
        headers = [*page.headers(status.headers, packed), *self._per_request(head, status)]
        if packed:
            assert page.gzip is not None, "the page must be compressed first"
            return RawResponse(200, headers, page.gzip)
        return RawResponse(200, headers, page.body)

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

    def _when_rendered(
        self, head: RequestHead, caller: Caller, spellings: Sequence[str], lists: ListFormat = OPENAI_LISTS
    ) -> Handler:
        async def respond(receive: Receive, send: Send) -> RawResponse:
            view = await view_of(self._store, caller.policy)
            model = await _find(view, spellings)
            if model is not None:
                return self._model(head, view, model, lists)
            query = _query_of(lists, head, caller)
            if lists is not OPENAI_LISTS or query:
                return await self._render_page(lists, query, head, caller.policy, receive, send)
            packed = accepts_gzip(head.accept_encoding)
            if packed:
                await view.rendered.compressed()
            return self._list(head, view, packed)

        return respond

    def _unchanged(self, head: RequestHead, caller: Caller, packed: bool) -> RawResponse | None:
        """Return a 304 for a list that is not in memory, None if the client needs the list."""
        status = self._store.cached_status(caller.policy) if head.if_none_match else None
        if status is None or status.is_empty:
            return None
        etag = status.etags["gzip" if packed else "identity"]
        return self._not_modified(head, status, etag) if matches(head.if_none_match, etag) else None

    def _list(self, head: RequestHead, view: View, packed: bool) -> RawResponse:
        status = view.status
        etag = status.etags["gzip" if packed else "identity"]
        if head.if_none_match and matches(head.if_none_match, etag):
            return self._not_modified(head, status, etag)
        if packed:
            assert view.rendered.gzip is not None, "the list must be compressed first"
            return RawResponse(200, [*view.gzip_headers, *self._per_request(head, status)], view.rendered.gzip)
        headers = [*view.identity_headers, *self._per_request(head, status)]
        return RawResponse(200, headers, view.rendered.body, view.rendered.entries)

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


@lru_cache(maxsize=256)
def _selected(path: str, list_headers: tuple[bytes, ...], query: bytes, is_admin: bool) -> tuple[ListFormat, Hashable]:
    """Return the format of a list at a path that several formats share, and what `_part_of` returns for it.

    Raises BadRequest. Cached: clients repeat few requests.
    """
    lists = lists_of(path, list_headers, query)
    return lists, _part_of(lists, query, is_admin)


def _query_of(lists: ListFormat, head: RequestHead, caller: Caller) -> Hashable:
    return _part_of(lists, head.query, caller.admin)


@lru_cache(maxsize=256)
def _part_of(lists: ListFormat, query: bytes, is_admin: bool) -> Hashable:
    """Return the part of a list that a query selects; None for OpenAI's whole list. Raises BadRequest."""
    part = lists.query(query)
    return part.without_provider() if isinstance(part, Filters) and not is_admin else part


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
