"""Failed attempts: the provider's response that is an error, and the consequences. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from proxy.asgi import Header
from proxy.errors import ApiError
from proxy.telemetry import Outcome


class Verdict(Struct, frozen=True):
    """The consequences of one failed attempt."""

    error: ApiError
    """The caller's error if no other provider accepts the call."""
    fail_over: bool
    """Whether another provider may be tried."""
    trips: bool
    """Whether it counts as a failure for the circuit breaker."""
    outcome: Outcome
    reason: str = ""
    """For the log; empty if it is not logged."""
    cool_down: float = 0.0
    """Seconds of a 429, as the provider sent them, in which it accepts no calls of this model."""
    cause: str = ""
    """Why another provider is tried, for the log; never the provider's message."""
    is_unreachable: bool = False
    """Whether there was no connection, or no login: this does not depend on the call."""


class ErrorResponse(Struct, frozen=True):
    """A response that is an error."""

    status: int
    body: bytes = b""
    """As it was sent, and as much as was read."""
    headers: Sequence[Header] = ()
    further_headers: Sequence[Header] = ()
    """Those that the provider's `forward_headers` selects, and the dates at which the model is retired."""
    retry_after: float | None = None
    """Seconds."""
    request_id: str = ""
    """The provider's id of the request."""
    secrets: Sequence[str] = ()
    """Must not be shown."""
    credentials: Sequence[str] = ()
    """Must not be shown even in part: providers quote them masked."""
    ids: Mapping[str, str] = {}
    """Requested id -> the provider's id, of all models in the request."""
    model: str = ""
    """The requested id of the model that was called."""
    hides_ids: bool = False
    """Whether forms of the provider's ids, such as dated snapshots, must not be shown either; see `Candidate`."""
    is_status_known: bool = True
    """False for a body with status 200 that is an error of an unknown kind: it is relayed with status 502."""
    is_in_success: bool = False
    """Whether it was sent with status 2xx. `status` is then that of its content."""
