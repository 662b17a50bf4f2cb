"""Sessions of the status page in all processes: their secret, and the ended sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from proxy.access.attempts import Attempts
from proxy.access.sessions import Session, Sessions
from proxy.clock import Clock, SystemClock
from proxy.config import Config
from proxy.sharing import Sharing

if TYPE_CHECKING:
    from proxy.store.directory import ListDirectory

AGREE_SECONDS = 5.0
"""How often the secret of all replicas is looked up. While the shared store is down, each has its own."""
WRITE_SECONDS = 2.0
"""How long the end of a session waits for the directory."""
_AGREED = "session-secret"


class SharedSessions:
    """Outlives configurations."""

    def __init__(
        self,
        clock: Clock,
        sharing: Sharing | None,
        directory: ListDirectory | None = None,
        sealed: Sessions | None = None,
    ) -> None:
        """`sealed`: with the secret that other workers have, or earlier processes had; None for a new one."""
        self.sealed = sealed or Sessions(clock.time)
        self.attempts = Attempts(clock.monotonic)
        self._clock = clock
        self._sharing = sharing
        self._directory = directory

    @property
    def is_shared(self) -> bool:
        """Whether other processes can end a session."""
        return self._sharing is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the secret of all replicas while the context is entered."""
        task = (
            asyncio.create_task(self._keep_agreeing(self._sharing), name="secret of sessions")
            if self._sharing
            else None
        )
        try:
            yield
        finally:
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def end(self, session: Session) -> None:
        """End a session, in all processes. Never raises."""
        self.sealed.end(session.id, session.expires)
        if self._sharing:
            self._sharing.put(_record(session), b"ended", session.expires - self._clock.time())
        if self._directory:
            from proxy.server.session_file import SessionFile

            append = partial(SessionFile(self._directory.files).append, session.id, session.expires)
            with suppress(OSError, TimeoutError):  # the directory reports it
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._directory.write(append)

    async def was_ended(self, session: Session) -> bool:
        """Whether another process has ended a session. False if that cannot be determined in a short time."""
        record = _record(session)
        if self._sharing is None or record not in await self._sharing.get([record]):
            return False
        self.sealed.end(session.id, session.expires)
        return True

    async def _keep_agreeing(self, sharing: Sharing) -> None:
        while True:
            if secret := await sharing.agree(_AGREED, self.sealed.secret):
                self.sealed.adopt(secret)
            await self._clock.sleep(AGREE_SECONDS)


def first_sessions(config: Config) -> Sessions:
    """Return the sessions with which a server starts: before its workers, which get copies."""
    fresh = Sessions(SystemClock.time)
    if config.store.directory is None:
        return fresh
    from proxy.server.session_file import LOCK, SessionFile
    from proxy.server.stored_counters import in_time
    from proxy.store.disk import Disk

    file = SessionFile(Disk(config.store.directory, LOCK))
    return in_time(partial(file.load, SystemClock.time), fresh)


def _record(session: Session) -> str:
    return f"session:{session.id.hex()}"
