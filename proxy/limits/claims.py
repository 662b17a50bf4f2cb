"""The claims of a request on the limits of its caller, and the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, get_args

from msgspec import Struct

from proxy.config import Config
from proxy.config.call_limits import Unit

Kind = Literal["requests", "tokens", "concurrent", "list_requests"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Claim(Struct, frozen=True, array_like=True, gc=False):
    """An amount of one limit; or an unconditional change: the tokens of a call that has ended, or its end."""

    scope: str
    """`key:` and the identity of a caller, or `group:` and a name."""
    kind: Kind
    unit: Unit | Literal[""]
    """"" for `concurrent`."""
    limit: int
    amount: int
    """1 in decisions; for tokens, the estimate."""
    since: float = 0.0
    """For a negative change: when what is taken back was counted, as in `Decision.at`; 0 if that is not known."""

    def with_amount(self, amount: int) -> Claim:
        return Claim(self.scope, self.kind, self.unit, self.limit, amount, self.since)

    def with_since(self, since: float) -> Claim:
        return Claim(self.scope, self.kind, self.unit, self.limit, self.amount, since)


class Usage(Struct, frozen=True, array_like=True, gc=False):
    """The state of one limit after a decision."""

    used: int
    wait: float
    """Seconds until it allows the claim, 0 if it did."""
    reset: float
    """Seconds until it is unused; 0 for `concurrent`."""


class Decision(Struct, frozen=True):
    """All claims of a request are granted, or none is."""

    is_granted: bool
    usage: Sequence[Usage]
    """One for each claim."""
    at: float = 0.0
    """When it was made, in seconds of the clock of what has counted it."""


class SharedLimits(Protocol):
    """Counts for several processes. Methods never raise; all run on the event loop."""

    @property
    def processes(self) -> int:
        """The last known number of processes that count together."""

    @property
    def is_reachable(self) -> bool:
        """Whether the other processes have been reached, and are not known to be unreachable."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Changes that could not be sent, and were lost, by the reason."""

    def configure(self, config: Config) -> None:
        """Apply a configuration: its time zone, and how many workers there are."""

    def expect(self, processes: int) -> None:
        """Assume this number of processes until the others are reached."""

    async def claim(self, claims: Sequence[Claim]) -> Decision | None:
        """Decide on claims for all processes, within `WAIT_SECONDS`; None if that is not possible now."""

    def restore(self, records: Sequence[bytes]) -> None:
        """Count what an earlier process has kept (`proxy.limits.records`), unless more is counted already."""

    def report(self, changes: Sequence[Claim]) -> None:
        """Add changes soon. Those that cannot be sent now are kept until they can; see `dropped`."""
