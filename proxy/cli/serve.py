"""`models-proxy serve`: ask all providers and serve the merged list."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import logging
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click
import uvicorn

from proxy import __version__
from proxy.config import Config, ConfigError, read
from proxy.server.app import Proxy
from proxy.server.protocol import Protocol, drop_noise
from proxy.store import Report, Store

GRACE = 20
"""Seconds that requests under way are given when the server stops: with the drain less than Kubernetes' 30."""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_LARGE = 128 * 1024  # bytes; what glibc itself begins with

_log = logging.getLogger("models_proxy")


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True)
@click.option("--host", help="Listen here instead of at the file's server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of at the file's server.port.")
def serve(path: Path, host: str | None, port: int | None) -> None:
    """Ask all providers and serve the merged list.

    \b
    Examples:
      models-proxy serve
      models-proxy serve --config /etc/models-proxy.yaml --host 0.0.0.0 --port 80
    """
    try:
        config = read(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    host = config.server.host if host is None else host
    port = config.server.port if port is None else port
    if refusal := config.refuse_exposure(host) or _asks_itself(config, host, port):
        raise click.ClickException(refusal)
    run(config, StartupReport(config, str(path)), listen(host, port))


def _asks_itself(config: Config, host: str, port: int) -> str:
    """Why a provider must not be our own address: what it once listed would come back from ourselves for ever."""
    here = {host, "localhost", "127.0.0.1", "::1"}
    for provider in config.providers:
        address = urlsplit(provider.base_url)
        if port and address.port == port and address.hostname in here:
            return f"provider {provider.name} is this proxy's own address; mend its base_url or choose another port"
    return ""


def run(config: Config, announcement: StartupReport, sockets: list[socket.socket]) -> None:
    """Serve until somebody says stop."""
    _log_to_stderr()
    _keep_memory_small()
    announcement.begin()
    app = Proxy(config, on_report=announcement.row)
    # A host name that hangs must not keep the others from being looked up: uvloop resolves in libuv's threads (four,
    # unless this says otherwise before the loop begins), asyncio in the default executor.
    os.environ.setdefault("UV_THREADPOOL_SIZE", str(_resolver_threads(config)))
    _Server(app, config, announcement).run(sockets)


def listen(host: str, port: int, hint: str = "--host and --port name another place") -> list[socket.socket]:
    """One socket for each address of the host, bound before anybody is asked: a port in use is said at once."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [socket.create_server(address, family=family) for family, _, _, _, address in found]
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}: {error.strerror}; {hint}") from error


def _resolver_threads(config: Config) -> int:
    return min(4 + 4 * len(config.providers), 256)


def _keep_memory_small() -> None:
    """Bodies and lists go back to the system when nobody needs them any more; only glibc has to be told.

    It moves its border to the largest piece that was ever freed, and keeps what is smaller in a heap full of holes.
    And it gives each thread a heap of its own, although ours take turns: 3 MiB for the one that loads aiohttp.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_ARENA_MAX, 1)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    drop_noise()
    # These write whole URLs, with their query, at INFO.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class StartupReport:
    """What a person sees at start: a row for each provider as its first answer comes, then where to ask."""

    def __init__(self, config: Config, name: str) -> None:
        """`name`: of what is served, the file's as a rule."""
        self._config = config
        self._name = name
        names = [provider.name for provider in config.providers] + [skipped.name for skipped in config.skipped]
        self._width = max(map(len, names))
        self._failing: dict[str, str] = {}
        """Of each provider that was heard: the kind of its failure, "" while there is none."""

    def begin(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What a provider says may be in any language, and a terminal in any encoding.
            sys.stdout.reconfigure(errors="backslashreplace")
        say(f"models-proxy {__version__}, {self._name}: {_count(len(self._config.providers), 'provider')}")
        for warning in self._config.warnings:
            click.echo(f"warning: {warning}", err=True)

    def first_rows(self, reports: list[Report]) -> None:
        for skipped in self._config.skipped:
            self._print("left out", skipped.name, skipped.reason)
        declared = {provider.name for provider in self._config.providers if not provider.is_remote}
        for report in reports:
            if report.name in declared:
                self._failing[report.name] = ""
                self._print("up", report.name, f"{_count(report.models, 'model')}, declared in the file")

    def row(self, report: Report) -> None:
        """The first answer of a provider is a row; of later ones, the log tells what has changed."""
        failing = report.error.kind if report.error else ""
        before = self._failing.get(report.name)
        self._failing[report.name] = failing
        if before is None:
            self._print("failing" if failing else "up", report.name, _outcome(report))
        elif failing and failing != before:
            _log.warning("%s is failing: %s", report.name, _outcome(report))
        elif before and not failing:
            _log.info("%s is up again: %s", report.name, _outcome(report))

    def end(self, url: str, store: Store) -> None:
        """Who has not answered yet, then where to ask."""
        for provider in self._config.providers:
            if provider.name not in self._failing:
                self._print("waiting", provider.name, f"no answer within {provider.initial_wait:g} s; still asking")
        say(f"Listening on {url}")
        self.invite(url, store)

    def invite(self, url: str, store: Store) -> None:
        """The first thing to try."""
        key = "" if self._config.anonymous is not None else ' -H "Authorization: Bearer $KEY"'
        say(f"  curl{key} {url}/v1/models")

    def _print(self, state: str, name: str, text: str) -> None:
        say(f"  {state:<8}  {name:<{self._width}}  {text}")


def _outcome(report: Report) -> str:
    if report.error is not None:
        return f"{report.error.reason}; asked again in {report.next_try_in or 0:.0f} s"
    dropped = sum(report.answer.dropped.values()) if report.answer else 0
    note = f", {_count(dropped, 'entry', 'entries')} dropped" if dropped else ""
    return f"{_count(report.models, 'model')}{note}"


class _Server(uvicorn.Server):
    """uvicorn, with a word at the start and a drain at the end."""

    def __init__(self, app: Proxy, config: Config, announcement: StartupReport) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._proxy = app
        self._drain = config.server.drain_delay
        self._threads = _resolver_threads(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self._threads))
        self._announcement.first_rows(self._proxy.store.reports())
        # Modules and configuration stay for good. A full round of the garbage collector, which stops everything for
        # as long as it looks at them (40 ms), need not look at them.
        gc.freeze()
        await super().startup(sockets=sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._announcing = asyncio.create_task(self._announce(url), name="announce")

    async def _announce(self, url: str) -> None:
        await self._proxy.store.wait_until_warmed_up()
        self._announcement.end(url, self._proxy.store)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._announcing.cancel()
        await super().shutdown(sockets=sockets)
        if self.force_exit:
            # uvicorn leaves this out, and then logs a traceback of the task that still waits for it.
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: say "not ready", go on answering while load balancers notice, then stop.

        Ctrl-C, or a second signal: finish the requests under way and stop. One more: stop without them. uvicorn's own
        would end the process by the same signal afterwards; here a stop that was asked for ends with exit code 0.
        """
        if sig == signal.SIGTERM and not self._proxy.health.draining:
            self._proxy.health.draining = True
            asyncio.get_running_loop().call_later(self._drain, self._stop)
        elif self.should_exit:
            self.force_exit = True
        else:
            self._stop()

    def _stop(self) -> None:
        self._proxy.health.draining = True
        self.should_exit = True


def say(text: str) -> None:
    """A line for a person. When nobody reads any more (`| head`), the server goes on without a word."""
    try:
        click.echo(text)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
