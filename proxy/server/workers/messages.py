"""What the supervisor and its workers send each other."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Stop(Struct, array_like=True, tag=True):
    """To a worker: stop, as after SIGTERM (`drains`) or SIGINT. Ignored if it is stopping already."""

    drains: bool


class EndCalls(Struct, array_like=True, tag=True):
    """To a worker: end the requests in progress, and stop."""


class Lead(Struct, array_like=True, tag=True):
    """To a worker: watch the files of the configuration, and report the states of providers, for all."""


class Announce(Struct, array_like=True, tag=True):
    """To the leader: all workers are ready; report the URL."""


class Reload(Struct, array_like=True, tag=True):
    """To the leader: apply the configuration as it is in its files, and answer with `Reloaded`."""

    request: int
    cause: str
    """For the log."""


class Apply(Struct, array_like=True, tag=True):
    """To a worker: apply a configuration that the leader has loaded, and answer with `Applied`."""

    packed: bytes


class Answer(Struct, array_like=True, tag=True):
    """To the worker that has sent `ReloadAll`."""

    request: int
    result: Reloaded
    generations: dict[int, str]
    """Number of each worker -> the generation of the configuration that it uses."""


class Ready(Struct, array_like=True, tag=True):
    """From a worker: its lists are there, or `initial_wait` is over."""

    generation: str


class Applied(Struct, array_like=True, tag=True):
    """From a worker: the generation of the configuration that it uses now."""

    generation: str


class Settings(Struct, array_like=True, frozen=True):
    """What the supervisor needs of a configuration."""

    host: str
    """"" with sockets that another process has created."""
    port: int
    socket_mode: int
    workers: int
    stop_seconds: float
    """How long a worker can take from SIGTERM to its end."""

    @property
    def address(self) -> tuple[str, int, int]:
        return self.host, self.port, self.socket_mode


class Loaded(Struct, array_like=True, tag=True):
    """From the leader: it uses another configuration, for all."""

    generation: str
    packed: bytes
    """For `proxy.config.handover.unpacked`."""
    settings: Settings


class State(Struct, array_like=True, tag=True):
    """From the leader, passed on to all others: the state of reloading (`telemetry.Reloads`)."""

    last_success: float
    last_failure: float | None
    problems: tuple[str, ...]
    restart_needed: tuple[str, ...]


class ReloadAll(Struct, array_like=True, tag=True):
    """From a worker: an administrator wants a reload. The answer is `Answer`."""

    request: int


class Reloaded(Struct, array_like=True, tag=True):
    """From the leader: the result of `Reload`."""

    request: int
    payload: dict[str, Any] | None = None
    """What has changed; None after a failure."""
    problems: tuple[str, ...] = ()
    """Why the configuration was not applied."""
    refusal: str = ""
    """Why the files were not read."""


ToWorker = Stop | EndCalls | Lead | Announce | Reload | Apply | Answer | State
FromWorker = Ready | Applied | Loaded | State | ReloadAll | Reloaded
Message = (
    Stop
    | EndCalls
    | Lead
    | Announce
    | Reload
    | Apply
    | Answer
    | Ready
    | Applied
    | Loaded
    | State
    | ReloadAll
    | Reloaded
)
