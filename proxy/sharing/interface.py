"""The interface between this process and what shares state with other replicas, or with other workers of this one.

`store` and `inference` decide what is shared and check what arrives. A `Sharing` only transports bytes: over Valkey
(`sharing.valkey`), or over the supervisor of workers. Without one, `store` and `inference` hold None, which is all that
their hot paths test.

**Lists.** A list is shared under a name, the fingerprint of its fetch settings. Before a fetch:

    answer = await sharing.begin(name, known)

`Turn(token)`: this process fetches, then calls `publish` or, without a result, `abandon`. Others get `Busy` until
then, or until the lease ends because the process died. `Published`: another process has fetched since version
`known`, so that no fetch is necessary. None: nothing can be shared at the moment; the process fetches for itself.
A token is greater than every earlier one of the name, and is the version of what is published with it. `publish` with
a token that was superseded changes nothing and returns False: a process that was stopped for longer than its lease
overwrites nothing.

A published state is a list, or the failure of the last fetch and the list before it: other processes show the same
state, and do not fetch until the next attempt is due. What others publish arrives by `follow`, soon and at least once,
as long as it is the newest state of its name; `begin` finds what was missed.

**Hints.** `announce` sends a small message to all other processes, also to those that start within the next minute: a
circuit breaker that opened, a cool-down. It can be lost, and one of the first second can arrive twice.

**Limits.** `limits` decides on what requests claim of the limits of their callers (`proxy.limits.claims`).

**Usage.** `usage` keeps the calls and tokens of all processes (`proxy.sharing.usage_store`).

**Records.** Small values by key, for the ids that providers returned (`inference.ledger`): `put`, `get`, `delete`.

**Agreement.** `agree` returns a value that all processes have under a name, such as a secret: that of the first one.

Methods never raise, and return in a bounded time, whatever the state of the other side: `get`, which requests wait for,
within `WAIT_SECONDS`. All run on the event loop; callbacks are called on it, and must neither block nor raise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal, NamedTuple, Protocol

from proxy.limits.claims import SharedLimits
from proxy.sharing.recent_hints import Receive
from proxy.sharing.usage_store import UsageStore

WAIT_SECONDS = 0.2
"""The longest time that a request waits for the other side."""
MAX_HINT = 4096
"""Bytes of a hint. Longer ones are not sent, and are ignored."""
MAX_RECORD = 1024
"""Bytes of the value of a record. Longer ones are not stored, and are ignored."""

Kind = Literal["list", "failure"]
Known = Callable[[], Mapping[str, int]]
"""Returns the names of all lists of this process, each with the version that it has, 0 for none."""


class Turn(NamedTuple):
    """The right to fetch a list, until `publish` or `abandon`."""

    token: int


class Busy(NamedTuple):
    """Another process fetches the list."""

    seconds: float
    """Until its lease ends, if it died; otherwise its result arrives before, or it extends the lease."""


class Published(NamedTuple):
    """What another process has published since a version. Its bytes are not trusted."""

    version: int
    """That of the newer one of both parts; at least 1."""
    list: bytes | None
    """The last list; None if it is not newer than the known version, or if there is none."""
    list_age: float
    """Seconds since it was published, by the clock of the other side."""
    failure: bytes | None
    """The failure of the last fetch; None if it succeeded."""
    failure_age: float


class StoreState(NamedTuple):
    """The state of a shared store, for `/health` and metrics."""

    is_up: bool
    reason: str
    """Why it is not used, "" if it is."""
    since: float
    """Unix seconds of the last change."""
    operations: int
    """Commands that succeeded."""
    failures: int
    """Commands that failed. Those that were not sent because it is down are not counted."""
    foreign: int
    """Values that were ignored, because they are not those of this version or are damaged."""


class Sharing(Protocol):
    """Shares state with other processes. The module describes the methods."""

    @property
    def state(self) -> StoreState | None:
        """What is shown of it, None for nothing."""

    @property
    def limits(self) -> SharedLimits | None:
        """Counts the limits of callers for all processes, None if each process counts locally."""

    @property
    def usage(self) -> UsageStore | None:
        """Keeps the usage of all processes, None if it does not."""

    async def run(self) -> None:
        """Share until canceled; then end the leases. Before, methods may already be called."""

    async def begin(self, name: str, known: int, *, force: bool = False) -> Turn | Busy | Published | None:
        """Ask whether to fetch a list. `known`: the version that this process has, 0 for none.

        `force`: supersede every other token and ignore what was published, because an administrator requires a fetch.
        """

    async def publish(self, name: str, token: int, kind: Kind, data: bytes, seconds: float) -> bool:
        """Publish the result of a fetch, for `seconds`, and end the lease. Returns whether the token was current."""

    def abandon(self, name: str, token: int) -> None:
        """End the lease of a fetch without a result, such as one that was canceled."""

    def follow(self, known: Known, receive: Callable[[str, Published], None]) -> None:
        """Pass on what other processes publish. Replaces the earlier callbacks, of another configuration."""

    def announce(self, hint: bytes) -> None:
        """Send a hint to the other processes."""

    def listen(self, receive: Receive) -> None:
        """Pass on the hints of others. Replaces the earlier callback; the first one also gets those before it."""

    def put(self, key: str, value: bytes, seconds: float) -> None:
        """Store a record for `seconds`. Returns at once; the last one of a key counts."""

    async def get(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Return the records that exist, as far as they can be read now."""

    def delete(self, key: str) -> None:
        """Delete a record."""

    async def agree(self, name: str, value: bytes) -> bytes | None:
        """Return the value that all processes have under a name, which is this one if there was none.

        None if that is not known at the moment, or if processes have it by other means.
        """
