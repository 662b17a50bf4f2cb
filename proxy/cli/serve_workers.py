"""`models-proxy serve` with several workers. Imported for those only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from proxy.access.sessions import Sessions
from proxy.api.request import renew_process_id
from proxy.cli.startup import Screen, StartupReport
from proxy.clock import SystemClock
from proxy.config import Config
from proxy.config.handover import unpacked
from proxy.config.reload_rules import restart_digest
from proxy.config.sources import Sources
from proxy.server.config_process import Contents, contents
from proxy.server.listeners import Listeners, listeners_of, listening
from proxy.server.log import Log, LogOptions, logging_to
from proxy.server.output import output
from proxy.server.run import LAST_SECONDS, run
from proxy.server.shared_sessions import first_sessions
from proxy.server.stored_counters import in_time, stored_counters
from proxy.server.stored_usage import add_rest
from proxy.server.systemd import service_manager
from proxy.server.workers.files import WorkerFiles
from proxy.server.workers.heartbeats import INTERVAL
from proxy.server.workers.lines import numbered
from proxy.server.workers.messages import Settings
from proxy.server.workers.processes import Start
from proxy.server.workers.sockets import Sockets
from proxy.server.workers.supervisor import Supervisor
from proxy.server.workers.worker import WorkerProcess


class Refuses(Protocol):
    """Returns why a valid configuration must not replace the current one, "" if it can."""

    def __call__(self, before: Config, after: Config) -> str: ...


@dataclass(frozen=True)
class SharedFiles:
    """The configuration file of all workers. `host` and `port`: of the command line, None for those of the file."""

    path: Path
    host: str | None
    port: int | None
    listeners: Listeners
    refuse: Refuses

    def contents(self, before: Sources) -> Contents:
        return contents(self.path, before)

    def restored(self, packed: bytes) -> Config:
        return unpacked(packed, str(self.path))

    def settings_of(self, config: Config) -> Settings:
        server, is_fixed = config.server, self.listeners.handed_down
        return Settings(
            "" if is_fixed else server.host if self.host is None else self.host,
            0 if is_fixed else server.port if self.port is None else self.port,
            server.socket_mode,
            server.workers,
            server.drain_delay + server.shutdown_timeout + LAST_SECONDS,
            restart_digest(config),
        )


def start_workers(
    config: Config,
    report_to: Callable[[Screen | None], StartupReport],
    listeners: Listeners,
    options: LogOptions,
    files: SharedFiles,
    heartbeat: float = INTERVAL,
) -> None:
    """Report the start, and supervise the workers until a signal stops them. `heartbeat`: seconds between two."""
    sockets = Sockets(listeners)  # at once: a connection to the current ones would be reset
    preload()
    sessions = first_sessions(config)
    with ExitStack() as stack:
        log = stack.enter_context(logging_to(sys.stderr, 2, config, options, SystemClock.time, is_direct=True))
        screen = None if log.is_json else Screen(_print, log.print)
        report_to(screen).begin()
        stored = stored_counters(config)
        run_worker = partial(_run_worker, config, report_to, options, files, log, sessions)
        supervisor = Supervisor(
            files.settings_of(config),
            sockets,
            run_worker,
            partial(_bind, stack),
            service_manager(),
            SystemClock.monotonic,
            heartbeat,
            in_time(stored.take, b"") if stored else b"",
        )
        counters = supervisor.run()
        if stored:
            in_time(partial(stored.keep, counters), None)
        directory, rest = config.store.directory, supervisor.gathering.usage.rest
        if directory and rest:
            in_time(partial(add_rest, directory, config.server.timezone, rest), None)


def _bind(stack: ExitStack, settings: Settings) -> Sockets:
    """The sockets of another address. Raises CannotListen and OSError."""
    return Sockets(stack.enter_context(listening(settings.host, settings.port, settings.socket_mode)))


def _print(text: str) -> None:
    if sys.stdout:
        with suppress(OSError):
            os.write(1, f"{text}\n".encode(sys.stdout.encoding, "backslashreplace"))


def preload() -> None:
    """Import the modules of calls before the workers are started.

    The workers share their memory, and the id of the server in lock files (`proxy.store.disk`).
    """
    import proxy.api.collector
    import proxy.api.inference
    import proxy.api.responses
    import proxy.inference.failover
    import proxy.store.disk
    import proxy.upstream.calls  # noqa: F401


def _run_worker(
    config: Config,
    report_to: Callable[[Screen | None], StartupReport],
    options: LogOptions,
    files: SharedFiles,
    before: Log,
    sessions: Sessions,
    start: Start,
) -> None:
    """Serve in the process of one worker. `before`: the log of the supervisor, which is not used here."""
    before.detach()
    renew_process_id()
    if start.packed is not None:
        config = files.restored(start.packed)
    own = WorkerFiles(files, start)
    config = own.part_of(config)
    label = numbered(start.number)
    with output(sys.stdout, 1) as out, logging_to(sys.stderr, 2, config, options, SystemClock.time, label) as log:
        report = report_to(None if log.is_json else Screen(out, log.print))
        worker = WorkerProcess(start, own, report)
        listeners = listeners_of(start.sockets, handed_down=not start.settings.host)
        run(config, worker, listeners, log, own, worker, sessions)
