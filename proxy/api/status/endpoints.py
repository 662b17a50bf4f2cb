"""`/status.json` and the pages below `/status`. For administrators.

What they need is imported at the first request: most servers never need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.admin_actions import audit
from proxy.api.explain import Explain
from proxy.api.health import Health
from proxy.api.http import json_response
from proxy.api.listed import Listed
from proxy.api.negotiation import matches
from proxy.api.query import parameters_of
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Endpoint, Route
from proxy.api.status.pages import html_response, redirect
from proxy.api.status.source import OfProcess, StatusSource
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.config import Config
from proxy.errors import ConfigurationRejected, ReloadDisabled
from proxy.store import Store
from proxy.wire.encoder import encode

if TYPE_CHECKING:
    from proxy.api.status.views import Views

JSON_PATH = "/status.json"
PATH = "/status"
ASSETS = ("style.css", "script.js", "icon.svg")
REFRESH_SECONDS = 10.0
"""How long a form waits for the end of a refresh. The refresh continues after that."""
_NO_STORE: Header = (b"cache-control", b"no-store")
_FOREVER: Header = (b"cache-control", b"public, max-age=31536000, immutable")


class StatusPage:
    """The endpoints."""

    def __init__(
        self, config: Config, store: Store, health: Health, listed: Listed, explain: Explain, process: OfProcess
    ) -> None:
        self._config = config
        self._store = store
        self._clock = process.clock
        self._source = StatusSource(config, store, health, listed, process)
        self._explain = explain
        self._operations = process.operations
        self._base = config.server.base_path.rstrip("/")
        self._views: Views | None = None

    def routes(self) -> Sequence[Route]:
        pages = {PATH: "overview", "/status/models": "models", "/status/models/{id...}": "model"}
        pages["/status/changes"] = "changes"
        return [
            Route(JSON_PATH, READ, self.json),
            *(Route(path, READ, self._page(name)) for path, name in pages.items()),
            Route("/status/refresh", ("POST",), self.refresh),
            Route("/status/reload", ("POST",), self.reload),
            *(Route(f"{PATH}/{name}", READ, partial(_asset, name), is_public=True) for name in ASSETS),
        ]

    async def packed(self) -> bytes:
        """What is happening in this process, for another one that serves the port."""
        return await self._source.packed()

    def json(self, head: RequestHead, caller: Caller) -> Handler:
        """Raises InvalidKey, Forbidden and BadRequest."""
        check_is_admin(caller, self._config)
        parameters_of(head, ())

        async def respond(receive: Receive, send: Send) -> RawResponse:
            return json_response(head, encode(await self._source.report()), [_NO_STORE])

        return respond

    def _page(self, name: str) -> Endpoint:
        """The endpoint of a page."""

        def page(head: RequestHead, caller: Caller) -> Handler:
            """Raises InvalidKey, Forbidden and BadRequest."""
            check_is_admin(caller, self._config)
            parameters = parameters_of(head, PARAMETERS[name])

            async def respond(receive: Receive, send: Send) -> RawResponse:
                status, body = await getattr(self._loaded(), name)(head, parameters)
                return html_response(head, body, status, [_NO_STORE])

            return respond

        return page

    def _loaded(self) -> Views:
        from proxy.api.status.views import Views

        if self._views is None:
            self._views = Views(self._config, self._store, self._clock, self._source, self._explain)
        return self._views

    # -- actions -------------------------------------------------------------------------------------------------------

    def refresh(self, head: RequestHead, caller: Caller) -> Handler:
        """Fetch the list of a provider now. The gate has checked the form."""
        check_is_admin(caller, self._config)
        form = head.scope.get("form", {})
        names = [provider.name for provider in self._config.providers if provider.name == form.get("provider")]

        async def respond(receive: Receive, send: Send) -> RawResponse:
            reports = await self._operations.refresh(names, REFRESH_SECONDS, accept=False)
            for report in reports:
                audit(caller, f"refresh of {report.name}", f"{report.name} is {report.state}")
            return self._back(head, "fetched", names[0] if names else "")

        return respond

    def reload(self, head: RequestHead, caller: Caller) -> Handler:
        """Apply the configuration as it is in its files. The gate has checked the form."""
        check_is_admin(caller, self._config)

        async def respond(receive: Receive, send: Send) -> RawResponse:
            try:
                result = await self._operations.reload()
            except (ConfigurationRejected, ReloadDisabled) as error:
                outcome = "rejected" if isinstance(error, ConfigurationRejected) else "disabled"
                audit(caller, "reload", outcome)
                return self._back(head, "reloaded", outcome)
            audit(caller, "reload", f"generation {result['generation']}")
            return self._back(head, "reloaded", "ok")

        return respond

    def _back(self, head: RequestHead, name: str, value: str) -> RawResponse:
        """Redirect to the page, which shows the result of an action."""
        from urllib.parse import urlencode

        return redirect(head, f"{self._base}{PATH}?{urlencode({name: value})}")


PARAMETERS = {
    "overview": ("fetched", "reloaded"),
    "models": ("q", "owner", "provider", "type", "capability", "as_key", "as_group", "page", "digest"),
    "model": ("as_key", "as_group"),
    "changes": ("day", "type", "provider"),
}
"""The parameters of each page."""


def _asset(name: str, head: RequestHead, caller: Caller) -> RawResponse:
    """A file without secrets. Its URL contains its digest as a parameter."""
    from proxy.api.status.assets import find

    asset = find(name)
    headers: list[Header] = [_FOREVER, (b"etag", asset.etag), (b"x-content-type-options", b"nosniff")]
    common = [(b"x-request-id", head.request_id), *head.connection_close]
    if head.if_none_match and matches(head.if_none_match, asset.etag):
        return RawResponse(304, [*headers, *common], b"")
    length = (b"content-length", b"%d" % len(asset.body))
    return RawResponse(200, [(b"content-type", asset.content_type), *headers, length, *common], asset.body)
