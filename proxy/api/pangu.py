"""`GET /v1/workspaces/{workspace_id}/models/{model_id}/versions`: the Pangu contract, over all Pangu providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

from proxy.access import Caller, Policy
from proxy.access.keys import PRIVATE
from proxy.api.http import json_response
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.catalog import Offer
from proxy.config import Provider
from proxy.errors import BadRequest, Forbidden, UpstreamTimeout, VersionsNotFound
from proxy.store import Store
from proxy.wire.pangu import versions_page

DEFAULT_LIMIT, MAX_LIMIT = 10, 100


@dataclass(frozen=True)
class Query:
    """The query parameters of the Pangu contract."""

    offset: int = 0
    limit: int = DEFAULT_LIMIT
    version_id: str = ""
    name: str = ""


class Versions:
    """Returns the versions in the caller's view: those that `Catalog.find` finds."""

    def __init__(self, store: Store, providers: Sequence[Provider]) -> None:
        self._store = store
        self._providers = [provider for provider in providers if provider.dialect.raw]

    def routes(self) -> list[Route]:
        path = "/workspaces/{workspace_id}/models/{model_id}/versions"
        return [Route(base + path, READ, self.list, is_api=True, is_list=True) for base in ("/v1", "")]

    def list(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Return one page of versions. Raises ApiError."""
        query = parsed(dict(parse_qsl(head.query.decode("latin-1"), keep_blank_values=True)))
        if self._store.warmed_up:
            return self._page(head, caller.policy, query)

        async def respond(receive: Receive, send: Send) -> RawResponse:
            await self._store.wait_until_warmed_up()
            return self._page(head, caller.policy, query)

        return respond

    def _page(self, head: RequestHead, policy: Policy, query: Query) -> RawResponse:
        offers = self._offers(policy, head.path_params["workspace_id"], head.path_params["model_id"])
        chosen = [offer.entry.raw for offer in offers if _is_wanted(offer, query)]
        page = chosen[query.offset : query.offset + query.limit]
        return json_response(head, versions_page(len(chosen), page), PRIVATE)

    def _offers(self, policy: Policy, workspace_id: str, model_id: str) -> Sequence[Offer]:
        usable = [provider for provider in self._providers if self._may_use(policy, provider)]
        if not usable:
            raise Forbidden("This API key has no access to any Pangu provider.")
        requested = [
            p for p in usable if p.settings["workspace_id"] == workspace_id and model_id in p.settings["model_ids"]
        ]
        seen = [offer for p in requested for offer in self._visible(policy, p) if offer.entry.parent == model_id]
        # The same 408 for every id: while a list is missing, a 404 would reveal which ids are configured.
        if not seen and not all(self._store.has_list(provider.name) for provider in usable):
            raise UpstreamTimeout("Timed out: a provider has not returned its model list yet; retry later.")
        if not seen:
            raise VersionsNotFound
        return seen

    def _may_use(self, policy: Policy, provider: Provider) -> bool:
        """Return whether a policy allows a version of the provider; without a list, whether its rules can allow one."""
        if self._listed(provider):
            return bool(self._visible(policy, provider))
        return policy.may_allow(provider.name)

    def _visible(self, policy: Policy, provider: Provider) -> Sequence[Offer]:
        """Return the provider's versions in the caller's view, in the provider's order, without duplicates."""
        find = self._store.view(policy).catalog.find
        seen = [offer for offer in self._listed(provider) if (m := find(offer.id)) and offer in m.offers]
        return list({(offer.entry.parent, offer.entry.id): offer for offer in reversed(seen)}.values())[::-1]

    def _listed(self, provider: Provider) -> Sequence[Offer]:
        """Return the versions that the provider sent; models declared in the configuration are not versions."""
        return [offer for offer in self._store.offers(provider.name) if offer.entry.raw]


def parsed(params: Mapping[str, str]) -> Query:
    """Return the validated query parameters. Unknown parameters are ignored. Raises BadRequest."""
    return Query(
        offset=_integer(params, "offset", 0, 0, None),
        limit=_integer(params, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT),
        version_id=params.get("version_id", ""),
        name=params.get("name", ""),
    )


def _integer(params: Mapping[str, str], name: str, default: int, least: int, most: int | None) -> int:
    text = params.get(name)
    if text is None:
        return default
    if (
        len(text) <= 18
        and text.isascii()
        and text.isdecimal()
        and least <= int(text)
        and (most is None or int(text) <= most)
    ):
        return int(text)
    range_ = f"from {least} to {most}" if most is not None else f"of at least {least}"
    raise BadRequest(f"{name} must be an integer {range_}.", param=name)


def _is_wanted(offer: Offer, query: Query) -> bool:
    if query.version_id and offer.entry.id != query.version_id:
        return False
    if not query.name:
        return True
    name = msgspec.json.decode(offer.entry.raw).get("name")
    return isinstance(name, str) and query.name.casefold() in name.casefold()
