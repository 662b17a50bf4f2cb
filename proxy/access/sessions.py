"""Sessions of administrators in browsers: sealed values for a cookie. No I/O; the clock is injected.

A value contains who has logged in and until when, authenticated under a random secret of the deployment (`Sessions`).
It contains no key: with `proof`, a process that has the digest of the key verifies that the key was known. So neither
the configuration alone nor the secret alone is enough to forge a session.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

SESSION_SECONDS = 8 * 3600.0
SECRET_BYTES = 32
MAX_SEALED = 3800
"""Characters of a sealed value. Browsers store cookies of 4096 with their names and attributes."""
MAX_ENDED = 10_000
"""Maximum number of ended sessions that are kept. Above it, those that were ended first are dropped."""
MAX_CLOCK_DIFFERENCE = 3600.0
"""Maximum seconds by which the clock of the replica where a session began can be ahead."""
_MAX_SECRETS = 3
_ID_BYTES = 16
_MAC_BYTES = 32
_Text = Annotated[str, Meta(max_length=1024)]


class Session(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The login of an administrator."""

    id: Annotated[bytes, Meta(min_length=_ID_BYTES, max_length=_ID_BYTES)]
    expires: float
    """Unix seconds."""
    proof: Annotated[bytes, Meta(min_length=_MAC_BYTES, max_length=_MAC_BYTES)]
    """Authenticates a secret of the login: the digest of the key, or the client secret of the issuer."""
    name: _Text
    """The name of the key, or the subject at the issuer."""
    issuer: _Text = ""
    """The issuer of a user, "" for a key."""
    display_name: _Text = ""
    """The display name of a user, "" for a key."""
    claims: tuple[_Text, ...] = ()
    """The values of the claim by which a user is an administrator."""


class CookieValue(NamedTuple):
    value: str
    seconds: int
    """How long the browser keeps the cookie."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Session).decode


class Sessions:
    """Seals and opens the sessions of a deployment, and keeps the ids of ended ones."""

    def __init__(self, time: Callable[[], float], secret: bytes = b"") -> None:
        """`time` returns Unix seconds; `secret`: that of the deployment, b"" for a new one."""
        self._time = time
        self._secrets = [secret or secrets.token_bytes(SECRET_BYTES)]
        """New sessions are sealed with the first one. The others were replaced, and only open earlier sessions."""
        self._ended: OrderedDict[bytes, float] = OrderedDict()

    @property
    def secret(self) -> bytes:
        return self._secrets[0]

    @property
    def ended(self) -> Mapping[bytes, float]:
        """Id of a session that was ended -> when it would expire, in Unix seconds."""
        return self._ended

    def adopt(self, secret: bytes) -> None:
        """Seal with another secret, that of all replicas. Sessions that were sealed before stay valid here."""
        if len(secret) == SECRET_BYTES and secret != self._secrets[0]:
            others = [each for each in self._secrets if each != secret]
            self._secrets = [secret, *others][:_MAX_SECRETS]

    def begin(
        self,
        login: bytes,
        name: str,
        expires: float,
        *,
        issuer: str = "",
        display_name: str = "",
        claims: Iterable[str] = (),
    ) -> Session:
        """Return a new session. `login`: the secret of the login; `expires`: of the credential, in Unix seconds."""
        return Session(
            secrets.token_bytes(_ID_BYTES),
            min(expires, self._time() + SESSION_SECONDS),
            _mac(self._secrets[0], b"proof", login),
            name,
            issuer,
            display_name,
            tuple(claims),
        )

    def cookie_of(self, session: Session) -> CookieValue:
        """Return the value of the session's cookie."""
        seconds = max(1, int(session.expires - self._time()))
        return CookieValue(self.seal_state(b"session", _encode(session)), seconds)

    def open(self, value: bytes) -> Session | None:
        """Return the session in the value of a cookie; None if it was not sealed here, has expired or was ended."""
        payload = self.open_state(b"session", value)
        try:
            session = _decode(payload or b"")
        except msgspec.MsgspecError:  # of another program or version
            return None
        is_valid = self._time() < session.expires and session.id not in self._ended
        return session if is_valid else None

    def proves(self, session: Session, login: bytes) -> bool:
        """Whether a session was started with this secret of a login."""
        return any(hmac.compare_digest(_mac(each, b"proof", login), session.proof) for each in self._secrets)

    def end(self, session_id: bytes, expires: float) -> None:
        """End a session before it expires (Unix seconds)."""
        now = self._time()
        if session_id in self._ended or not now < expires <= now + SESSION_SECONDS + MAX_CLOCK_DIFFERENCE:
            return
        self._ended[session_id] = expires
        while self._ended and (len(self._ended) > MAX_ENDED or next(iter(self._ended.values())) <= now):
            self._ended.popitem(last=False)

    def seal_state(self, purpose: bytes, payload: bytes) -> str:
        """Return a sealed value for a cookie with another purpose than a session."""
        return base64.urlsafe_b64encode(_mac(self._secrets[0], purpose, payload) + payload).decode().rstrip("=")

    def open_state(self, purpose: bytes, value: bytes) -> bytes | None:
        """Return what was sealed for this purpose, None for anything else."""
        sealed = _decoded(value)
        payload = sealed[_MAC_BYTES:]
        is_ours = [hmac.compare_digest(_mac(each, purpose, payload), sealed[:_MAC_BYTES]) for each in self._secrets]
        return payload if any(is_ours) else None

    def csrf_token(self, bound_to: bytes) -> str:
        """Return what forms must contain: only a page of this server can read it. `bound_to`: the session."""
        return _token(self._secrets[0], bound_to)

    def is_csrf_token(self, token: str, bound_to: bytes) -> bool:
        given = token.encode("utf-8", "replace")
        return any(hmac.compare_digest(_token(each, bound_to).encode(), given) for each in self._secrets)


def _token(secret: bytes, bound_to: bytes) -> str:
    return _mac(secret, b"form", bound_to).hex()


def _mac(secret: bytes, purpose: bytes, message: bytes) -> bytes:
    return hmac.digest(secret, b"%b\0%b" % (purpose, message), "sha256")


def _decoded(value: bytes) -> bytes:
    """Return the bytes in base64, b"" for other text."""
    if len(value) > MAX_SEALED:
        return b""
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
