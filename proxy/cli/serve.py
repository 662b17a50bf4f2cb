"""`models-proxy serve`: start the server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import click

from proxy.cli.startup import Screen, StartupReport
from proxy.clock import SystemClock
from proxy.config import Config, ConfigError
from proxy.config.logs import LogFormat, LogLevel
from proxy.config.reload_rules import refuse_reload
from proxy.config.sources import Sources
from proxy.server.config_process import load, load_first
from proxy.server.listeners import CannotListen, Listeners, listening
from proxy.server.log import LogOptions, logging_to
from proxy.server.output import output
from proxy.server.process_setup import protect_process
from proxy.server.run import run
from proxy.server.shared_sessions import first_sessions


@click.command()
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True,
    help="The configuration file.",
)  # fmt: skip
@click.option("--host", help="Address to listen on, or unix:PATH; overrides server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; overrides server.port.")
@click.option(
    "--log-level", "level", type=click.Choice(get_args(LogLevel)),
    help="Lowest level of log lines; overrides logging.level.",
)  # fmt: skip
@click.option(
    "--log-format", "form", type=click.Choice(get_args(LogFormat)),
    help="Format of log lines; overrides logging.format. auto: console on a terminal, otherwise json.",
)  # fmt: skip
def serve(path: Path, host: str | None, port: int | None, level: LogLevel | None, form: LogFormat | None) -> None:
    """Serve the merged model list and forward calls.

    \b
    Examples:
      models-proxy serve
      models-proxy serve --config /etc/models-proxy.yaml --host 0.0.0.0 --port 80
    """
    protect_process()
    try:
        config = load_first(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    given = host, port
    host = config.server.host if host is None else host
    port = config.server.port if port is None else port
    # Imported before the address is bound, because connections are accepted from then on.
    if config.server.workers > 1:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise click.ClickException("`server.workers` is not supported on this system; set it to 1")
        import_module("proxy.cli.serve_workers")
    # Bound before any provider is contacted, so that a port in use is reported at once.
    with bound(host, port, config.server.socket_mode) as listeners:
        file = ConfigFile(path, host, listeners)
        if refusal := config.refuse_exposure(*listeners.addresses) or file.refuse_loop(config):
            raise click.ClickException(refusal)
        report_to, options = partial(StartupReport, config, str(path)), LogOptions(form, level)
        if config.server.workers == 1:
            start(config, report_to, listeners, options, file)
            return
        from proxy.cli.serve_workers import SharedFiles, start_workers

        start_workers(config, report_to, listeners, options, SharedFiles(path, *given, listeners, file.refuse))


@dataclass(frozen=True)
class ConfigFile:
    """The configuration file, which can change while the server runs."""

    path: Path
    host: str
    listeners: Listeners

    def read(self, before: Sources) -> Config:
        """`before`: the state of the files of the configuration in use. Raises ConfigError."""
        return load(self.path, before)

    def refuse(self, before: Config, after: Config) -> str:
        """Why a valid configuration must not replace the current one, "" if it can."""
        problem = refuse_reload(before, after, self.listeners.addresses)
        return str(problem) if problem else self.refuse_loop(after)

    def refuse_loop(self, config: Config) -> str:
        """The error if a provider may be this proxy itself, otherwise "": a model it once listed would stay forever."""
        own_hosts = {self.host, *self.listeners.addresses, "localhost", "127.0.0.1", "::1"}
        for provider in config.providers:
            address = urlsplit(provider.base_url)
            if address.port in self.listeners.ports and address.hostname in own_hosts:
                return f"provider {provider.name} may point to this proxy; change its base_url, or use another --port"
        return ""


def start(
    config: Config,
    report_to: Callable[[Screen | None], StartupReport],
    listeners: Listeners,
    options: LogOptions,
    file: ConfigFile | None = None,
) -> None:
    """Report the start of the server, and serve until it is stopped.

    `report_to` creates the report, which prints to a screen, or logs if the log is for programs (None). `file`: None if
    the configuration is constant.
    """
    with output(sys.stdout, 1) as out, logging_to(sys.stderr, 2, config, options, SystemClock.time) as log:
        report = report_to(None if log.is_json else Screen(out, log.print))
        report.begin()
        run(config, report, listeners, log, file, sessions=first_sessions(config))


@contextmanager
def bound(
    host: str, port: int, mode: int = 0, hint: str = "use --host or --port to listen on another address"
) -> Iterator[Listeners]:
    """The listening sockets (`server.listeners`). `hint`: what to do if listening fails."""
    with ExitStack() as stack:
        try:
            listeners = stack.enter_context(listening(host, port, mode))
        except CannotListen as error:
            raise click.ClickException(f"{error}; {error.hint or hint}") from error
        yield listeners
