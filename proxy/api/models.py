"""`GET /v1/models` and `GET /v1/models/{id}`, from the caller's view.

The hot path: what is rendered already is returned at once, without a coroutine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes

from proxy.access import Caller, Policy
from proxy.api.negotiation import accepts_gzip, matches
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.catalog import Catalog, Model
from proxy.clock import Clock
from proxy.errors import ModelNotFound, NothingKnown
from proxy.store import Store, View
from proxy.wire import JSON

LISTS = ("/v1/models", "/models")
"""Paths of the list; below each of them are the models by their ids."""
_ALIAS = "models"


class Models:
    """Responds with the list and with single models from the caller's view."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def routes(self) -> Iterator[Route]:
        for path in LISTS:
            yield Route(path, READ, self.list)
            yield Route(path + "/{id...}", READ, self.retrieve)

    def list(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """The list: at once where it is rendered and, if the client accepts gzip, compressed."""
        view = self._store.cached_view(caller.policy)
        packed = accepts_gzip(head.accept_encoding)
        if view is not None and view.catalog.models and not (packed and view.rendered.gzip is None):
            return self._list(head, view, packed)
        return self._when_rendered(head, caller, None)

    def retrieve(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """One model by its id. Raises ModelNotFound."""
        model_id = _requested_id(head)
        view = self._store.cached_view(caller.policy)
        if view is None or not view.catalog.models:
            return self._when_rendered(head, caller, model_id)
        model = _find(view.catalog, model_id)
        return self.list(head, caller) if model is None else self._model(head, view, model)

    def _when_rendered(self, head: RequestHead, caller: Caller, model_id: str | None) -> Handler:
        async def respond(receive: Receive, send: Send) -> RawResponse:
            view = await view_of(self._store, caller.policy)
            model = None if model_id is None else _find(view.catalog, model_id)
            if model is not None:
                return self._model(head, view, model)
            packed = accepts_gzip(head.accept_encoding)
            if packed:
                await view.rendered.compressed()
            return self._list(head, view, packed)

        return respond

    def _list(self, head: RequestHead, view: View, packed: bool) -> RawResponse:
        rendered = view.rendered
        if packed:
            assert rendered.gzip is not None, "called after `compressed`"
            body, etag, headers = rendered.gzip, rendered.etags["gzip"], view.gzip_headers
        else:
            body, etag, headers = rendered.identity, rendered.etags["identity"], view.identity_headers
        if head.if_none_match and matches(head.if_none_match, etag):
            return RawResponse(304, [(b"etag", etag), *view.headers, *self._per_request(head, view)], b"")
        return RawResponse(200, [*headers, *self._per_request(head, view)], body)

    def _model(self, head: RequestHead, view: View, model: Model) -> RawResponse:
        body = view.rendered.object(model)
        length = (b"content-length", b"%d" % len(body))
        return RawResponse(200, [JSON, length, *view.headers, *self._per_request(head, view)], body)

    def _per_request(self, head: RequestHead, view: View) -> Sequence[Header]:
        """Headers that differ between requests. Declared models have no age."""
        headers = [*head.connection_close, (b"x-request-id", head.request_id)]
        if view.oldest is not None:
            headers.append((b"age", b"%d" % max(0.0, self._clock.monotonic() - view.oldest)))
        return headers


async def view_of(store: Store, policy: Policy) -> View:
    """The view of a policy, rendered first if necessary. Raises NothingKnown."""
    view = store.cached_view(policy)
    if view is not None and view.catalog.models:
        return view
    await store.wait_until_warmed_up()
    await store.prepare(policy)
    view = store.view(policy)
    if not view.catalog.models and not store.knows_something:
        raise NothingKnown("No provider has answered yet; try again.", retry_after=store.seconds_to_next_attempt())
    return view


def _find(catalog: Catalog, model_id: str) -> Model | None:
    """The requested model, or None for the whole list. Raises ModelNotFound.

    A client whose `base_url` ends in `/models` (the ctyun sample) requests `/v1/models/models` and
    `/v1/models/models/{id}`; a model that really has such an id comes first.
    """
    if not model_id:
        return None
    model = catalog.find(model_id)
    if model is None and (model_id == _ALIAS or model_id.startswith(_ALIAS + "/")):
        model_id = model_id.removeprefix(_ALIAS).removeprefix("/")
        if not model_id:
            return None
        model = catalog.find(model_id)
    if model is None:
        raise ModelNotFound(model_id)
    return model


def _requested_id(head: RequestHead) -> str:
    """The id below the list's path, percent-decoded exactly once: ids contain slashes, colons, spaces, Chinese, `%`."""
    for path in LISTS:
        prefix = path.encode() + b"/"
        if head.raw_path.startswith(prefix):
            try:
                return unquote_to_bytes(head.raw_path[len(prefix) :]).decode()
            except UnicodeDecodeError:
                break
    # An id that is not UTF-8, or a path that itself is percent-encoded: no model has it.
    raise ModelNotFound(head.path.partition("models/")[2])
