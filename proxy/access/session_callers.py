"""Log administrators in, and find the caller of a session in the configuration in use. No I/O."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from proxy.access.caller import Caller
from proxy.access.keys import MAX_KEY_BYTES, Access, Request
from proxy.access.sessions import Session, Sessions
from proxy.config import Config
from proxy.errors import Forbidden, InvalidKey

if TYPE_CHECKING:
    from proxy.access.issuer_sessions import IssuerSessions


class SessionCallers:
    """The administrators of a configuration who can have sessions."""

    def __init__(self, config: Config, access: Access, sessions: Sessions) -> None:
        self._access = access
        self._sessions = sessions
        self.issuers: IssuerSessions | None = None
        """The sessions of users, None without issuers with a client."""
        self._digests = {key.name: key.digests for key in config.keys if key.admin}

    def log_in(self, key: bytes, request: Request) -> tuple[Session, Caller]:
        """Begin a session with an admin key. Raises InvalidKey, and Forbidden for another key."""
        # The look-up by digest prevents timing attacks.
        digest = hashlib.sha256(key).digest() if 0 < len(key) <= MAX_KEY_BYTES else b""
        found = self._access.key_of(digest, request)
        if not found.caller.admin:
            raise Forbidden("This API key is not an admin key (`admin: true`).")
        return self._sessions.begin(digest, found.caller.identity, found.valid_until), found.caller

    def caller_of(self, session: Session, request: Request) -> Caller:
        """Return the caller of a session, as if the request contained the key.

        Raises InvalidKey if the key was removed, has expired, is no longer an admin key, or is not allowed from the
        address of the request; or if the user is no longer an administrator.
        """
        if session.issuer:
            return self._of_user(session)
        for digest in self._digests.get(session.name, ()):
            if self._sessions.proves(session, digest):
                return self._access.key_of(digest, request).caller
        raise InvalidKey

    def _of_user(self, session: Session) -> Caller:
        if self.issuers is None:
            raise InvalidKey
        return self.issuers.caller_of(session)
