"""A worker's side: does what the supervisor sends, and lets the leader reload the configuration for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from proxy.api.workers import Condition, OfWorkers, Subject
from proxy.config import Config, ConfigError
from proxy.errors import ConfigurationRejected, ReloadDisabled, describe_bug
from proxy.printable import printable
from proxy.server.workers.channel import ChannelClosed
from proxy.server.workers.conditions import WorkerConditions
from proxy.server.workers.files import WorkerFiles
from proxy.server.workers.heartbeats import Heartbeat
from proxy.server.workers.messages import (
    Announce,
    Answer,
    Applied,
    Apply,
    EndCalls,
    Gathered,
    Lead,
    Loaded,
    Measure,
    Measured,
    Message,
    OtherConditions,
    Ready,
    Reload,
    ReloadAll,
    Reloaded,
    State,
    Stop,
    ToWorker,
)
from proxy.server.workers.processes import Start
from proxy.server.workers.sharing import WorkerSharing
from proxy.server.workers.usage import WorkerUsage
from proxy.server.workers.usage_messages import GetUsage, UsageParts, UsageRows
from proxy.server.workers.values import WorkerValues
from proxy.store import Report as ProviderReport
from proxy.store import Store

if TYPE_CHECKING:
    from proxy.server.app import Proxy

_FLUSH_SECONDS = 1.0
"""How long the last message is waited for at the end."""

_log = logging.getLogger("models_proxy")


class Report(Protocol):
    """What the leader reports for all workers; see `proxy.server.run.Observer`."""

    is_quiet: bool

    def on_start(self, reports: Sequence[ProviderReport]) -> None: ...
    def on_report(self, report: ProviderReport) -> None: ...
    def on_ready(self, url: str, store: Store) -> None: ...


class Server(Protocol):
    """The server of this process."""

    def stop(self, *, drains: bool) -> None: ...
    def end_calls(self) -> None: ...


class WorkerProcess:
    """The connection of this process to the supervisor. An observer of `proxy.server.run`."""

    def __init__(self, start: Start, files: WorkerFiles, report: Report) -> None:
        self._start = start
        self._files = files
        self._report = report
        report.is_quiet = not start.reports_start
        self._is_leader = start.reports_start
        self._is_new = not start.reports_start
        """Whether the first state of a provider is no news: another worker has reported it."""
        self._announced: tuple[str, Store] | None = None
        """What is reported when all workers are ready."""
        self._tasks: set[asyncio.Task[object]] = set()
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._flushed = asyncio.Event()
        """Set while everything is sent."""
        self._numbers = count(1)
        self.sharing = WorkerSharing()
        self._values = WorkerValues()
        self._usage = WorkerUsage()
        self._heartbeat = Heartbeat(start.heartbeat)
        self._conditions = WorkerConditions()

    # -- life cycle ----------------------------------------------------------------------------------------------------

    def connect(self, app: Proxy, server: Server) -> None:
        """Do what the supervisor sends, from now on."""
        self._app, self._server = app, server
        app.reload_files = self._reload_all
        self._lead(self._is_leader)
        app.reloader.on_result = self._send_state
        app.reloader.runs_with(self._start.settings.unlike(self._files.settings_of(app.deployment.config)))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._start.channel.fileno(), self._receive)
        self.sharing.connect(self._send)
        self._values.connect(self._send)
        self._usage.connect(self._send, app.usage)
        self._heartbeat.start(self._send)
        self._report_condition()
        self._begin(app.deployment.inference())  # hints about calls are received from now on

    def on_start(self, reports: Sequence[ProviderReport]) -> None:
        self._report.on_start(reports)

    def on_report(self, report: ProviderReport) -> None:
        self._report.on_report(report)

    def on_ready(self, url: str, store: Store) -> None:
        self._announced = url, store
        self._is_new = False
        self._lead(self._is_leader)
        self._report_condition()
        self._send(Ready(self._app.deployment.config.generation))

    def applied(self, config: Config) -> None:
        """This process uses another configuration."""
        packed = self._files.packed(config.generation) if self._is_leader else None
        if packed is None:
            self._send(Applied(config.generation))
        else:
            self._send(Loaded(config.generation, packed, self._files.settings_of(config)))

    def _report_condition(self) -> None:
        self._conditions.start(lambda: self._app.deployment.health.condition, self._send)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        channel = self._start.channel
        try:
            channel.send(message)
        except ChannelClosed:
            self._disconnected()
        else:
            self._flush_later()

    def _flush_later(self) -> None:
        descriptor = self._start.channel.fileno()
        if self._start.channel.is_writing:
            self._flushed.clear()
            self._loop.add_writer(descriptor, self._flush)
        else:
            self._flushed.set()
            self._loop.remove_writer(descriptor)

    def _flush(self) -> None:
        try:
            self._start.channel.flush()
        except ChannelClosed:
            self._disconnected()
        else:
            self._flush_later()

    def _receive(self) -> None:
        try:
            for message in self._start.channel.receive():
                self._handle(message)
        except ChannelClosed:
            self._disconnected()

    def _disconnected(self) -> None:
        """Without the supervisor nothing replaces this process: another supervisor must be able to start."""
        self._loop.remove_reader(self._start.channel.fileno())
        self._loop.remove_writer(self._start.channel.fileno())
        self._flushed.set()
        self._heartbeat.stop()
        self._conditions.stop()
        _log.error("worker %d: the supervisor has ended, so this worker stops", self._start.number)
        self._server.stop(drains=False)

    def _handle(self, message: ToWorker) -> None:
        match message:
            case Stop():
                self._lead(False)
                self._server.stop(drains=message.drains)
            case EndCalls():
                self._server.end_calls()
            case Lead():
                self._lead(True)
            case Announce():
                assert self._announced, "all workers are ready"
                self._report.on_ready(*self._announced)
            case Reload():
                self._begin(self._reload(message))
            case Apply():
                self._begin(self._apply(message.packed))
            case Answer():
                if (waiting := self._answers.pop(message.request, None)) and not waiting.done():
                    waiting.set_result(message)
            case State():
                self._set_state(message)
            case OtherConditions():
                self._conditions.received(message)
            case Measure():
                self._begin(self._measure(message))
            case Gathered():
                self._values.gathered(message)
            case UsageRows() | GetUsage() | UsageParts():
                self._usage.handle(message)
            case _:
                self.sharing.handle(message)

    def _lead(self, is_leader: bool) -> None:
        """Watch the files, and report changes of lists, for all workers; or leave that to another one."""
        self._is_leader = self._app.reloader.watches = self._app.telemetry.counts_models = is_leader
        self._report.is_quiet = not is_leader or self._is_new
        self._app.usage.lead(is_leader)

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- reloads -------------------------------------------------------------------------------------------------------

    async def _reload(self, message: Reload) -> None:
        """Read the files, for all workers."""
        request = message.request
        try:
            result = Reloaded(request, payload=dict(await self._app.reloader.reload(message.cause)))
        except ConfigurationRejected as error:
            result = Reloaded(request, problems=tuple(error.problems))
        except ReloadDisabled as error:
            _log.warning("%s%s", message.cause, error.message)
            result = Reloaded(request, refusal=error.message)
        self._send(result)

    async def _apply(self, packed: bytes) -> None:
        """Use what the leader has read."""
        try:
            config = await asyncio.to_thread(self._files.restored, packed)
            await self._app.reloader.apply(config)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("worker %d cannot use the configuration: %s", self._start.number, printable(str(problem)))
        except Exception as bug:
            text = "internal error: worker %d cannot use the configuration: %s"
            _log.error(text, self._start.number, describe_bug(bug))

    async def _reload_all(self) -> Mapping[str, Any]:
        """For an administrator. Raises ConfigurationRejected and ReloadDisabled."""
        number = next(self._numbers)
        waiting = self._answers[number] = self._loop.create_future()
        self._send(ReloadAll(number))
        answer = await waiting
        result = answer.result
        if result.refusal:
            raise ReloadDisabled(result.refusal)
        if result.payload is None:
            raise ConfigurationRejected(result.problems)
        workers = [{"worker": each, "generation": answer.generations[each]} for each in sorted(answer.generations)]
        return {**result.payload, "workers": workers}

    def _send_state(self) -> None:
        reloads = self._app.reloads
        self._send(
            State(reloads.last_success, reloads.last_failure, tuple(reloads.problems), tuple(reloads.restart_needed))
        )

    def _set_state(self, state: State) -> None:
        reloads = self._app.reloads
        reloads.last_success, reloads.last_failure = state.last_success, state.last_failure
        reloads.problems, reloads.restart_needed = state.problems, state.restart_needed

    # -- values of all workers -----------------------------------------------------------------------------------------

    @property
    def others(self) -> Sequence[Condition]:
        """See `proxy.api.workers.Workers`."""
        return self._conditions.others

    async def values(self, subject: Subject, own: bytes) -> OfWorkers:
        """See `proxy.api.workers.Workers`."""
        return await self._values.gather(subject, own)

    async def usage(self, query: bytes) -> Sequence[bytes]:
        """See `proxy.api.workers.Workers`."""
        return await self._usage.fetch(query)

    async def _measure(self, message: Measure) -> None:
        """Answer for this worker."""
        deployment = self._app.deployment
        if message.subject == "calls":
            data = deployment.health.packed_calls()
        elif message.subject == "status":
            data = await deployment.status.packed()
        else:
            data = await deployment.metrics.packed()
        self._send(Measured(message.request, message.subject, data))

    async def finish(self) -> None:
        """Send the counters of this worker to the supervisor. Called when it has served its last request."""
        self._app.usage.hand_over()
        await self._measure(Measure(0, "metrics"))
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._flushed.wait()
