"""The limits of callers that workers share: counted in the supervisor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC

from proxy.config.timezones import zone_of
from proxy.limits import records
from proxy.limits.claims import Claim
from proxy.limits.state import LimitState
from proxy.server.workers.messages import Claimed, Claims, Report
from proxy.server.workers.processes import Worker


class CountedLimits:
    """Decides on the claims of all workers. A worker that ends has no calls in progress any more."""

    def __init__(self, monotonic: Callable[[], float], time: Callable[[], float]) -> None:
        """`time` returns Unix seconds."""
        self._state = LimitState(monotonic, time, UTC)
        self._monotonic, self._time = monotonic, time
        self._timezone = ""
        self._in_flight: dict[Worker, Counter[str]] = {}
        """Worker -> scope -> its calls in progress."""

    def decide(self, worker: Worker, message: Claims, processes: int) -> Claimed:
        """`processes`: how many workers there are."""
        if message.timezone != self._timezone:
            self._timezone = message.timezone
            self._state.set_zone(zone_of(message.timezone))
        decision = self._state.claim(message.claims)
        if decision.is_granted:
            self._count(worker, message.claims)
        return Claimed(message.request, decision.is_granted, [*decision.usage], processes, decision.at)

    def add(self, worker: Worker, message: Report) -> None:
        self._state.apply(message.changes)
        self._count(worker, message.changes)

    def restore(self, packed: Sequence[bytes]) -> None:
        """Count what an earlier server has kept: several workers can send the same."""
        now = self._monotonic()
        for each in packed:
            records.restore(self._state, each, now, self._time() - now)

    def remove(self, worker: Worker) -> None:
        for scope, number in self._in_flight.pop(worker, Counter()).items():
            self._state.release(scope, number)

    def _count(self, worker: Worker, claims: list[Claim]) -> None:
        for claim in claims:
            if claim.kind == "concurrent":
                counts = self._in_flight.setdefault(worker, Counter())
                counts[claim.scope] += claim.amount
                if not counts[claim.scope]:
                    del counts[claim.scope]
