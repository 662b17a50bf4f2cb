"""The pages of the status page: their values and templates."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from proxy import __version__
from proxy.access import Policy
from proxy.api.explain import Explain, explained
from proxy.api.request import RequestHead
from proxy.api.status import history
from proxy.api.status.audience import MAX_NAMED, audience, by_group
from proxy.api.status.catalog import Browser
from proxy.api.status.overview import notice, overview
from proxy.api.status.pages import render
from proxy.api.status.presentation import model_link
from proxy.api.status.report import report as report_of
from proxy.api.status.source import StatusSource
from proxy.catalog.virtual import catalog_of
from proxy.clock import Clock
from proxy.config import Config
from proxy.config.identities import GROUP
from proxy.config.timezones import zone_of
from proxy.cooperative import run_yielding
from proxy.store import Store

Page = tuple[int, bytes]
"""Status and body."""
_MAX_EXPLAINED = 20_000
"""Characters of an id."""


class Views:
    """The pages of one deployment."""

    def __init__(self, config: Config, store: Store, clock: Clock, source: StatusSource, explain: Explain) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._source = source
        self._explain = explain
        self._browser = Browser(config, store)
        self._turn = asyncio.Lock()
        """Pages of the catalog are computed one at a time: model lists wait for one step of one page at most."""

    async def overview(self, head: RequestHead, parameters: Mapping[str, str]) -> Page:
        facts = await self._source.facts()
        values = await run_yielding(overview(await run_yielding(report_of(facts)), facts.attention.issues))
        note = notice(values, parameters.get("fetched", ""), parameters.get("reloaded", ""))
        return 200, await self._render("overview", head, **values, notice=note)

    async def models(self, head: RequestHead, parameters: Mapping[str, str]) -> Page:
        """The catalog; with `digest`, the page of the model whose id cannot be in a path."""
        await self._store.wait_until_warmed_up()
        if digest := parameters.get("digest"):
            async with self._turn:
                model = await run_yielding(self._browser.find(digest))
            return await self._model(head, model, parameters)
        rules = self._browser.rules(parameters)
        calls = await self._source.calls()
        async with self._turn:
            choices = await run_yielding(self._browser.choices())
            found = await run_yielding(self._browser.page(rules or (), parameters, calls))
            hidden = [] if rules is None else await run_yielding(self._browser.hidden(rules, parameters))
        values = {
            "choices": choices,
            "found": found,
            "hidden": hidden,
            "given": parameters,
            "is_known": rules is not None,
            "query": urlencode({name: value for name, value in parameters.items() if name != "page" and value}),
            "view": urlencode({name: parameters[name] for name in ("as_key", "as_group") if parameters.get(name)}),
        }
        return 200 if rules is not None else 404, await self._render("models", head, **values)

    async def model(self, head: RequestHead, parameters: Mapping[str, str]) -> Page:
        await self._store.wait_until_warmed_up()
        return await self._model(head, head.path_params["id"], parameters)

    async def _model(self, head: RequestHead, model: str | None, parameters: Mapping[str, str]) -> Page:
        holder = _holder(parameters)
        explanation = offers = None
        if model and len(model) <= _MAX_EXPLAINED:
            context = await self._explain.context()
            offers = await run_yielding(context.offers_of(model))
            listed = await run_yielding(catalog_of(offers, Policy.of(("*",)), self._config))
            # Searching for similar ids takes long with long ones.
            if listed.find(model) or len(model) <= 1000:
                explanation = await explained(context, model, holder)
        if not model or explanation is None:
            return 404, await self._render("model_missing", head, model=model or "", holder=holder)
        seen = await run_yielding(audience(model, offers or (), self._config, self._clock.time()))
        values = {
            "model": model,
            "explanation": explanation,
            "audience": seen,
            "keys_by_group": by_group(seen),
            "max_named": MAX_NAMED,
            "holder": holder,
            "link": model_link(model),
        }
        status = 404 if explanation.verdict == "unknown" else 200
        return status, await self._render("model", head, **values)

    async def changes(self, head: RequestHead, parameters: Mapping[str, str]) -> Page:
        zone = zone_of(self._config.server.timezone)
        now = self._clock.time()
        found = await run_yielding(history.history(self._source.feed, parameters, now, zone))
        return 200, await self._render("changes", head, found=found, given=parameters, title_of=history.title)

    async def _render(self, page: str, head: RequestHead, **values: Any) -> bytes:
        """`page`: the name of a template."""
        frame = {
            "base": self._config.server.base_path.rstrip("/"),
            "page": page,
            "csrf": head.scope.get("csrf_token", ""),
            "key_names": {key.name for key in self._config.keys},
            "is_logged_in": head.scope.get("session") is not None,
            "proxy_version": __version__,
            "now": self._clock.time(),
            "zone": zone_of(self._config.server.timezone),
            "timezone": self._config.server.timezone,
            "generation_in_use": self._config.generation,
        }
        return await render(f"{page}.html", **frame, **values)


def _holder(parameters: Mapping[str, str]) -> str | None:
    """The name of the key, or the group, whose access is explained."""
    if group := parameters.get("as_group"):
        return GROUP + group
    return parameters.get("as_key") or None
