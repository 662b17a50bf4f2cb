"""Build all objects from one configuration and connect them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from proxy.access import Access, Caller
from proxy.access.browsers import BrowserGuard
from proxy.api.admin_actions import AdminActions
from proxy.api.catalog import CatalogOverview
from proxy.api.changes import Changes
from proxy.api.explain import Explain
from proxy.api.health import Health
from proxy.api.limits import LimitedLists
from proxy.api.listed import Listed
from proxy.api.metrics import Metrics
from proxy.api.models import Models
from proxy.api.pangu import Versions
from proxy.api.paths import STORED_RESPONSES, native_paths, request_paths
from proxy.api.request import RequestHead
from proxy.api.routes import Route, Routes
from proxy.api.status.endpoints import StatusPage
from proxy.api.status.login import StatusLogin
from proxy.api.usage import UsageReport
from proxy.asgi import AddHeaders, Handler, Receive, Send
from proxy.config import Config
from proxy.cooperative import NEXT_TURN
from proxy.server.added_headers import with_generation, with_vary
from proxy.server.background import Background
from proxy.server.cors import Cors
from proxy.server.further_states import further_states
from proxy.server.refused_keys import RefusedKeys
from proxy.server.shared import Shared
from proxy.states import Calls
from proxy.store import Report, Store
from proxy.upstream.lists import ListFetcher

if TYPE_CHECKING:
    from proxy.api.collector import Collector
    from proxy.api.inference import Inference
    from proxy.api.responses import StoredResponses
    from proxy.inference.failover import Forwarder
    from proxy.inference.resources import CallResources

_TURNS = 3
"""Iterations of the event loop after which every request that was decided before has begun."""

WARM_UP_SECONDS = 2.0
"""How long a changed configuration waits for the first lists after the start: requests wait for them."""
RENDER_SECONDS = 1.0
"""How long the lists that were requested last are rendered before a changed configuration is applied."""


class Deployment:
    """The objects of one configuration: keys and policies, routes, and the store of model lists.

    A changed configuration gets another deployment: `before` is prepared while the earlier one serves requests
    (`successor`, `prepare`), and replaces it in one step (`take_over`). Requests end with the one they began with.
    """

    def __init__(self, config: Config, shared: Shared, before: Deployment | None = None) -> None:
        """`before`: the deployment that this one will replace. Nothing of it changes here: this runs in a thread."""
        self.config = config
        self._by_name = {provider.name: provider for provider in config.providers}
        self._shared = shared
        self._clock = clock = shared.clock
        self._fetcher: ListFetcher = ListFetcher(config.providers, clock, before._fetcher if before else None)
        self._telemetry = shared.telemetry
        self.store = Store(
            config,
            shared.fetch or self._fetcher,
            clock,
            on_report=self._reported,
            on_models=shared.telemetry.models_changed,
            on_accepted=self._keep,
            on_offers=shared.changes.offers_changed,
            shared=shared.lists,
        )
        self.access = Access(config, clock.time, shared.key_sets)
        self.status_login = StatusLogin(config, self.access, shared.sessions, clock, shared.key_sets)
        self.refused_keys = RefusedKeys(clock.monotonic)
        self.guard = BrowserGuard(config.server) if config.is_open else None
        self.cors = Cors(config.server.cors) if config.server.cors else None
        self.add_headers: AddHeaders | None = with_vary(config.auth.headers, self.cors.add if self.cors else None)
        """What is added to the headers of every response, None for nothing."""
        self.add_headers_for_admins = with_generation(config.generation, self.add_headers)
        self._callable = frozenset(provider.name for provider in config.providers if provider.target)
        reloads, workers = shared.operations.reloads, shared.operations.workers
        is_usage_kept = shared.directory or (shared.sharing and shared.sharing.usage)
        look = shared.operations.usage.look if is_usage_kept else None
        further = partial(further_states, config, shared)
        self.health = Health(config, self.store, self._calls_of, reloads, further, workers, look)
        self.listed = Listed(config, self.store)
        self.metrics = Metrics(config, clock, self._collector, workers)
        limiter = shared.limiter(config)
        explain = Explain(config, self.store, clock, lambda: self.forwarder, self.health.calls_of_all, limiter)
        self.status = StatusPage(config, self.store, self.health, self.listed, explain, shared)
        self._calls = {**request_paths(config.server.extra_paths), **native_paths()}
        self.routes = Routes(
            [
                *self.health.routes(),
                *self.metrics.routes(),
                *self.status.routes(),
                *explain.routes(),
                *CatalogOverview(config, self.store).routes(),
                *Models(self.store, clock, config.providers).routes(),
                *Changes(config, lambda: shared.changes.current).routes(),
                *Versions(self.store, config.providers).routes(),
                *AdminActions(config, shared.operations).routes(),
                *self.status_login.routes(),
                *UsageReport(config, clock, shared.operations, limiter).routes(),
                *(Route(path.replace("}", "...}"), ("POST",), self._call, is_api=True) for path in self._calls),
                *(Route(path, methods, self._stored, is_api=True) for path, methods in STORED_RESPONSES.items()),
            ],
            config.server.base_path.rstrip("/"),
        )
        self.limited_lists = LimitedLists(limiter)
        self.forwarder: Forwarder | None = None
        """None until the first call."""
        self._inference: Inference | None = None
        self._stored_responses: StoredResponses | None = None
        self._loading: asyncio.Task[None] | None = None
        self.requests = 0
        """The requests in progress that need I/O; the application counts them."""
        self._background = Background(self.store, shared.key_sets, config.auth)
        self.ended: asyncio.Event | None = None
        """Set when the last request has ended; None until the deployment is replaced."""
        if before and before.forwarder:
            self._load_inference(shared.resources(config), before.forwarder)

    # -- life cycle ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Refresh the model lists in the background, until `pause` or `close`."""
        self._background.start()

    async def fetch_keys(self, issuer: str) -> None:
        """Fetch the signing keys of an issuer, for tokens that cannot be validated without. Never raises."""
        await self._shared.key_sets.fetch(issuer)

    async def successor(self, config: Config) -> Deployment:
        """Return a deployment for another configuration, which is not prepared yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WARM_UP_SECONDS):
                await self.store.wait_until_warmed_up()
        if self._loading:
            await self._loading
        return await asyncio.to_thread(Deployment, config, self._shared, self)

    async def prepare(self, before: Deployment) -> None:
        """Take over the lists of a deployment that is paused, and render those that were requested last."""
        await self.store.inherit(before.store, self.access.policies, RENDER_SECONDS)
        if before._loading and not self._inference:
            await before._loading
            self._load_inference(self._shared.resources(self.config), before.forwarder)

    def take_over(self, before: Deployment) -> None:
        """Replace the deployment for which this one was prepared. Synchronous."""
        self.health.draining = before.health.draining
        self._shared.configure(self.config)
        for provider in self._by_name if self._shared.directory else ():
            self._keep(provider)  # its fingerprint may be another one
        if self.forwarder:
            self.forwarder.take_over()
            self._share_hints(self._shared.resources(self.config), self.forwarder)

    async def pause(self) -> None:
        """Stop refreshing the lists. Fetches continue, for `start` or for another deployment."""
        self.store.hand_over()
        await self._background.stop()

    async def retire(self) -> None:
        """Wait for the last request after the deployment was replaced, and free everything that is not used any more.

        The reference cycles are broken here, because that of the first deployment is never collected (`gc.freeze`),
        and the others late.
        """
        self.ended = asyncio.Event()
        for _ in range(_TURNS):  # a request that was decided before is counted when its task starts
            await NEXT_TURN
        if self.requests:
            await self.ended.wait()
        await self.close()
        self.store.discard()
        vars(self).clear()

    async def close(self) -> None:
        """Stop refreshing, and close the connections of calls."""
        await self._background.stop()
        if self._loading:
            await self._loading
        if self.forwarder:
            await self.forwarder.close()

    def _keep(self, provider: str) -> None:
        """Keep the list of a provider for the next start."""
        if (directory := self._shared.directory) and (record := self.store.record(provider)):
            directory.save(self._by_name[provider], record)

    def _reported(self, report: Report) -> None:
        """After each refresh. A provider whose list was fetched can be reached."""
        if self.forwarder and report.failures == 0 and (circuit := self.forwarder.circuits.get(report.name)):
            circuit.reached("its list was fetched")
        if not report.is_of_other:
            self._telemetry.provider_reported(report)
        self._shared.on_report(report)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def end_calls(self) -> int:
        """End all calls because the server stops. Returns the number of those in progress."""
        return self._inference.end_calls() if self._inference else 0

    async def inference(self) -> Inference:
        """Return the endpoint of calls. Imported at the first call: a proxy without calls needs 9 MiB less memory."""
        if self._inference is None:
            if self._loading is None:
                resources = self._shared.resources(self.config)
                self._loading = asyncio.create_task(self._load_in_thread(resources), name="load inference")
            # Shielded: one canceled request must not cancel the others.
            await asyncio.shield(self._loading)
        assert self._inference is not None, "loaded"
        return self._inference

    async def _load_in_thread(self, resources: CallResources) -> None:
        await asyncio.to_thread(self._load_inference, resources)
        self._shared.on_calls_loaded()

    def _load_inference(self, resources: CallResources, before: Forwarder | None = None) -> None:
        """`before`: of the deployment that this one replaces."""
        from proxy.api.inference import Inference
        from proxy.api.responses import StoredResponses
        from proxy.inference.failover import Forwarder

        telemetry, providers = self._telemetry, self.config.providers
        forwarder = Forwarder(
            providers,
            self._clock,
            telemetry,
            self._fetcher,
            self.store.new_offers,
            before=before,
            is_shared=self.config.is_shared,
        )
        inference = Inference(self.config, self.store, forwarder, resources, self._calls, telemetry.monotonic)
        self._stored_responses = StoredResponses(self.config, self.store, resources.ledger, inference)
        self.forwarder, self._inference = forwarder, inference
        if before is None:
            self._share_hints(resources, forwarder)

    @staticmethod
    def _share_hints(resources: CallResources, forwarder: Forwarder) -> None:
        if resources.hints:
            resources.hints.attach(forwarder.endpoints, forwarder.circuits)

    def _calls_of(self, provider: str) -> Calls:
        """Return the state of a provider's calls: `ok` before the first call of any model."""
        if provider not in self._callable:
            return Calls("not_callable")
        if self.forwarder is None:
            return Calls("ok")
        circuit = self.forwarder.circuits[provider]
        return Calls(
            circuit.state,
            circuit.in_flight,
            circuit.queued,
            circuit.open_circuits,
            circuit.account_rejected,
            self._by_name[provider].max_in_flight,
        )

    def _collector(self) -> Collector:
        from proxy.api.collector import Collector

        return Collector(
            self.config,
            self.store,
            self._calls_of,
            lambda: self.health.is_ready,
            lambda: self._inference.body_memory.used if self._inference else 0,
            self.listed,
            self._shared.of_process,
        )

    def _call(self, head: RequestHead, caller: Caller) -> Handler:
        """Raises ContentTypeRequired."""
        if self.guard:
            self.guard.check_content_type(head.headers)
        return partial(self._inference or self._load_and_forward, head, caller)

    async def _load_and_forward(self, head: RequestHead, caller: Caller, receive: Receive, send: Send) -> None:
        inference = await self.inference()
        await inference(head, caller, receive, send)

    def _stored(self, head: RequestHead, caller: Caller) -> Handler:
        return partial(self._forward_stored, head, caller)

    async def _forward_stored(self, head: RequestHead, caller: Caller, receive: Receive, send: Send) -> None:
        await self.inference()
        assert self._stored_responses is not None, "loaded with the endpoint of calls"
        await self._stored_responses(head, caller, receive, send)
