"""What the status page uses of the server: sessions, and attempts to log in."""

from __future__ import annotations

from typing import Protocol

from proxy.access import Access
from proxy.access.attempts import MAX_ATTEMPTS, Attempts
from proxy.access.sessions import Session, Sessions
from proxy.api.request import RequestHead
from proxy.config import Config
from proxy.errors import whole_seconds
from proxy.printable import printable


class SessionKeeper(Protocol):
    """The sessions of all processes."""

    sealed: Sessions
    attempts: Attempts

    @property
    def is_shared(self) -> bool:
        """Whether other processes can end a session."""
        ...

    async def end(self, session: Session) -> None:
        """End a session, in all processes."""
        ...

    async def was_ended(self, session: Session) -> bool:
        """Whether another process has ended a session. False if that cannot be determined in a short time."""
        ...


class LoginFailed(Exception):
    """A login has failed. The page with the form shows why."""

    def __init__(self, status: int, text: str, reason: str, seconds: int = 0) -> None:
        """`text`: for the user; `reason`: for the log, "" for no line; `seconds`: until another attempt is allowed."""
        super().__init__(reason)
        self.status = status
        self.text = text
        self.reason = reason
        self.seconds = seconds


class LoginAttempts:
    """The attempts of the clients of one configuration."""

    def __init__(self, config: Config, access: Access, attempts: Attempts) -> None:
        self._access = access
        self._attempts = attempts
        # As limits of all clients, divided between workers.
        self._limit = -(-MAX_ATTEMPTS // config.server.workers)

    def check(self, head: RequestHead) -> None:
        """Count an attempt. Raises LoginFailed if there were too many from the address."""
        if found := self._attempts.reject(self._access.client_of(head), self._limit):
            seconds = whole_seconds(found.seconds)
            text = f"Too many attempts from your address. Retry in {seconds} s."
            reason = "too many attempts; further ones within a minute are not logged" if found.is_first else ""
            raise LoginFailed(429, text, reason, seconds)

    def client_of(self, head: RequestHead) -> str:
        """The address of the client, for the log."""
        return printable(self._access.client_of(head)) or "a Unix socket"
