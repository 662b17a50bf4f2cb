"""`GET /admin/catalog`: all models, and the models that each key can access, for `check --against`. For admin keys."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import parse_qsl

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.http import json_response
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.catalog import Offer
from proxy.config import Config
from proxy.errors import BadRequest
from proxy.store import Store
from proxy.wire.encoder import encode

PATH = "/admin/catalog"
_MAX_PARAMETERS = 10
_USAGE = "Send no parameters, or `key_name` and `without`, like /admin/catalog?key_name=alice&without=openai,lab."
_NO_STORE = (b"cache-control", b"no-store")


class CatalogOverview:
    """The endpoint."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def routes(self) -> list[Route]:
        return [Route(PATH, READ, self.catalog)]

    def catalog(self, head: RequestHead, caller: Caller) -> Handler:
        """Return a handler of the overview, or of the models of one key. Raises InvalidKey, Forbidden, BadRequest."""
        check_is_admin(caller, self._config)
        key, without = _parameters(head.query)

        async def respond(receive: Receive, send: Send) -> RawResponse:
            await self._store.wait_until_warmed_up()
            # In a thread, because it takes seconds with thousands of keys.
            body = await asyncio.to_thread(self._overview, key, without, *self._lists())
            if body is None:
                # The message does not repeat the value, which may be a key itself.
                raise BadRequest("No key in the configuration has the name in `key_name`.", param="key_name")
            return json_response(head, body, [_NO_STORE])

        return respond

    def _lists(self) -> tuple[Mapping[str, Sequence[Offer]], Mapping[str, str]]:
        reports = self._store.reports()
        offers = {report.name: self._store.offers(report.name) for report in reports}
        return offers, {report.name: report.state for report in reports}

    def _overview(
        self,
        key: str | None,
        without: Collection[str],
        offers: Mapping[str, Sequence[Offer]],
        states: Mapping[str, str],
    ) -> bytes | None:
        """Return the body, None without such a key. Imported at the first request: most proxies never need it."""
        from proxy.store.overview import Lists, Views

        views = Views(self._config, Lists(offers, states), without)
        if key is None:
            return encode(views.overview())
        models = views.models_of(key or None)
        return None if models is None else encode(models)


def _parameters(query: bytes) -> tuple[str | None, Collection[str]]:
    """Return the name of a key ("" for requests without one, None if it is not given), and the providers to leave out.

    Not in a parameter `key`: queries with it are rejected, because it may be an API key. Raises BadRequest.
    """
    try:
        given = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        raise BadRequest(_USAGE) from None
    if given.keys() - {"key_name", "without"}:
        raise BadRequest(_USAGE)
    return given.get("key_name"), frozenset(filter(None, given.get("without", "").split(",")))
