"""`GET /v1/models` and `GET /v1/models/{id}`: called by the gate itself, since this is the hot path.

On the same server a starlette route took half again as long for each list.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.types import Scope, Send

from proxy.access import Caller
from proxy.api.http import Head, accepts_gzip, matches, send_answer
from proxy.catalog import Catalog, Model
from proxy.clock import Clock
from proxy.errors import MethodNotAllowed, ModelNotFound, NothingKnown
from proxy.store import Store
from proxy.view import View
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

    async def __call__(self, scope: Scope, send: Send, head: Head, caller: Caller) -> None:
        """What the gate has found out comes as `head` and `caller`. Raises ApiError."""
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(scope["method"], "GET, HEAD")
        view = self._store.kept_view(caller.policy)
        if view is None or not view.catalog.models:
            view = await self._view(caller)
        model = None if scope["path"] in LISTS else _found(view.catalog, _wanted(scope))
        if model is None:
            await self._send_list(scope, send, head, view)
        else:
            await self._send_model(scope, send, head, view, model)

    async def _view(self, caller: Caller) -> View:
        """The view of a caller for whom none is kept. Raises NothingKnown."""
        store = self._store
        await store.wait_until_settled()
        await store.prepare(caller.policy)
        view = store.view(caller.policy)
        if not view.catalog.models and not store.knows_something:
            raise NothingKnown("No provider has answered yet; try again.", retry_after=store.seconds_to_next_try())
        return view

    async def _send_list(self, scope: Scope, send: Send, head: Head, view: View) -> None:
        made = view.made
        if accepts_gzip(head.accept_encoding):
            body, etag = made.gzip or await made.compressed(), made.etags["gzip"]
            headers = view.gzip_headers
        else:
            body, etag = made.identity, made.etags["identity"]
            headers = view.identity_headers
        own = [*head.parting, (b"x-request-id", head.request_id), *self._age(view)]
        if matches(head.if_none_match, etag):
            await send_answer(send, 304, [(b"etag", etag), *view.headers, *own], b"")
        else:
            await send_answer(send, 200, [*headers, *own], b"" if scope["method"] == "HEAD" else body)

    async def _send_model(self, scope: Scope, send: Send, head: Head, view: View, model: Model) -> None:
        body = view.made.object(model)
        headers = [
            JSON,
            *view.headers,
            *head.parting,
            *self._age(view),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", head.request_id),
        ]
        await send_answer(send, 200, headers, b"" if scope["method"] == "HEAD" else body)

    def _age(self, view: View) -> list[tuple[bytes, bytes]]:
        """Seconds since the oldest answer that is shown; nothing where all is declared in the configuration."""
        if view.oldest is None:
            return []
        return [(b"age", b"%d" % max(0.0, self._clock.monotonic() - view.oldest))]


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
