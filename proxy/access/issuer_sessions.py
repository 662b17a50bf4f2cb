"""Sessions of users who log in at an OIDC provider: validates the ID token, and finds the caller again. No I/O."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from proxy.access.caller import Caller
from proxy.access.groups import Groups
from proxy.access.jwt import KeySource, Tokens, groups_in
from proxy.access.sessions import Session, Sessions
from proxy.access.token import parse_token
from proxy.config import Config
from proxy.config.auth import JwtIssuer
from proxy.errors import Forbidden, InvalidKey
from proxy.limits.quota import Quotas


class IssuerSessions:
    """The users of a configuration who are administrators by claim."""

    def __init__(self, config: Config, source: KeySource, time: Callable[[], float], sessions: Sessions) -> None:
        """`time` returns Unix seconds."""
        clients = [issuer for issuer in config.auth.jwt if issuer.client_id and issuer.client_secrets]
        quotas = Quotas(config.groups)
        # The audience of an ID token is the client. It is never sent in a header.
        ours = [each.model_copy(update={"audience": (each.client_id,), "header": None}) for each in clients]
        self._tokens = Tokens(config, quotas, source, time, ours)
        self._sessions = sessions
        self.clients: Mapping[str, JwtIssuer] = {issuer.issuer: issuer for issuer in clients}
        """By issuer."""
        self._groups = {issuer.issuer: Groups(issuer, config, quotas) for issuer in clients}

    def log_in(self, text: bytes, issuer: JwtIssuer, nonce: str) -> tuple[Session, Caller]:
        """Begin a session with an ID token. `nonce`: of this login.

        Raises InvalidKey, Forbidden for a user who is no administrator, LoginUnavailable and SigningKeyNeeded.
        """
        token = parse_token(text)
        if token is None or token.issuer != issuer.issuer:
            raise InvalidKey
        credential = self._tokens.find(b"", text)
        claims = token.claims
        given = claims.get("nonce")
        is_ours = isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode())
        if credential is None or not is_ours or claims.get("azp", issuer.client_id) != issuer.client_id:
            raise InvalidKey
        caller = credential.caller
        if not caller.admin:
            raise Forbidden("This user is not an administrator (`admin` of the login in `auth`).")
        values = frozenset(groups_in(claims, issuer.group_claim))
        session = self._sessions.begin(
            _login(issuer, issuer.client_secrets[0]),
            claims["sub"],
            float(claims["exp"]),
            issuer=issuer.issuer,
            display_name=caller.name or "",
            # Only the values that decide are kept: a token can contain hundreds.
            claims=[next(each for each in listed if each in values) for listed in (issuer.groups, issuer.admin)],
        )
        return session, caller

    def caller_of(self, session: Session) -> Caller:
        """Return the caller of a session. Raises InvalidKey if the user is no longer an administrator."""
        issuer = self.clients.get(session.issuer)
        if issuer is None or not any(
            self._sessions.proves(session, _login(issuer, secret)) for secret in issuer.client_secrets
        ):
            raise InvalidKey
        caller = self._groups[session.issuer].caller(session.name, session.display_name, session.claims)
        if not caller.admin:
            raise InvalidKey
        return caller


def _login(issuer: JwtIssuer, secret: str) -> bytes:
    """What a session is bound to: changing the client, its secret or the claim ends it."""
    parts = (issuer.issuer, issuer.client_id or "", issuer.group_claim, secret)
    return b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)
