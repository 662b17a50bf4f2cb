"""`GET /v1/models` and `GET /v1/models/{id}`: called by the gate itself, since this is the hot path.

On the same server a starlette route took half again as long for each list.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.types import Scope, Send

from proxy.access import Caller, Policy
from proxy.api.http import RawResponse, RequestHead, accepts_gzip, matches
from proxy.asgi import Header
from proxy.catalog import Catalog, Model
from proxy.clock import Clock
from proxy.errors import MethodNotAllowed, ModelNotFound, NothingKnown
from proxy.store import Store, View
from proxy.wire import JSON

LISTS = ("/v1/models", "/models")
"""The list's paths; below each of them are the models by their ids."""
_ALIAS = "models"


class Models:
    """Answers the list and single models from the caller's view."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is one of ours."""
        return path in LISTS or path.startswith(("/v1/models/", "/models/"))

    async def __call__(self, scope: Scope, send: Send, head: RequestHead, caller: Caller) -> None:
        """What the gate has found out comes as `head` and `caller`. Raises ApiError."""
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(scope["method"], "GET, HEAD")
        view = self._store.cached_view(caller.policy)
        if view is None or not view.catalog.models:
            view = await view_of(self._store, caller.policy)
        model = None if scope["path"] in LISTS else _found(view.catalog, _wanted(scope))
        if model is not None:
            status, headers, body = self._of_model(head, view, model)
        else:
            packed = accepts_gzip(head.accept_encoding)
            if packed and view.made.gzip is None:
                await view.made.compressed()
            status, headers, body = self._of_list(head, view, packed)
        # Sent from here, and put together by plain functions: each coroutine in between costs as much as a look-up.
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def cached_response(self, head: RequestHead, caller: Caller) -> RawResponse | None:
        """The list, where it was made and packed before; None where something has to be waited for."""
        view = self._store.cached_view(caller.policy)
        if view is None or not view.catalog.models:
            return None
        packed = accepts_gzip(head.accept_encoding)
        return None if packed and view.made.gzip is None else self._of_list(head, view, packed)

    def _of_list(self, head: RequestHead, view: View, packed: bool) -> RawResponse:
        made = view.made
        if packed:
            assert made.gzip is not None, "asked for after `compressed`"
            body, etag, headers = made.gzip, made.etags["gzip"], view.gzip_headers
        else:
            body, etag, headers = made.identity, made.etags["identity"], view.identity_headers
        if head.if_none_match and matches(head.if_none_match, etag):
            return 304, [(b"etag", etag), *view.headers, *self._of_request(head, view)], b""
        return 200, [*headers, *self._of_request(head, view)], body

    def _of_model(self, head: RequestHead, view: View, model: Model) -> RawResponse:
        body = view.made.object(model)
        length = (b"content-length", b"%d" % len(body))
        return 200, [JSON, length, *view.headers, *self._of_request(head, view)], body

    def _of_request(self, head: RequestHead, view: View) -> list[Header]:
        """What differs from request to request; an age only where something was asked for, and not all declared."""
        headers = [*head.connection_close, (b"x-request-id", head.request_id)]
        if view.oldest is not None:
            headers.append((b"age", b"%d" % max(0.0, self._clock.monotonic() - view.oldest)))
        return headers


async def view_of(store: Store, policy: Policy) -> View:
    """What a policy's holder sees, also where none is kept. Raises NothingKnown."""
    view = store.cached_view(policy)
    if view is not None and view.catalog.models:
        return view
    await store.wait_until_warmed_up()
    await store.prepare(policy)
    view = store.view(policy)
    if not view.catalog.models and not store.knows_something:
        raise NothingKnown("No provider has answered yet; try again.", retry_after=store.seconds_to_next_attempt())
    return view


def _found(catalog: Catalog, wanted: str) -> Model | None:
    """The model that a path asks for, or None for the whole list. Raises ModelNotFound.

    A client whose `base_url` ends in `/models` (the ctyun sample) asks for `/v1/models/models` and
    `/v1/models/models/{id}`; a model that is really called so comes first.
    """
    if not wanted:
        return None
    model = catalog.find(wanted)
    if model is None and (wanted == _ALIAS or wanted.startswith(_ALIAS + "/")):
        wanted = wanted.removeprefix(_ALIAS).removeprefix("/")
        if not wanted:
            return None
        model = catalog.find(wanted)
    if model is None:
        raise ModelNotFound(wanted)
    return model


def _wanted(scope: Scope) -> str:
    """The id below the list's path, percent-decoded exactly once: ids hold slashes, colons, spaces, Chinese, `%`."""
    raw: bytes = scope["raw_path"]
    for path in LISTS:
        prefix = path.encode() + b"/"
        if raw.startswith(prefix):
            try:
                return unquote_to_bytes(raw[len(prefix) :]).decode()
            except UnicodeDecodeError:
                break
    # An id that is no UTF-8, or a path that itself is percent-encoded: no model has it.
    raise ModelNotFound(scope["path"].partition("models/")[2])
