"""A worker's side of the limits that the supervisor counts for all workers (`proxy.limits.claims.SharedLimits`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count

from proxy.config import Config
from proxy.limits.claims import Claim, Decision
from proxy.limits.dropped import Dropped
from proxy.server.workers.messages import Claimed, Claims, Message, Report, Restore

MAX_LATE = 1000
"""Maximum number of claims without a reply in time. They are returned when it arrives; above it, the oldest are not."""
_DROPPED = (
    "limits: more than %d claims have no reply from the supervisor; the oldest are not returned, and stay counted if "
    "they are granted late"
)


class WorkerLimits:
    """Sends claims to the supervisor: one message and its reply for each request of a caller with limits."""

    def __init__(
        self,
        numbers: count[int],
        request: Callable[[Claims], Awaitable[Claimed | None]],
        send: Callable[[Message], None],
    ) -> None:
        """`request` sends a message and returns the reply, None after a timeout; `send` sends a message."""
        self._dropped = Dropped(lambda: asyncio.get_running_loop().time(), _DROPPED, MAX_LATE)
        self._numbers = numbers
        self._request = request
        self._send = send
        self._timezone = ""
        self.processes = 1
        self.is_reachable = True  # a worker is started by the process that counts
        self._late: dict[int, list[Claim]] = {}
        """Request -> its claims, for replies that did not arrive in time."""

    def configure(self, config: Config) -> None:
        self._timezone = config.server.timezone
        self.processes = max(self.processes, config.server.workers)

    @property
    def dropped(self) -> Mapping[str, int]:
        return {"late": self._dropped.total}

    def expect(self, processes: int) -> None:
        """The configuration has their number."""

    async def claim(self, claims: Sequence[Claim]) -> Decision | None:
        message = Claims(next(self._numbers), self._timezone, [*claims])
        reply = await self._request(message)
        if reply is None:
            self._late[message.request] = message.claims
            if len(self._late) > MAX_LATE:
                del self._late[next(iter(self._late))]
                self._dropped.add()
            return None
        self.processes = reply.processes
        return Decision(reply.is_granted, reply.usage, reply.at)

    def receive_late(self, reply: Claimed) -> None:
        """Return claims that were granted too late: this process has decided locally, and reported its own claims."""
        claims = self._late.pop(reply.request, [])
        if reply.is_granted and claims:
            self.report([claim.with_amount(-claim.amount).with_since(reply.at) for claim in claims])

    def restore(self, records: Sequence[bytes]) -> None:
        self._send(Restore([*records]))

    def report(self, changes: Sequence[Claim]) -> None:
        self._send(Report([*changes]))
