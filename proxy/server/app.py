"""The ASGI application: authentication and routing of every request, and the life cycle of the deployment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

from proxy.access import Caller, Policy
from proxy.api.http import error_response
from proxy.api.request import RequestHead
from proxy.asgi import Handler, RawResponse, Receive, Scope, Send
from proxy.catalog import Fetch
from proxy.clock import Clock, SystemClock
from proxy.config import Config
from proxy.errors import ApiError, BadRequest, InternalError, ShuttingDown, describe_bug
from proxy.server.connections import ClientConnections
from proxy.server.deployment import Deployment
from proxy.server.process import ProcessMetrics
from proxy.server.shares import Shares
from proxy.store import Report
from proxy.telemetry import Telemetry, Usage
from proxy.telemetry.counters import Counters
from proxy.upstream.transport import disable_http_logging

_log = logging.getLogger("models_proxy")
_PROBE = Caller(None, Policy(()))
NO_TUNNEL = BadRequest("Method CONNECT is not supported: this server does not open tunnels.")


class Proxy:
    """The ASGI application of one configuration.

    Every request passes `decide`, which authenticates it first, whatever its path and method; only probes allow
    requests without a key. All exceptions become error responses here.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        fetch: Fetch | None = None,
        on_report: Callable[[Report], None] = lambda report: None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """`fetch` replaces fetching over HTTP; `on_report` is called after each refresh of a provider."""
        clock = clock or SystemClock()
        self.telemetry = telemetry or Telemetry(SystemClock.monotonic)
        self.usage = Usage()
        self.telemetry.add(self.usage)
        self.shares = Shares()
        self.connections = ClientConnections(config.server.limits)
        self.metrics = ProcessMetrics(self.connections, Counters(lambda model: self.deployment.listed.has(model)))
        if config.server.metrics != "off":
            self.telemetry.add(self.metrics.counters)
        self.deployment = Deployment(config, clock, fetch, self.telemetry, on_report, self.metrics)

    def decide(self, head: RequestHead) -> RawResponse | Handler:
        """Authenticate, route and respond. Returns the response, or a handler if I/O is needed. Never raises.

        Synchronous, so that the server can send a cached response without creating a task. The server adds the headers
        of CORS, because handlers send responses, too.
        """
        try:
            deployment = self.deployment
            if head.path in deployment.routes.paths:
                head.route = head.path
            if deployment.cors and (preflight := deployment.cors.preflight(head)):
                return preflight
            if not head.route:
                deployment.routes.correct(head)
            if head.path in deployment.routes.probes and not head.credentials:
                caller = _PROBE
            else:
                if deployment.guard:
                    deployment.guard.check(head.headers)
                caller = deployment.access.identify(head.credentials, head.query)
            head.key = caller.name or ""
            outcome = deployment.routes.find(head)(head, caller)
        except Exception as error:
            outcome = self._error(head, error)
        return _without_body(outcome) if head.method == "HEAD" and isinstance(outcome, RawResponse) else outcome

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Refresh the model lists in the background while the context is entered."""
        disable_http_logging()
        refresh = asyncio.create_task(self.deployment.store.run(), name="store")
        refresh.add_done_callback(_log_if_stopped)
        watch = asyncio.create_task(self.deployment.watch_secrets(), name="secrets in files")
        self.metrics.lag.start(asyncio.get_running_loop())
        try:
            yield
        finally:
            self.metrics.lag.stop()
            refresh.cancel()
            watch.cancel()
            await asyncio.gather(refresh, watch, return_exceptions=True)
            await self.deployment.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        if cors := self.deployment.cors:
            send = cors.sending(send, scope["headers"])
        head, outcome = scope.pop("decided", None) or self._decide(scope)
        try:
            response = outcome if isinstance(outcome, RawResponse) else await self._handle(head, outcome, receive, send)
            if response:
                head.status = head.status or response.status
                if head.call:
                    head.call.bytes_out += len(response.body)
                await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
                await send({"type": "http.response.body", "body": response.whole_body})
        finally:
            self.telemetry.request_ended(head)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _decide(self, scope: Scope) -> tuple[RequestHead, RawResponse | Handler]:
        """Decide on a request that the server did not decide early. Other servers leave more of HTTP to us."""
        head = RequestHead(_in_origin_form(scope), self.telemetry.monotonic())
        if head.method == "CONNECT":
            # What follows is meant for a tunnel, and must not be parsed as requests.
            refusal = self._error(head, NO_TUNNEL)
            return head, RawResponse(refusal.status, [*refusal.headers, (b"connection", b"close")], refusal.body)
        return head, self.decide(head)

    async def _handle(self, head: RequestHead, handler: Handler, receive: Receive, send: Send) -> RawResponse | None:
        try:
            response = await handler(receive, send)
        except asyncio.CancelledError:
            if not self.deployment.health.draining:
                raise
            response = self._error(head, ShuttingDown())
        except Exception as error:
            response = self._error(head, error)
        return _without_body(response) if response and head.method == "HEAD" else response

    @staticmethod
    def _error(head: RequestHead, error: Exception) -> RawResponse:
        if not isinstance(error, ApiError):
            _log.error("request %s: internal error: %s", head.request_id.decode(), describe_bug(error))
            error = InternalError()
        head.error = error.code
        if head.call:
            head.call.failed(error)
        return error_response(head, error)


def _in_origin_form(scope: Scope) -> Scope:
    """Reduce an absolute URL as request target to its path: the host is not used for routing (RFC 9112, 3.2.2)."""
    if not scope["path"].lower().startswith(("http://", "https://")):
        return scope
    target: bytes = scope["raw_path"]
    raw_path = urlsplit(target).path or b"/"
    return {**scope, "path": unquote(raw_path.decode("ascii")), "raw_path": raw_path}


def _without_body(response: RawResponse) -> RawResponse:
    """Remove the body from the response to a HEAD request; its headers are those of GET."""
    return RawResponse(response.status, response.headers, b"")


def _log_if_stopped(refresh: asyncio.Task[None]) -> None:
    """Log a crash of the refresh loop, which stale lists would show much later."""
    # Without an exception it ends only if all models are declared in the configuration.
    if not refresh.cancelled() and (error := refresh.exception()):
        _log.critical("refresh loop stopped unexpectedly; model lists are no longer updated: %s", describe_bug(error))
