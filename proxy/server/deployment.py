"""Build all objects from one configuration and connect them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from proxy.access import Access, Caller
from proxy.access.browsers import BrowserGuard
from proxy.api.explain import Explain
from proxy.api.health import Health
from proxy.api.listed import Listed
from proxy.api.metrics import Metrics
from proxy.api.models import Models
from proxy.api.pangu import Versions
from proxy.api.paths import STORED_RESPONSES, request_paths
from proxy.api.request import RequestHead
from proxy.api.routes import Route, Routes
from proxy.asgi import Handler, Receive, Send
from proxy.catalog import Fetch
from proxy.clock import Clock
from proxy.config import Config
from proxy.server.cors import Cors
from proxy.states import Calls
from proxy.store import Report, Store
from proxy.telemetry import Telemetry
from proxy.upstream.lists import ListFetcher
from proxy.upstream.secret_watch import watch_secrets

if TYPE_CHECKING:
    from proxy.api.collector import Collector, ProcessValues
    from proxy.api.inference import Inference
    from proxy.api.responses import StoredResponses
    from proxy.inference.failover import Forwarder


class Deployment:
    """The objects of one configuration: keys and policies, routes, and the store of model lists."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        fetch: Fetch | None,
        telemetry: Telemetry,
        on_report: Callable[[Report], None],
        of_process: ProcessValues,
    ) -> None:
        """`fetch` replaces fetching over HTTP; `on_report` is called after each refresh of a provider; `of_process`:
        the metrics of the process."""
        self.config = config
        self._clock = clock
        self._fetcher = ListFetcher(config.providers, clock)
        self._telemetry = telemetry
        self.store = Store(
            config, fetch or self._fetcher, clock, on_report=self._reported, on_models=telemetry.models_changed
        )
        self._on_report = on_report
        self.access = Access(config, clock.time)
        self.guard = BrowserGuard(config.server) if config.is_open else None
        self.cors = Cors(config.server.cors) if config.server.cors else None
        self._callable = frozenset(provider.name for provider in config.providers if provider.target)
        self.health = Health(config, self.store, self._calls_of)
        self.listed = Listed(config, self.store)
        self._of_process = of_process
        self._calls = request_paths(config.server.extra_paths)
        self.routes = Routes(
            [
                *self.health.routes(),
                *Metrics(config, clock, self._collector).routes(),
                *Explain(config, self.store, clock, lambda: self.forwarder).routes(),
                *Models(self.store, clock).routes(),
                *Versions(self.store, config.providers).routes(),
                *(Route(path, ("POST",), self._call, is_api=True) for path in self._calls),
                *(Route(path, methods, self._stored, is_api=True) for path, methods in STORED_RESPONSES.items()),
            ]
        )
        self.forwarder: Forwarder | None = None
        """None until the first call."""
        self._inference: Inference | None = None
        self._stored_responses: StoredResponses | None = None
        self._loading: asyncio.Task[Inference] | None = None

    async def close(self) -> None:
        """Close the connections of calls."""
        if self._loading:
            await self._loading
        if self.forwarder:
            await self.forwarder.close()

    def _reported(self, report: Report) -> None:
        """After each refresh. A provider whose list was fetched can be reached."""
        if self.forwarder and report.failures == 0 and (circuit := self.forwarder.circuits.get(report.name)):
            circuit.list_fetched()
        self._telemetry.provider_reported(report)
        self._on_report(report)

    def end_calls(self) -> int:
        """End all calls because the server stops. Returns the number of those in progress."""
        return self._inference.end_calls() if self._inference else 0

    async def watch_secrets(self) -> None:
        """Load secrets in files again when they change, until canceled."""
        await watch_secrets(self.config.providers, self._clock)

    async def inference(self) -> Inference:
        """Return the endpoint of calls. Imported at the first call: a proxy without calls needs 9 MiB less memory."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load_inference), name="load inference")
        # Shielded: one canceled request must not cancel the others.
        self._inference = await asyncio.shield(self._loading)
        return self._inference

    def _load_inference(self) -> Inference:
        from proxy.api.inference import Inference
        from proxy.api.responses import StoredResponses
        from proxy.inference.failover import Forwarder
        from proxy.inference.ledger import Ledger

        self.forwarder = Forwarder(
            self.config.providers, self._clock, self._telemetry, self._fetcher, self.store.new_offers
        )
        ledger = Ledger(self._clock.monotonic)
        inference = Inference(self.config, self.store, self.forwarder, ledger, self._calls, self._telemetry.monotonic)
        self._stored_responses = StoredResponses(self.config, self.store, ledger, inference)
        return inference

    def _calls_of(self, provider: str) -> Calls:
        """Return the state of a provider's calls: `ok` before the first call of any model."""
        if provider not in self._callable:
            return Calls("not_callable")
        if self.forwarder is None:
            return Calls("ok")
        circuit = self.forwarder.circuits[provider]
        return Calls(circuit.state, circuit.in_flight, circuit.queued, circuit.open_circuits, circuit.account_rejected)

    def _collector(self) -> Collector:
        from proxy.api.collector import Collector

        return Collector(
            self.config,
            self.store,
            self._calls_of,
            lambda: self.health.is_ready,
            self._body_memory,
            self.listed,
            self._of_process,
        )

    def _body_memory(self) -> int:
        """Return the bytes of request bodies in memory."""
        return self._inference.body_memory.used if self._inference else 0

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
