"""What the supervisor and its workers send each other."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy.api.workers import Subject
from proxy.limits.claims import Claim, Usage
from proxy.server.workers.usage_messages import UsageMessage, UsageReply


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


class Alive(Struct, array_like=True, tag=True):
    """From a worker, at intervals: its event loop runs."""


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
    further: str = ""
    """The digest of further settings that require new processes."""

    @property
    def address(self) -> tuple[str, int, int]:
        return self.host, self.port, self.socket_mode

    def unlike(self, other: Settings) -> dict[str, Any]:
        """Return the settings that require new processes and differ from another configuration."""
        names = ("host", "port", "socket_mode", "workers")
        return {name: own for name in names if (own := getattr(self, name)) != getattr(other, name)}


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

    @property
    def after_restart(self) -> State:
        """The state in new processes, which use the current configuration."""
        return replace(self, restart_needed=())


class ReloadAll(Struct, array_like=True, tag=True):
    """From a worker: an administrator has requested a reload. The answer is `Answer`."""

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


# -- shared state: `proxy.sharing` describes what it means -------------------------------------------------------------


class Begin(Struct, array_like=True, tag=True):
    """From a worker: whether to fetch a list. The answer is `Began`."""

    request: int
    name: str
    known: int
    is_forced: bool


class News(Struct, array_like=True, tag=True):
    """To a worker: what another one has published (`proxy.sharing.Published`)."""

    name: str
    version: int
    list: bytes | None
    list_age: float
    failure: bytes | None
    failure_age: float


class Began(Struct, array_like=True, tag=True):
    """To a worker. `token`: 0 if it must not fetch, because of the `news`, or because another worker does."""

    request: int
    token: int
    news: News | None


class Publish(Struct, array_like=True, tag=True):
    """From a worker. The answer is `Accepted`."""

    request: int
    name: str
    token: int
    kind: Literal["list", "failure"]
    data: bytes
    seconds: float


class Accepted(Struct, array_like=True, tag=True):
    """To a worker: whether what it has published counts."""

    request: int
    is_current: bool


class Abandon(Struct, array_like=True, tag=True):
    """From a worker."""

    name: str
    token: int


class Hint(Struct, array_like=True, tag=True):
    """From a worker, passed on to all others."""

    data: bytes
    age: float = 0.0
    """Seconds since it was announced."""


class Put(Struct, array_like=True, tag=True):
    """From a worker: store a record."""

    key: str
    value: bytes
    seconds: float


class Delete(Struct, array_like=True, tag=True):
    """From a worker: delete a record."""

    key: str


class Get(Struct, array_like=True, tag=True):
    """From a worker. The answer is `Got`."""

    request: int
    keys: tuple[str, ...]


class Got(Struct, array_like=True, tag=True):
    """To a worker: the records that exist."""

    request: int
    values: dict[str, bytes]


class OwnCondition(Struct, array_like=True, tag=True):
    """From a worker: its condition has changed (`proxy.api.workers.Condition`)."""

    data: bytes


class OtherConditions(Struct, array_like=True, tag=True):
    """To a worker: the conditions of all others. Empty when the server stops, and without others."""

    parts: list[bytes]


class Claims(Struct, array_like=True, tag=True):
    """From a worker: the claims of a request on the limits of its caller. The answer is `Claimed`."""

    request: int
    timezone: str
    """The time zone of days and months."""
    claims: list[Claim]


class Claimed(Struct, array_like=True, tag=True):
    """To a worker: the decision (`proxy.limits.claims.Decision`)."""

    request: int
    is_granted: bool
    usage: list[Usage]
    processes: int
    """The number of workers."""
    at: float
    """As in `Decision`."""


class Restore(Struct, array_like=True, tag=True):
    """From a worker: the counters of limits of an earlier process (`proxy.limits.records`)."""

    records: list[bytes]


class Report(Struct, array_like=True, tag=True):
    """From a worker: unconditional changes of limits."""

    changes: list[Claim]


# -- values of all workers ---------------------------------------------------------------------------------------------


class Gather(Struct, array_like=True, tag=True):
    """From a worker: get the values of all. The answer is `Gathered`."""

    request: int
    subject: Subject
    own: bytes


class Measure(Struct, array_like=True, tag=True):
    """To a worker. The answer is `Measured`."""

    request: int
    subject: Subject


class Measured(Struct, array_like=True, tag=True):
    """From a worker: its values; with the request 0 at its end, which is no answer."""

    request: int
    subject: Subject
    data: bytes


class Gathered(Struct, array_like=True, tag=True):
    """To the worker that has sent `Gather`."""

    request: int
    parts: list[bytes]
    generations: dict[int, str]
    """Number of each worker -> the generation of the configuration that it uses."""


ValueMessage = Gather | Measured | UsageMessage
"""Messages of workers about values of all workers."""
SharedMessage = Begin | Publish | Abandon | Hint | Put | Delete | Get | Claims | Report | Restore
"""What workers send about shared state."""
Reply = Began | Accepted | Got | Claimed

_Lifecycle = Stop | EndCalls | Lead | Announce | Reload | Apply | Answer | State
ToWorker = (
    _Lifecycle | OtherConditions | News | Hint | Began | Accepted | Got | Claimed | Measure | Gathered | UsageReply
)
_FromWorker = Alive | OwnCondition | Ready | Applied | Loaded | State | ReloadAll | Reloaded | Gather | Measured
FromWorker = _FromWorker | UsageMessage | SharedMessage
Message = ToWorker | FromWorker
