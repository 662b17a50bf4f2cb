"""`GET /v1/models` and `GET /v1/models/{id}`, from the caller's view.

This is the hot path: a rendered list is returned synchronously, without a coroutine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes

from proxy.access import Caller, Policy
from proxy.api.negotiation import accepts_gzip, matches
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.catalog import Model
from proxy.clock import Clock
from proxy.errors import ModelListUnavailable, ModelNotFound, whole_seconds
from proxy.store import Status, Store, View
from proxy.wire import JSON

LISTS = ("/v1/models", "/models")
"""Paths of the list; `{path}/{id}` is a single model."""
_ALIAS = "models"
_WHOLE_LIST = ("",)


class Models:
    """Returns the list and single models from the caller's view."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def routes(self) -> Iterator[Route]:
        for path in LISTS:
            yield Route(path, READ, self.list, is_api=True)
            yield Route(path + "/{id...}", READ, self.retrieve, is_api=True)

    def list(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return the list if it is rendered (and compressed, if the client accepts gzip), otherwise a handler."""
        view = self._store.cached_view(caller.policy)
        packed = accepts_gzip(head.accept_encoding)
        if view is not None and view.catalog.models and not (packed and view.rendered.gzip is None):
            return self._list(head, view, packed)
        return self._unchanged(head, caller, packed) or self._when_rendered(head, caller, _WHOLE_LIST)

    def retrieve(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return one model by its id. Raises ModelNotFound."""
        spellings = _spellings(head)
        view = self._store.cached_view(caller.policy)
        if view is None or not view.catalog.models:
            return self._when_rendered(head, caller, spellings)
        if model := _listed(view, spellings):
            return self._model(head, view, model)
        if not all(spellings):
            return self.list(head, caller)
        if not view.is_prepared:
            return self._when_rendered(head, caller, spellings)
        return self._model(head, view, _resolved(view, spellings))

    def _when_rendered(self, head: RequestHead, caller: Caller, spellings: Sequence[str]) -> Handler:
        async def respond(receive: Receive, send: Send) -> RawResponse:
            view = await view_of(self._store, caller.policy)
            model = await _find(view, spellings)
            if model is not None:
                return self._model(head, view, model)
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

    def _model(self, head: RequestHead, view: View, model: Model) -> RawResponse:
        body = view.rendered.object(model)
        length = (b"content-length", b"%d" % len(body))
        return RawResponse(200, [JSON, length, *view.status.headers, *self._per_request(head, view.status)], body)

    def _per_request(self, head: RequestHead, status: Status) -> Sequence[Header]:
        """Return the headers that differ between requests. Lists with only declared models have no `Age`."""
        headers = [*head.connection_close, (b"x-request-id", head.request_id)]
        if status.oldest is not None:
            headers.append((b"age", b"%d" % max(0.0, self._clock.monotonic() - status.oldest)))
        return headers


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


def _spellings(head: RequestHead) -> Sequence[str]:
    """Return the ids that a path may mean, in order of precedence; "" is the whole list.

    A client whose `base_url` ends in `/models` (as in the ctyun documentation) requests `/v1/models/models` and
    `/v1/models/models/{id}`, others add slashes (`/v1/models//{id}`); a model with such an id takes precedence. Ids are
    percent-decoded exactly once: they can contain slashes, colons, spaces and `%`.
    """
    try:
        ids = [unquote_to_bytes(raw_id).decode() for raw_id in _raw_ids(head.raw_path)]
    except UnicodeDecodeError:
        ids = []
    if not ids:  # no model matches an id that is not UTF-8, or a path whose prefix is percent-encoded
        raise ModelNotFound(head.path.partition("models/")[2])
    return [spelling for model_id in ids for spelling in _with_and_without_alias(model_id)]


def _raw_ids(raw_path: bytes) -> Sequence[bytes]:
    """Return the percent-encoded id in a path; also without superfluous slashes, if it has any."""
    for path in LISTS:
        prefix = path.encode() + b"/"
        if raw_path.startswith(prefix):
            raw_id = raw_path[len(prefix) :]
            has_superfluous = b"//" in b"/%b/" % raw_id
            return (raw_id, b"/".join(filter(None, raw_id.split(b"/")))) if has_superfluous else (raw_id,)
    return ()


def _with_and_without_alias(model_id: str) -> Sequence[str]:
    if model_id == _ALIAS or model_id.startswith(_ALIAS + "/"):
        return model_id, model_id.removeprefix(_ALIAS).removeprefix("/")
    return (model_id,)
