"""`GET /admin/explain`: why a model is listed, hidden or called. For admin keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.http import json_response
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.clock import Clock
from proxy.config import Config
from proxy.cooperative import run_yielding
from proxy.errors import BadRequest
from proxy.limits.limiter import Limiter, Status
from proxy.states import Calls
from proxy.store import Report, Store
from proxy.wire.encoder import encode

if TYPE_CHECKING:
    from proxy.explain.context import Context
    from proxy.explain.values import Explanation
    from proxy.inference.failover import Forwarder

PATH = "/admin/explain"
MAX_NAME = 1000
"""Characters of a model."""
_MAX_PARAMETERS = 10
_USAGE = "Send the parameters `model` and optionally `key_name`, like /admin/explain?model=gpt-4o&key_name=alice."
_OPEN_ELSEWHERE = "The provider of this model is unavailable in another worker (circuit breaker open)."
_NO_STORE = (b"cache-control", b"no-store")


class Explain:
    """Explains models with the current lists and the state of calls."""

    def __init__(
        self,
        config: Config,
        store: Store,
        clock: Clock,
        forwarder: Callable[[], Forwarder | None],
        calls: Callable[[], Awaitable[Mapping[str, Calls]]],
        limiter: Limiter,
    ) -> None:
        """`forwarder` returns None before the first call; `calls` the calls of each provider, in all processes."""
        self._config = config
        self._store = store
        self._clock = clock
        self._forwarder = forwarder
        self._calls = calls
        self._limiter = limiter

    def routes(self) -> list[Route]:
        return [Route(PATH, READ, self.explain)]

    def explain(self, head: RequestHead, caller: Caller) -> Handler:
        """Return a handler of the explanation. Raises InvalidKey, Forbidden and BadRequest."""
        check_is_admin(caller, self._config)
        model, key = _parameters(head.query)

        async def respond(receive: Receive, send: Send) -> RawResponse:
            await self._store.wait_until_warmed_up()
            explanation = await explained(await self.context(key), model, key)
            if explanation is None:
                # The message does not repeat the value, which may be a key itself.
                raise BadRequest("No key in the configuration has the name in `key_name`.", param="key_name")
            return json_response(head, encode(explanation), [_NO_STORE])

        return respond

    async def context(self, key: str | None = None) -> Context:
        """The current data for explanations. `key`: the key whose limits are shown, as in `Explanation.key`."""
        await asyncio.to_thread(_load)  # imported at the first request: most proxies never need it
        return self._context(await self._calls(), await self._limits_of(key))

    async def _limits_of(self, key: str | None) -> Sequence[Status]:
        from proxy.explain.limits import quota_of

        # The identity of a key is its name.
        return await self._limiter.statuses(quota_of(self._config, key), key or "")

    def _context(self, calls: Mapping[str, Calls], limits: Sequence[Status]) -> Context:
        from proxy.explain.context import Context, Lists, ProviderList

        store = self._store
        providers = [
            ProviderList(
                source,
                report.state,
                *_shortcoming(report),
                self._withheld(report.name),
                store.expired_ids(report.name),
            )
            for source, report in zip(store.sources(), store.reports(), strict=True)
        ]
        lists = Lists(providers, store.name_index, store.seconds_until_known)
        states = _LiveCalls(self._forwarder(), store.new_offers, calls)
        return Context(self._config, lists, states, self._clock.time(), limits)

    def _withheld(self, provider: str) -> frozenset[str]:
        """Own ids of the models whose creation time is not shown."""
        listing = self._store.listing(provider)
        return frozenset(listing.withheld) if listing else frozenset()


class _LiveCalls:
    """The state of calls of the running proxy (`CallStates`)."""

    def __init__(
        self, forwarder: Forwarder | None, new_offers: Mapping[str, Collection[str]], calls: Mapping[str, Calls]
    ) -> None:
        """`calls`: of each provider, in all processes that serve the port."""
        self._circuits = forwarder.circuits if forwarder else {}
        self._calls = calls
        self.new_offers = new_offers

    def load(self, provider: str) -> int:
        return self._calls[provider].load

    def is_full(self, provider: str) -> bool:
        return self._calls[provider].is_full

    def rejection(self, provider: str, key: str, model: str) -> str:
        error = self._circuits[provider].rejection(key, model) if self._circuits else None
        if error:
            return error.message
        return _OPEN_ELSEWHERE if self._is_open_elsewhere(provider, key, model) else ""

    def _is_open_elsewhere(self, provider: str, key: str, model: str) -> bool:
        """Whether another process rejects the call: its hint was lost, or was sent before this process started."""
        circuits = self._calls[provider].open_circuits
        return any(each.state == "open" and each.model == model and each.key in (None, key) for each in circuits)


async def explained(context: Context, model: str, key: str | None) -> Explanation | None:
    """Explain a model, None if there is no such key. `key`: see `Explanation.key`."""
    from proxy.explain.explanation import explaining

    caller = context.caller(key)
    if caller is None:
        return None
    names = context.names(caller)
    await names.prepare()
    return await run_yielding(explaining(context, model, caller, names))


def _load() -> None:
    import proxy.explain.explanation  # noqa: F401


def _shortcoming(report: Report) -> tuple[str, Mapping[str, int]]:
    reasons = [report.error.reason] if report.error else []
    if report.origin == "restored":
        reasons.append("an earlier process fetched the list")
    return "; ".join(reasons), report.result.dropped if report.result else {}


def _parameters(query: bytes) -> tuple[str, str | None]:
    """Return the model, and the name of a key: "" for requests without one, None if it is not given.

    Not in a parameter `key`: queries with it are rejected, because it may be an API key. Raises BadRequest.
    """
    try:
        given = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        raise BadRequest(_USAGE) from None
    model = given.get("model", "")
    if not 0 < len(model) <= MAX_NAME or given.keys() - {"model", "key_name"}:
        raise BadRequest(_USAGE)
    return model, given.get("key_name")
