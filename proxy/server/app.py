"""Wiring: what is built from a configuration, and the gate that every request passes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.access import Access, Caller, Policy
from proxy.api.health import PATHS as HEALTH_PATHS
from proxy.api.health import Health
from proxy.api.http import RawResponse, RequestHead, send_error
from proxy.api.models import LISTS, Models
from proxy.api.pangu import Versions
from proxy.api.paths import PATHS as CALLS
from proxy.catalog import Fetch
from proxy.clock import Clock, SystemClock
from proxy.config import Config
from proxy.errors import ApiError, BadRequest, InternalError, MethodNotAllowed, PathNotFound, describe_bug
from proxy.store import Report, Store
from proxy.telemetry import Usage
from proxy.upstream.lists import ListFetcher
from proxy.upstream.transport import disable_http_logging
from proxy.wire.headers import error_headers
from proxy.wire.openai import openai_error

if TYPE_CHECKING:
    from proxy.api.inference import Inference
    from proxy.inference.failover import Forwarder

_log = logging.getLogger("models_proxy")
_PROBE = Caller(None, Policy(()))


class Proxy:
    """The ASGI application of one configuration.

    A request passes the gate first: who is asking is known before any work, for every path and method; only the
    probes are open. Whatever is raised behind it becomes an answer here, by one table.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        fetch: Fetch | None = None,
        on_report: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """`told` hears of every answer and failure of a provider."""
        clock = clock or SystemClock()
        self._config, self._clock = config, clock
        self._upstream = ListFetcher(config.providers, clock)
        self.usage = Usage()
        self.store = Store(config, fetch or self._upstream, clock, on_report=on_report)
        self.health = Health(self.store, config.skipped)
        self._access = Access(config, clock.time)
        self._models = Models(self.store, clock)
        self.forwarder: Forwarder | None = None
        """None until the first call comes."""
        self._inference: Inference | None = None
        self._loading: asyncio.Task[Inference] | None = None
        self._routes = Router(
            [*self.health.routes(), *Versions(self.store, config.providers).routes()],
            redirect_slashes=False,
            lifespan=self.lifespan,
        )
        self._has_cors = bool(config.server.cors)
        self._app: ASGIApp = _Cors(self._gate, config.server.cors) if config.server.cors else self._gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def cached_response(self, scope: Scope) -> RawResponse | None:
        """What a request for the list is answered with, where it can be said at once; the same as a call would send."""
        if scope["path"] not in LISTS or scope["method"] != "GET" or self._has_cors:
            return None
        head = RequestHead(scope["headers"])
        try:
            return None if head.has_body else self._models.cached_response(head, self._caller(scope, head))
        except Exception:
            return None  # a call meets it again, and says it

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """While this is entered, the lists of the providers are refreshed."""
        disable_http_logging()
        refresh = asyncio.create_task(self.store.run(), name="store")
        refresh.add_done_callback(_say_if_it_ended)
        try:
            yield
        finally:
            refresh.cancel()
            await asyncio.gather(refresh, return_exceptions=True)
            if self._loading:
                await self._loading
            if self.forwarder:
                await self.forwarder.close()

    async def _gate(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        head = RequestHead(scope["headers"])
        try:
            caller = self._caller(scope, head)
            if scope["path"] in CALLS and (scope["method"] == "POST" or not Models.serves(scope["path"])):
                call = self._inference or await self.calling()
                await call(scope, receive, send, head, caller)
            elif Models.serves(scope["path"]):
                await self._models(scope, send, head, caller)
            else:
                await self._route(scope, receive, send, head, caller)
        except ApiError as error:
            await send_error(scope, send, head, error)
        except HTTPException as error:
            await send_error(scope, send, head, _in_our_words(scope, error))
        except Exception as bug:
            _log.error("bug while answering %s: %s", head.request_id.decode(), describe_bug(bug))
            await send_error(scope, send, head, InternalError())

    async def calling(self) -> Inference:
        """What passes calls on. Loaded when the first one comes: a proxy that only lists does without 9 MiB."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load_calling), name="load calling")
        # Shielded: the leaving of the one who calls first is not the others' loss.
        self._inference = await asyncio.shield(self._loading)
        return self._inference

    def _load_calling(self) -> Inference:
        from proxy.api.inference import Inference
        from proxy.inference.failover import Forwarder

        self.forwarder = Forwarder(self._config.providers, self._clock, self.usage, self._upstream)
        return Inference(self._config, self.store, self.forwarder)

    async def _route(self, scope: Scope, receive: Receive, send: Send, head: RequestHead, caller: Caller) -> None:
        scope["app"] = self  # with it the router raises its 404 and 405 instead of writing them as text
        scope["state"] = {"head": head, "caller": caller}
        await self._routes(scope, receive, send)

    def _caller(self, scope: Scope, head: RequestHead) -> Caller:
        if scope["path"] in HEALTH_PATHS and not head.credentials:
            return _PROBE
        return self._access.identify(head.credentials, scope["query_string"])


def _say_if_it_ended(refresh: asyncio.Task[None]) -> None:
    """Nobody is asked any more: a bug of ours, and not to be found out by old lists."""
    # Without an error it ends only where nobody has to be asked.
    if not refresh.cancelled() and (error := refresh.exception()):
        _log.critical("the store ended; no provider is asked any more: %s", describe_bug(error))


def _in_our_words(scope: Scope, error: HTTPException) -> ApiError:
    if error.status_code == 405:
        # starlette names them in an order of chance.
        allow = sorted((error.headers or {}).get("Allow", "GET").split(", "))
        return MethodNotAllowed(scope["method"], ", ".join(allow))
    return PathNotFound(scope["path"])


class _Cors(CORSMiddleware):
    """starlette's, with a refused preflight in our error format."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(app, allow_origins=origins, allow_methods=["GET", "HEAD", "POST"], allow_headers=["*"])

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        error = BadRequest("This origin or method is not allowed here; `server: cors` names the origins that are.")
        headers = [*error_headers(error), (b"x-request-id", RequestHead(request_headers.raw).request_id)]
        plain = {name.decode(): value.decode() for name, value in headers}
        return Response(openai_error(error), error.status, plain)
