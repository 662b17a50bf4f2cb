"""What all calls share, whichever configuration they began with."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.config import Config
from proxy.inference.body_memory import BodyMemory
from proxy.inference.deadline import DeadlineTimer
from proxy.inference.hints import CallHints
from proxy.inference.ledger import Ledger
from proxy.inference.shared_ids import secret_of_users
from proxy.inference.turns import Turns
from proxy.limits.limiter import Limiter


@dataclass(frozen=True)
class CallResources:
    """The memory of bodies, the ids that keys received, the limits of callers, and the timer of all calls."""

    body_memory: BodyMemory
    ledger: Ledger
    limiter: Limiter
    timer: DeadlineTimer = field(default_factory=DeadlineTimer)
    turns: Turns = field(default_factory=Turns)
    hints: CallHints | None = None
    """None if nothing is shared with other processes."""

    def configure(self, config: Config) -> None:
        """Apply another configuration to later calls."""
        self.body_memory.resize(config.server.limits.body_memory)
        self.ledger.limit_to(config.identities)
        if self.ledger.shared:
            self.ledger.shared.configure(config.keys, secret_of_users(config))
