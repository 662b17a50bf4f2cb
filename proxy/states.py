"""The states of providers: one vocabulary for the start table, `check`, `/health`, the log and the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

ListState = Literal["ok", "stale", "incomplete", "empty", "failing", "skipped", "disabled", "declared"]
"""The list of a provider. `stale`: the list shown is older than its `ttl`, because refreshes fail; `incomplete`: the
last response may lack models; `empty`: the last response had no models; `failing`: there is no list, only declared
models are shown; `skipped`: optional, and a variable or file of it is missing; `disabled`: disabled with
`disabled: true`; `declared`: all models are declared in the configuration, nothing is fetched."""

BreakerState = Literal["ok", "open", "half_open"]
"""A circuit breaker, of refreshes or of calls. `open`: skipped for a while after repeated failures; `half_open`: the
next attempt, or the one in progress, decides."""

CircuitState = Literal[BreakerState, "degraded", "limited"]
"""The calls of a provider. `degraded`: the last calls failed, of single models or below the threshold; `limited`: a
model is cooling down."""

CallState = Literal[CircuitState, "not_callable"]
"""`not_callable`: the provider supports listing only."""


class OpenCircuit(NamedTuple):
    """The circuit breaker of a model's calls, if it is not closed."""

    model: str
    """The provider's id."""
    key: str | None
    """The name of the API key whose calls it rejects, "" for calls without a key; None if it rejects those of all."""
    state: BreakerState


class Calls(NamedTuple):
    """The calls of a provider."""

    state: CallState
    in_flight: int = 0
    queued: int = 0
    """Calls that wait because `max_in_flight` is reached."""
    open_circuits: Sequence[OpenCircuit] = ()
    """Of its models."""
    account_rejected: bool = False
    """Whether the provider rejected the proxy's credential, or required credit, and accepted no call since."""
    max_in_flight: int = 0
    """Calls at the same time; 0 before the first call."""

    @property
    def is_full(self) -> bool:
        """Whether the concurrency limit is reached."""
        return 0 < self.max_in_flight <= self.in_flight

    @property
    def load(self) -> int:
        """The calls in progress and those in the queue."""
        return self.in_flight + self.queued

    @property
    def rejects_all(self) -> bool:
        """Whether no call is expected to succeed at the moment."""
        return self.state == "open" or self.account_rejected

    @property
    def works(self) -> bool:
        """Whether calls of all models and keys are sent. Failures below the threshold, and cool-downs, are normal."""
        return not (self.rejects_all or self.state == "half_open" or self.open_circuits)


Status = Literal["ok", "degraded", "down"]
"""The status of the lists, of the calls, and of the proxy. `degraded`: the list or the calls of a provider do not work;
`down`: there is no list, or no provider accepts calls. The proxy is `down` without a list only."""
