"""Run a server process: sockets, logging, uvicorn, and a graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from math import ceil
from types import FrameType
from typing import Any, Protocol

import uvicorn

from proxy.access.sessions import Sessions
from proxy.api.workers import Workers
from proxy.config import Config
from proxy.config.addresses import UNIX
from proxy.config.server import Server as ServerSettings
from proxy.server.app import Proxy
from proxy.server.connections import raise_descriptor_limit
from proxy.server.http_protocol import http_protocol
from proxy.server.listeners import Listeners, accept_waiting, address_of, drop_new_connections
from proxy.server.log import Log, drop_noise
from proxy.server.process_setup import (
    HANGUP,
    ignore_hangup,
    limit_malloc,
    release_memory,
    shorten_collections,
    skip_cpp_library,
    skip_system_cas,
)
from proxy.server.reload import ConfigFiles
from proxy.server.systemd import ServiceManager, State, service_manager
from proxy.server.tls import ServerTls
from proxy.server.tls_accept import TlsServer
from proxy.sharing import Sharing
from proxy.store import Report, Store
from proxy.upstream.event_loop import EventLoop

LAST_SECONDS = 3.0
"""Seconds after `shutdown_timeout` until everything is canceled. Calls end before that. State is written afterward,
before a process manager that waits for 5 s (`deploy/kubernetes`) kills the process."""
_FORCED_SECONDS = 0.5
"""The same after a second signal."""

_READ_TURNS = 3
"""Iterations of the event loop after which everything that has arrived was read."""

NO_SNIFFING = ("x-content-type-options", "nosniff")
"""The header of every response. Browsers do not run text or JSON as scripts or pages then."""

_SWITCH_SECONDS = 0.001
"""How long the event loop waits for a thread that computes, such as one that reads a changed configuration."""

_log = logging.getLogger("models_proxy")


class Observer(Protocol):
    """Callbacks of a running server, called on its event loop. They must not block."""

    def on_start(self, reports: Sequence[Report]) -> None:
        """Called before the first provider is contacted."""

    def on_report(self, report: Report) -> None:
        """Called after each refresh of a provider."""

    def on_ready(self, url: str, store: Store) -> None:
        """Called once every provider was fetched or its `initial_wait` is over. `url`: of the listening server."""


class Supervision(Workers, Protocol):
    """The connection to the supervisor of several workers, of which this process is one."""

    @property
    def sharing(self) -> Sharing:
        """With the other workers."""

    def connect(self, app: Proxy, server: Server) -> None:
        """Do what the supervisor sends. Called on the event loop before the server accepts connections."""

    def applied(self, config: Config) -> None:
        """Called when another configuration is used."""

    async def finish(self) -> None:
        """Called when the last request has ended."""


def run(
    config: Config,
    observer: Observer,
    listeners: Listeners,
    log: Log,
    files: ConfigFiles | None = None,
    supervision: Supervision | None = None,
    sessions: Sessions | None = None,
) -> None:
    """Serve on these sockets until a signal stops the process.

    `files`: those of the configuration, None if it is constant. `supervision`: None if this is the only process.
    `sessions`: those of earlier processes, or with the secret of all workers.
    """
    drop_noise()
    limit_malloc()
    raise_descriptor_limit()
    sys.setswitchinterval(_SWITCH_SECONDS)
    skip_system_cas()
    skip_cpp_library()

    tls = ServerTls(config.server.tls) if config.server.tls else None

    def on_reload(config: Config) -> None:
        log.configure(config)
        if tls:
            tls.configure(config)
        if supervision:
            supervision.applied(config)

    app = Proxy(
        config,
        on_report=observer.on_report,
        files=files,
        on_reload=on_reload,
        workers=supervision,
        sharing=supervision.sharing if supervision else None,
        sessions=sessions,
    )
    app.telemetry.add(log.access)
    app.metrics.dropped_lines = lambda: log.dropped
    if HANGUP and not supervision:
        # Not a handler of the event loop: closing the loop would restore the default action, which ends the process.
        signal.signal(HANGUP, lambda number, frame: app.reloader.signal())
    manager = ServiceManager(None) if supervision else service_manager()
    app.reloader.observe = manager.reload
    try:
        server = Server(app, config, observer, manager, tls, supervision, is_handed_down=listeners.handed_down)
        server.run([*listeners.sockets])
    finally:
        ignore_hangup()  # the interpreter restores the default action of signals that have a handler


class Server(uvicorn.Server):
    """uvicorn's server, with notifications at start and a drain at shutdown."""

    def __init__(
        self,
        app: Proxy,
        config: Config,
        observer: Observer,
        manager: ServiceManager,
        tls: ServerTls | None = None,
        supervision: Supervision | None = None,
        *,
        is_handed_down: bool = False,
    ) -> None:
        """`is_handed_down`: another process keeps the listening sockets open for the next server."""
        super().__init__(
            uvicorn.Config(
                app,
                loop="proxy.upstream.event_loop:EventLoop",
                http=http_protocol(),
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                headers=[NO_SNIFFING],
                proxy_headers=False,
                timeout_keep_alive=config.server.limits.keepalive_timeout,  # type: ignore[arg-type]  # for `call_later`
            )
        )
        self._app = app
        self._observer = observer
        self._manager = manager
        self._tls = tls
        self._supervision = supervision
        self._is_handed_down = is_handed_down

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._supervision:
            self._supervision.connect(self._app, self)
        self._observer.on_start(self._app.deployment.store.reports())
        shorten_collections()
        self._app.shared.on_calls_loaded = release_memory
        if self._tls:
            self._accept_tls(self._tls)
        await super().startup(sockets=sockets)
        url = _url(self.servers[0].sockets[0], self._app.deployment.config.server)
        self._notifying = asyncio.create_task(self._notify_when_ready(url), name="notify when ready")
        self._manager.start(self._state, asyncio.get_running_loop())

    def _accept_tls(self, tls: ServerTls) -> None:
        self.config.ssl = tls.context
        loop = asyncio.get_running_loop()
        if isinstance(loop, EventLoop) and sys.platform != "win32":
            loop.accept_tls = partial(TlsServer, self._app.connections)

    async def _notify_when_ready(self, url: str) -> None:
        await self._app.deployment.store.wait_until_warmed_up()
        release_memory()
        self._observer.on_ready(url, self._app.deployment.store)

    def _state(self) -> State:
        deployment = self._app.deployment
        reports = deployment.store.reports()
        listed = sum(report.state != "failing" for report in reports)
        return State(deployment.health.is_ready, f"{listed} of {len(reports)} providers have a model list")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._notifying.cancel()
        seconds = self._app.deployment.config.server.shutdown_timeout
        self.config.timeout_graceful_shutdown = ceil(seconds + LAST_SECONDS)
        ending = asyncio.get_running_loop().call_later(seconds, self._end_calls)
        await self._stop_listening(sockets or [])
        for _ in range(_READ_TURNS):  # requests that have arrived are read before idle connections are closed
            await asyncio.sleep(0)
        await super().shutdown(sockets=sockets)
        ending.cancel()
        self._manager.stop()
        if self._supervision:
            await self._supervision.finish()
        if self.force_exit:
            # uvicorn skips this and then logs a traceback of the waiting lifespan task.
            await self.lifespan.shutdown()

    async def _stop_listening(self, sockets: Sequence[socket.socket]) -> None:
        """Accept the connections that are waiting, and close the listeners, which would reset them otherwise.

        Those at sockets that were handed down wait for the next server.
        """
        kept = () if self._is_handed_down else sockets
        if not self._supervision:  # a supervisor keeps them open for other workers
            for listening in kept:
                drop_new_connections(listening)
        waiting = [connection for listening in kept for connection in accept_waiting(listening)]
        for server in self.servers:
            server.close()  # no `await` since the last connection was accepted: another one could have arrived
        loop = asyncio.get_running_loop()
        connecting = (loop.connect_accepted_socket(self._protocol, each, ssl=self.config.ssl) for each in waiting)
        await asyncio.gather(*connecting, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn creates one for each connection."""
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: fail `/readyz`, keep serving for `drain_delay`, finish the requests in progress, and stop.

        SIGINT: the same without `drain_delay`. A second signal: end the requests in progress. Unlike with uvicorn's
        handler, the exit code is 0.
        """
        if self._app.draining:
            asyncio.get_running_loop().call_soon_threadsafe(self.end_calls)
        else:
            self.stop(drains=sig == signal.SIGTERM)

    def stop(self, *, drains: bool) -> None:
        """Stop as after SIGTERM (`drains`) or SIGINT, unless the server is stopping already."""
        health = self._app.deployment.health
        if health.draining:
            return
        health.draining = self._app.connections.are_ending = True
        self._manager.stopping()
        if drains:
            asyncio.get_running_loop().call_later(self._app.deployment.config.server.drain_delay, self._stop)
        else:
            self._stop()

    def _stop(self) -> None:
        self.should_exit = True

    def end_calls(self) -> None:
        """End the requests in progress, and stop."""
        self._stop()
        self._end_calls()
        asyncio.get_running_loop().call_later(_FORCED_SECONDS, self._exit)

    def _exit(self) -> None:
        for request in self.server_state.tasks:
            request.cancel()
        self.force_exit = True

    def _end_calls(self) -> None:
        if calls := self._app.deployment.end_calls():
            which = "1 call that was" if calls == 1 else f"{calls} calls that were"
            _log.warning("shutdown: ended %s still in progress", which)


def _url(listening: socket.socket, settings: ServerSettings) -> str:
    """The URL of a TCP socket, or `unix:SOCKET` or `unix:SOCKET:PATH` of another one."""
    host, base_path = address_of(listening), settings.base_path.rstrip("/")
    if host.startswith(UNIX):
        return f"{host}:{base_path}" if base_path else host
    scheme, port = "https" if settings.tls else "http", listening.getsockname()[1]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{base_path}"
