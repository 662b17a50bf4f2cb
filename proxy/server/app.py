"""The ASGI application: authentication and routing of every request, and the life cycle of the deployment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from proxy.access.sessions import Sessions
from proxy.api.request import RequestHead
from proxy.api.workers import Workers
from proxy.asgi import Handler, RawResponse, Receive, Scope, Send
from proxy.catalog import Fetch
from proxy.clock import Clock, SystemClock
from proxy.config import Config
from proxy.errors import (
    BadRequest,
    ShuttingDown,
    describe_bug,
    drop_tracebacks,
)
from proxy.server.added_headers import sending
from proxy.server.connections import ClientConnections
from proxy.server.deployment import Deployment
from proxy.server.gate import decide, error_response_to, without_body
from proxy.server.heads import in_origin_form
from proxy.server.list_directory import list_directory, stored_counters, stored_ledger, stored_limits
from proxy.server.process import ProcessMetrics
from proxy.server.reload import ConfigFiles, Reloader
from proxy.server.shared import Shared
from proxy.server.shared_store import running, shared_store
from proxy.server.shares import Shares
from proxy.server.traced import traced
from proxy.server.usage import UsageKeeper
from proxy.sharing import Sharing
from proxy.store import Report
from proxy.telemetry import Reloads, Telemetry
from proxy.telemetry.counters import Counters
from proxy.upstream.transport import disable_http_logging

_log = logging.getLogger("models_proxy")
NO_TUNNEL = BadRequest("Method CONNECT is not supported: this server does not open tunnels.")


class Proxy:
    """The ASGI application.

    Every request passes `decide`, which authenticates it first, whatever its path and method; only probes allow
    requests without a key. All exceptions become error responses here. A request reads `deployment` once, when it is
    decided: a changed configuration replaces it while requests are in progress.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        fetch: Fetch | None = None,
        on_report: Callable[[Report], None] = lambda report: None,
        telemetry: Telemetry | None = None,
        files: ConfigFiles | None = None,
        on_reload: Callable[[Config], None] = lambda config: None,
        workers: Workers | None = None,
        sharing: Sharing | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        """`fetch` replaces fetching over HTTP; `on_report` is called after each refresh of a provider.

        `files`: those of the configuration, which can change; None if it is constant. `on_reload` is called with each
        changed configuration when it is applied. `workers`: None if this process is the only one that serves the port.
        `sharing`: with those, unless `store.valkey` shares more.
        `sessions`: with a secret that those have, or earlier processes had.
        """
        self.workers = workers
        clock = clock or SystemClock()
        self.telemetry = telemetry or Telemetry(SystemClock.monotonic)
        self.shares = Shares()
        self.connections = ClientConnections(config.server.limits)
        self.reloads = Reloads(config.generation, clock.time())
        counters = Counters(self._is_listed)
        self.metrics = ProcessMetrics(self.connections, counters, self.reloads)
        self._counts = False
        self._count(config)
        self.directory = list_directory(config, clock, lambda: self.deployment.config.providers)
        """None without `store.directory`."""
        self.sharing = shared_store(config, clock) or sharing
        """None if nothing is shared with other processes."""
        rows = self.sharing.usage if self.sharing else None
        self.usage = UsageKeeper(config, clock, self.telemetry, self._is_listed, self.directory, workers, rows)
        self.usage.recent.attempts = lambda: counters.attempts
        self.metrics.dropped_usage = lambda: self.usage.dropped
        self.metrics.show(self.directory, self.sharing)
        stores = (self.directory, self.sharing, config.store.namespace or "")
        self.shared = Shared(clock, fetch, self.telemetry, on_report, self.metrics, self, *stores, sessions)
        self.changes = self.shared.changes
        self.metrics.notifications = self.shared.notifications
        self.stored_ledger = stored_ledger(config, self.directory, self.shared, clock)
        """None without `store.directory`."""
        self.stored_limits = stored_limits(config, self.directory, self.shared.limiter(config), clock)
        """None without `store.directory`."""
        self.deployment = Deployment(config, self.shared)
        own = None if workers else self.directory  # of several workers, the supervisor keeps the counters
        self.kept_counters = stored_counters(config, own, lambda: self.deployment.metrics.packed())
        """None without `store.directory`."""
        if kept := self.kept_counters:
            self.metrics.before = lambda: kept.before
        self._retiring: dict[asyncio.Task[None], Deployment] = {}
        """Deployments that were replaced, and still have requests in progress."""
        self._replacing = asyncio.Lock()
        self._on_reload = on_reload
        self.reloader = Reloader(files, lambda: self.deployment.config, self.replace, self.reloads, clock)
        self.reload_files: Callable[[], Awaitable[Mapping[str, Any]]] = self.reloader.reload

    def _is_listed(self, model: str) -> bool:
        return self.deployment.listed.has(model)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Refresh the model lists in the background while the context is entered."""
        kept = self.kept_counters.running() if self.kept_counters else nullcontext()
        notifying = self.shared.notifications.running(self.deployment.config.notify)
        async with (
            traced(lambda: self.deployment.config, self.telemetry, self.shared.clock),
            running(self.sharing),
            self.shared.sessions.running(),
            self._running(),
            self.usage.running(),
            notifying,
            self.changes.running(),
            kept,
        ):
            yield

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        disable_http_logging()
        if self.directory:
            await self.directory.start(lambda: self.deployment.store)
        if self.stored_ledger:
            await self.stored_ledger.start()
        if self.stored_limits:
            await self.stored_limits.start()
        self.deployment.start()
        self.reloader.start()
        self.metrics.lag.start(asyncio.get_running_loop())
        try:
            yield
        finally:
            self.metrics.lag.stop()
            await self.reloader.stop()
            for retiring in self._retiring:
                retiring.cancel()
            await asyncio.gather(*self._retiring, return_exceptions=True)
            for deployment in (*self._retiring.values(), self.deployment):
                await deployment.close()
            await self.shared.key_sets.close()
            if self.stored_ledger:
                await self.stored_ledger.stop()
            if self.stored_limits:
                await self.stored_limits.stop()
            if self.directory:
                await self.directory.stop()

    def _count(self, config: Config) -> None:
        """Count events for metrics from the first configuration on that does not switch them off."""
        if config.server.metrics != "off" and not self._counts:
            self._counts = True
            self.telemetry.add(self.metrics.counters)

    # -- operations ------------------------------------------------------------------------------------------------

    async def replace(self, config: Config) -> None:
        """Apply another configuration. Requests in progress end with the one they began with."""
        async with self._replacing:
            before = self.deployment
            after = await before.successor(config)
            await before.pause()
            try:
                await after.prepare(before)
            except BaseException:
                before.start()
                raise
            after.take_over(before)
            self.deployment = after
            self.connections.configure(config.server.limits)
            self.shares.limit_to(config.identities)
            self._count(config)
            self.usage.configure(config)
            self._on_reload(config)
            after.start()
            retiring = asyncio.create_task(before.retire(), name="retire a configuration")
            self._retiring[retiring] = before
            retiring.add_done_callback(self._retired)
            if self.stored_ledger:
                await self.stored_ledger.configure(config.keys)

    def _retired(self, retiring: asyncio.Task[None]) -> None:
        if not retiring.cancelled():
            del self._retiring[retiring]
            if error := retiring.exception():
                _log.error("internal error while closing a replaced configuration: %s", describe_bug(error))

    async def refresh(self, providers: Collection[str], seconds: float, *, accept: bool) -> Sequence[Report]:
        """Refresh the lists of these providers now. Returns their reports when that has ended, or after `seconds`.

        Providers that a reload removes meanwhile are left out.
        """
        ends_at = asyncio.get_running_loop().time() + seconds
        while True:
            store = self.deployment.store
            names = [name for name in providers if store.has(name)]
            seconds = ends_at - asyncio.get_running_loop().time()
            if await store.refresh(names, seconds, accept=accept) or not self._replacing.locked():
                return [store.report(name) for name in names]
            async with self._replacing:  # until the deployment is replaced
                accept = False  # the next one takes over what was accepted

    async def reload(self) -> Mapping[str, Any]:
        """Apply the configuration as it is in its files. Returns what changed. Raises ApiError."""
        if self.draining:
            raise ShuttingDown
        return await self.reload_files()

    @property
    def draining(self) -> bool:
        return self.deployment.health.draining

    # -- requests --------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        await self.respond(*self._decide(scope), receive, send)

    async def respond(
        self,
        head: RequestHead,
        outcome: RawResponse | Handler,
        deployment: Deployment,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send what `decide` has returned: the response, or that of the handler. `deployment`: that has decided."""
        if head.add_headers:
            send = sending(send, head.add_headers, head.headers)
        try:
            response = (
                outcome
                if isinstance(outcome, RawResponse)
                else await self._handle(deployment, head, outcome, receive, send)
            )
            if response:
                head.status = head.status or response.status
                if head.call:
                    head.call.bytes_out += len(response.body)
                await send({"type": "http.response.start", "status": response.status, "headers": response.all_headers})
                await send({"type": "http.response.body", "body": response.whole_body})
        finally:
            self.telemetry.request_ended(head)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _decide(self, scope: Scope) -> tuple[RequestHead, RawResponse | Handler, Deployment]:
        """Decide on a request of another server than the proxy's own. Others leave more of HTTP to us."""
        head = RequestHead(in_origin_form(scope), self.telemetry.monotonic())
        if head.method == "CONNECT":
            # What follows is meant for a tunnel, and must not be parsed as requests.
            head.add_headers = self.deployment.add_headers
            refusal = error_response_to(head, NO_TUNNEL)
            closing = RawResponse(refusal.status, [*refusal.headers, (b"connection", b"close")], refusal.body)
            return head, closing, self.deployment
        return head, decide(self.deployment, head), self.deployment

    async def _handle(
        self, deployment: Deployment, head: RequestHead, handler: Handler, receive: Receive, send: Send
    ) -> RawResponse | None:
        deployment.requests += 1
        try:
            response = await handler(receive, send)
        except asyncio.CancelledError:
            if not self.draining:
                raise
            response = error_response_to(head, ShuttingDown())
        except Exception as error:
            response = error_response_to(head, error)
            drop_tracebacks(error)
        finally:
            deployment.requests -= 1
            if deployment.ended and not deployment.requests:
                deployment.ended.set()
        return without_body(response) if response and head.method == "HEAD" else response
