"""The process that starts the workers, replaces those that end, and passes messages between them.

It serves no requests and parses no files: it has one thread, waits for events, and keeps what must outlive a worker,
which are the listening sockets and the last valid configuration. So workers can be replaced while `config.yaml` is
invalid, and connections that wait at the socket of a worker that was killed are served by the next one.

gunicorn's arbiter does not fit: its workers share one socket, or create one each, with which waiting connections are
lost; and it ends the service when a worker fails at its start.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
from collections.abc import Callable

from proxy.errors import describe_bug
from proxy.server import systemd as service
from proxy.server.listeners import CannotListen
from proxy.server.systemd import ServiceManager
from proxy.server.workers.channel import Channel
from proxy.server.workers.conditions import Conditions
from proxy.server.workers.fleet import Fleet
from proxy.server.workers.fork import ended, exit_reason, fork, kill
from proxy.server.workers.gathering import Gathering
from proxy.server.workers.heartbeats import INTERVAL, Heartbeats
from proxy.server.workers.links import Links
from proxy.server.workers.messages import (
    Alive,
    Announce,
    Applied,
    Apply,
    EndCalls,
    FromWorker,
    Lead,
    Loaded,
    Message,
    OwnCondition,
    Ready,
    ReloadAll,
    Reloaded,
    Settings,
    State,
    Stop,
    ToWorker,
    ValueMessage,
)
from proxy.server.workers.processes import Place, Start, Worker
from proxy.server.workers.reloading import Reloading
from proxy.server.workers.shared_state import SharedState
from proxy.server.workers.signals import Signals
from proxy.server.workers.sockets import Sockets
from proxy.server.workers.timer import SingleTimer

KILL_SECONDS = 4.0
"""Seconds after the latest end of a worker that stops, until it is killed."""

_HANGS = "worker %d has not responded for %d s, so it is killed: its process is stopped, or its event loop is blocked"

_log = logging.getLogger("models_proxy")


class Supervisor:
    """Runs until a signal stops it, and all workers have ended."""

    def __init__(
        self,
        settings: Settings,
        sockets: Sockets,
        run_worker: Callable[[Start], None],
        bind: Callable[[Settings], Sockets],
        manager: ServiceManager,
        monotonic: Callable[[], float],
        heartbeat: float = INTERVAL,
        counters: bytes = b"",
    ) -> None:
        """`run_worker` runs in a new process, which ends when it returns; `bind` returns the sockets of another
        address, and raises CannotListen and OSError. `heartbeat`: seconds between two of each worker;
        `counters`: those of an earlier server (`telemetry.merging.counters_of`)."""
        self._fleet = Fleet(settings, sockets)
        self._configured = settings
        """Those of the last valid configuration."""
        self._run_worker = run_worker
        self._bind = bind
        self._manager = manager
        self._timer = SingleTimer(monotonic)
        self._now = monotonic
        self._signals = Signals()
        self._links = Links(self._signals, self._disconnected)
        self._packed: bytes | None = None
        self._state: State | None = None
        self._leader: Worker | None = None
        self._is_announced = False
        self._is_stopping = False
        self._shared = SharedState(self._links.send, monotonic)
        self.gathering = Gathering(self._links.send, monotonic, counters)
        self._conditions = Conditions(self._links.send)
        self._reloading = Reloading(self._links.send, self._reloaded)
        self._heartbeats = Heartbeats(monotonic, heartbeat)

    def run(self) -> bytes:
        """Supervise. Returns the counters of all workers when they have ended after SIGTERM or SIGINT."""
        gc.collect()
        gc.freeze()  # collections in the workers must not write to the memory that they share
        self._manager.start(self._service_state, self._timer)
        while not self._is_stopping or self._fleet.workers:
            self._start_due()
            for worker, message in self._links.wait(self._seconds()):
                self._receive(worker, message)
            self._on_signals()
            self._reap()
            self._on_time()
        self._manager.stop()
        return self.gathering.ended

    def _service_state(self) -> service.State:
        """The state for systemd: ready when all workers have been ready once."""
        ready = sum(worker.is_ready for worker in self._fleet.workers)
        return service.State(self._is_announced, f"{ready} of {self._fleet.settings.workers} workers ready")

    def _seconds(self) -> float:
        """How long nothing is to do without an event."""
        starts = [place.start_at for place in self._fleet.empty_places()]
        kills = [worker.kill_at for worker in self._fleet.workers]
        requests = (self._reloading.next_at, self.gathering.next_at, self._timer.due_at)
        until = min([self._heartbeats.next_at, *kills, *requests, *([] if self._is_stopping else starts)])
        return max(0.0, until - self._now())

    def _on_time(self) -> None:
        now = self._now()
        for worker in self._fleet.workers:
            if now >= worker.kill_at:
                _log.error("worker %d did not stop in time, so it is killed", worker.place.number)
                self._kill(worker)
        for worker in self._heartbeats.hanging(self._fleet.workers):
            _log.error(_HANGS, worker.place.number, (worker.missed - 1) * self._heartbeats.interval)
            self._kill(worker)
        self._timer.run_due()
        self._reloading.finish(self._fleet.workers, now)
        self.gathering.finish(self._fleet.workers)

    # -- signals -------------------------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        for number in self._signals.arrived():
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(drains=number == signal.SIGTERM)
            elif number == signal.SIGHUP and not self._is_stopping:
                self._manager.reload(True)
                self._reloading.request(None, 0, self._leader)

    def _stop(self, *, drains: bool) -> None:
        self._manager.stopping()
        self._conditions.end(self._fleet.workers)
        for worker in self._fleet.workers:
            if self._is_stopping:
                self._links.send(worker, EndCalls())
            else:
                self._retire(worker, drains=drains)
        self._is_stopping = True

    # -- starts and ends -----------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        for place in [] if self._is_stopping else self._fleet.empty_places():
            if place.start_at <= self._now():
                self._start(place)

    def _start(self, place: Place) -> None:
        try:
            pid, end = fork(lambda end: self._be_worker(place, end))
        except OSError as error:
            seconds = place.failed(self._now())
            _log.error(
                "worker %d could not be started: %s; next attempt in %d s", place.number, error.strerror, seconds
            )
            return
        worker = place.worker = Worker(pid, place, Channel(end, FromWorker), self._now())
        self._links.add(worker)
        self._shared.add(worker)
        if self._state:
            self._links.send(worker, self._state)
        if self._leader is None:
            self._appoint()

    def _be_worker(self, place: Place, end: socket.socket) -> None:
        """Runs in the new process: close what is the supervisor's, and serve."""
        self._links.close()
        self._signals.close()
        for worker in self._fleet.workers:
            worker.channel.close()
        self._fleet.close_sockets_but(place)
        reports_start = self._leader is None and not self._is_announced
        channel = Channel[ToWorker](end, ToWorker)
        settings, interval = self._fleet.settings, self._heartbeats.interval
        self._run_worker(Start(place.number, settings, place.sockets, channel, self._packed, reports_start, interval))

    def _reap(self) -> None:
        for worker in self._fleet.workers:
            code = ended(worker.pid)
            if code is not None:
                self._ended(worker, code)

    def _ended(self, worker: Worker, code: int) -> None:
        for message in self._links.rest(worker):
            self._receive(worker, message)
        self._shared.remove(worker)
        self.gathering.remove(worker)
        if self._fleet.ended(worker):
            seconds = worker.place.ended(self._now())
            if not self._is_stopping:
                _log.error("worker %d %s; it is replaced in %d s", worker.place.number, exit_reason(code), seconds)
        if self._leader is worker:
            self._appoint()
        self._conditions.remove(worker, self._fleet.workers)
        self._announce()
        self._continue_rolling()

    def _retire(self, worker: Worker, *, drains: bool) -> None:
        """Let a worker finish its requests and end."""
        if not worker.is_stopping:
            worker.is_stopping = True
            worker.kill_at = self._now() + self._fleet.settings.stop_seconds + KILL_SECONDS
            self._links.send(worker, Stop(drains))
        if self._leader is worker and not self._is_stopping:
            self._appoint()

    def _kill(self, worker: Worker) -> None:
        worker.kill_at = float("inf")
        kill(worker.pid)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _disconnected(self, worker: Worker) -> None:
        """A worker ends, or does not read what it is sent."""
        worker.kill_at = min(worker.kill_at, self._now() + KILL_SECONDS)

    def _receive(self, worker: Worker, message: FromWorker) -> None:
        """A bug must not end the service."""
        try:
            self._handle(worker, message)
        except Exception as bug:
            _log.critical("internal error in the supervisor: %s", describe_bug(bug))

    def _handle(self, worker: Worker, message: FromWorker) -> None:
        if isinstance(message, ValueMessage):
            self.gathering.handle(worker, message, self._fleet.workers)
            return
        match message:
            case Alive():
                self._heartbeats.received(worker)
            case OwnCondition():
                self._conditions.changed(worker, message.data, self._fleet.workers)
            case Ready():
                self._ready(worker, message.generation)
            case Applied():
                worker.generation = message.generation
            case Loaded():
                self._loaded(worker, message)
            case State():
                self._state = message
                self._send_to_others(worker, message)
            case ReloadAll():
                self._reloading.request(worker, message.request, self._leader)
            case Reloaded():
                self._reloading.reloaded(message, self._now())
            case _:
                self._shared.handle(worker, message, self._fleet.others(worker))

    def _send_to_others(self, worker: Worker, message: Message) -> None:
        for other in self._fleet.others(worker):
            self._links.send(other, message)

    def _loaded(self, worker: Worker, message: Loaded) -> None:
        self._packed, self._configured = message.packed, message.settings
        worker.generation = message.generation
        self._fleet.configure(message.settings)
        self._send_to_others(worker, Apply(message.packed))

    def _appoint(self) -> None:
        """Choose the leader."""
        self._leader = self._fleet.leader()
        self.gathering.usage.set_leader(self._leader)
        if self._leader:
            self._links.send(self._leader, Lead())
            self._reloading.set_leader(self._leader)

    def _ready(self, worker: Worker, generation: str) -> None:
        worker.is_ready, worker.generation = True, generation
        self._announce()
        self._continue_rolling()

    def _announce(self) -> None:
        """Report the URL once, when all workers are ready."""
        if not self._is_announced and self._leader and all(each.is_ready for each in self._fleet.workers):
            self._is_announced = True
            self._links.send(self._leader, Announce())

    # -- replacing all workers -----------------------------------------------------------------------------------------

    def _reloaded(self, is_loaded: bool) -> None:
        """After SIGHUP: apply settings that need other processes. One is replaced after the other."""
        self._manager.reload(False)
        wanted = self._configured
        if not is_loaded or wanted == self._fleet.settings or self._fleet.old:
            return
        try:
            moves = wanted.address != self._fleet.settings.address
            self._fleet.replace_all(wanted, self._bind(wanted) if moves else None)
        except (CannotListen, OSError) as error:
            _log.error("workers not replaced: %s", error)
            return
        self._state = self._state and self._state.after_restart
        _log.info("replacing %d workers by %d", len(self._fleet.old), wanted.workers)

    def _continue_rolling(self) -> None:
        for worker in self._fleet.next_step():
            self._retire(worker, drains=False)
