"""The command line."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import click
import uvicorn

from proxy import __version__
from proxy.app import Proxy
from proxy.config import Config
from proxy.configfile import read
from proxy.errors import ConfigError
from proxy.store import Report

GRACE = 25
"""Seconds that requests under way are given when the server stops."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="models-proxy")
def main() -> None:
    """One OpenAI-compatible model list in front of many providers."""


@main.command()
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
    if refusal := config.refuse_exposure(host):
        raise click.ClickException(refusal)
    _log_to_stderr()
    Announcement.begin(path, config)
    announcement = Announcement(config)
    app = Proxy(config, told=announcement.row)
    # A host name that hangs must not keep the others from being looked up: uvloop resolves in libuv's threads (four,
    # unless this says otherwise before the loop begins), asyncio in the default executor.
    os.environ.setdefault("UV_THREADPOOL_SIZE", str(_resolver_threads(config)))
    _Server(app, config, announcement, host, port).run()


def _resolver_threads(config: Config) -> int:
    return min(4 + 4 * len(config.providers), 256)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # These write whole URLs, with their query, at INFO.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Announcement:
    """What a person sees at start: a row for each provider as its first answer comes, then where to ask."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._width = max((len(provider.name) for provider in config.providers), default=0)
        self._open = {provider.name for provider in config.providers if provider.asked}

    @staticmethod
    def begin(path: Path, config: Config) -> None:
        click.echo(f"models-proxy {__version__}, {path}: {_count(len(config.providers), 'provider')}")
        for warning in config.warnings:
            click.echo(f"warning: {warning}", err=True)

    def first_rows(self, reports: list[Report]) -> None:
        for left_out in self._config.left_out:
            self._print("left out", left_out.name, left_out.reason)
        for report in reports:
            if report.name not in self._open:
                self._print("up", report.name, f"{_count(report.models, 'model')}, declared in the file")

    def row(self, report: Report) -> None:
        """The first answer of a provider; later ones are the log's."""
        if report.name not in self._open:
            return
        self._open.discard(report.name)
        if report.error is None:
            dropped = sum(report.answer.dropped.values()) if report.answer else 0
            note = f", {_count(dropped, 'entry', 'entries')} dropped" if dropped else ""
            self._print("up", report.name, f"{_count(report.models, 'model')}{note}")
        else:
            self._print(
                "failing", report.name, f"{report.error.reason}; asked again in {report.next_try_in or 0:.0f} s"
            )

    def end(self, url: str) -> None:
        """Where to ask; who has not answered yet is named first."""
        for provider in self._config.providers:
            if provider.name in self._open:
                self._print("waiting", provider.name, f"no answer within {provider.patience:g} s; still asking")
        key = "" if self._config.anonymous is not None else ' -H "Authorization: Bearer $KEY"'
        click.echo(f"Listening on {url}\n  curl{key} {url}/v1/models")

    def _print(self, state: str, name: str, text: str) -> None:
        click.echo(f"  {state:<8}  {name:<{self._width}}  {text}")


class _Server(uvicorn.Server):
    """uvicorn, with a word at the start and a drain at the end."""

    def __init__(self, app: Proxy, config: Config, announcement: Announcement, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http="httptools",
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._proxy = app
        self._drain = config.server.drain
        self._threads = _resolver_threads(config)
        self._announcement = announcement
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self._threads))
        self._announcement.first_rows(self._proxy.store.reports())
        await super().startup(sockets=sockets)
        if self.started:
            self._announcing = asyncio.create_task(self._announce(), name="announce")

    async def _announce(self) -> None:
        await self._proxy.store.wait_until_settled()
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._announcement.end(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: say "not ready", go on answering while load balancers notice, then stop. Again, or Ctrl-C: stop."""
        if sig == signal.SIGTERM and not self._proxy.health.draining:
            self._proxy.health.draining = True
            asyncio.get_running_loop().call_later(self._drain, super().handle_exit, sig, frame)
        else:
            super().handle_exit(sig, frame)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
