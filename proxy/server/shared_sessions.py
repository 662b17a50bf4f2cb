"""Sessions of the status page, in all processes: which were ended is shared."""

from __future__ import annotations

from proxy.access.attempts import Attempts
from proxy.access.sessions import Session, Sessions
from proxy.clock import Clock
from proxy.sharing import Sharing


class SharedSessions:
    """Outlives configurations."""

    def __init__(self, clock: Clock, sharing: Sharing | None, sealed: Sessions | None = None) -> None:
        """`sealed`: with the secret that other processes have, None for a new one."""
        self.sealed = sealed or Sessions(clock.time)
        self.attempts = Attempts(clock.monotonic)
        self._clock = clock
        self._sharing = sharing

    @property
    def is_shared(self) -> bool:
        """Whether other processes can end a session."""
        return self._sharing is not None

    def end(self, session: Session) -> None:
        """End a session, in all processes."""
        self.sealed.end(session.id, session.expires)
        if self._sharing:
            self._sharing.put(_record(session), b"ended", session.expires - self._clock.time())

    async def was_ended(self, session: Session) -> bool:
        """Whether another process has ended a session, as far as that can be found out in a short time."""
        record = _record(session)
        if self._sharing is None or record not in await self._sharing.get([record]):
            return False
        self.sealed.end(session.id, session.expires)
        return True


def _record(session: Session) -> str:
    return f"session:{session.id.hex()}"
