"""`models-proxy serve`: start the server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from proxy.server.log import LogOptions, logging_to
from proxy.server.output import output
from proxy.server.run import listen, protect_process, run


@click.command()
@click.option(
    "--config", "path", type=click.Path(path_type=Path), default=Path("config.yaml"), show_default=True,
    help="The configuration file.",
)  # fmt: skip
@click.option("--host", help="Address to listen on; overrides server.host.")
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
    host = config.server.host if host is None else host
    port = config.server.port if port is None else port
    if refusal := config.refuse_exposure(host) or _refuse_loop(config, host, port):
        raise click.ClickException(refusal)
    # Bound before any provider is contacted, so that a port in use is reported at once.
    report_to, file = partial(StartupReport, config, str(path)), ConfigFile(path, host, port)
    start(config, report_to, bind(host, port), LogOptions(form, level), file)


@dataclass(frozen=True)
class ConfigFile:
    """The configuration file, which can change while the server runs."""

    path: Path
    host: str
    port: int

    def read(self, before: Sources) -> Config:
        """`before`: the state of the files of the configuration in use. Raises ConfigError."""
        return load(self.path, before)

    def refuse(self, before: Config, after: Config) -> str:
        """Why a valid configuration must not replace the present one, "" if it can."""
        problem = refuse_reload(before, after, self.host)
        return str(problem) if problem else _refuse_loop(after, self.host, self.port)


def start(
    config: Config,
    report_to: Callable[[Screen | None], StartupReport],
    sockets: list[socket.socket],
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
        run(config, report, sockets, log, file)


def bind(host: str, port: int, hint: str = "use --host or --port to listen on another address") -> list[socket.socket]:
    """The listening sockets. `hint`: what to do if listening fails."""
    try:
        return listen(host, port)
    except OSError as error:
        reason, _, _ = str(error.strerror).partition(" (while")  # `socket.create_server` appends the address
        raise click.ClickException(f"cannot listen on {host}, port {port}: {reason}; {hint}") from error


def _refuse_loop(config: Config, host: str, port: int) -> str:
    """The error if a provider may be this proxy itself, otherwise "": a model it once listed would never disappear."""
    own_hosts = {host, "localhost", "127.0.0.1", "::1"}
    for provider in config.providers:
        address = urlsplit(provider.base_url)
        if port and address.port == port and address.hostname in own_hosts:
            return f"provider {provider.name} may point to this proxy; change its base_url, or use another --port"
    return ""
