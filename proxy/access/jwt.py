"""Users with tokens of OIDC providers: validates tokens (JWT), and caches valid ones. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from proxy.access.caller import Credential
from proxy.access.groups import Groups, is_subject
from proxy.access.token import Token, names_issuer, parse_token
from proxy.config import Config
from proxy.config.auth import JwtIssuer
from proxy.errors import InvalidKey, LoginUnavailable
from proxy.limits.quota import Quotas

SIGNATURE_COST = 150
"""The cost of checking a signature, in about microseconds of CPU."""
MAX_VALIDATED = 10_000
"""Maximum validated tokens in the cache, about 1 KB each; the oldest are removed."""
_MAX_TIME = 2**53
"""Seconds. Larger times are rejected: some cannot be converted to floats."""
_STARTS = ("nbf", "iat")
"""Claims that contain times before which a token is not valid."""
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""Values of `typ`. Tokens of other types, such as those of a logout, identify no user."""
_MULTI_WORD = frozenset({"scope", "scp"})
"""Claims whose strings are lists separated by spaces (RFC 8693, 4.2)."""


class Key(Protocol):
    """A public key of an issuer."""

    def verifies(self, token: bytes, algorithm: str) -> bool:
        """Whether the signature of a token is valid."""
        ...


class Keys(Protocol):
    """The public keys of an issuer."""

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """Return the key with this id for an algorithm; without an id the only one."""
        ...


class KeySource(Protocol):
    """The fetched keys of all issuers."""

    removals: int
    """Increases with each key that an issuer has removed."""

    def of(self, issuer: str) -> Keys | None:
        """Return the keys of an issuer, None before they were fetched."""
        ...

    def may_fetch(self, issuer: str) -> bool:
        """Whether the keys can be fetched now; that is rate limited."""
        ...


class SigningKeyNeeded(Exception):
    """The keys of an issuer must be fetched before a token can be validated. Not an error: the gate fetches them."""

    def __init__(self, issuer: str) -> None:
        super().__init__(issuer)
        self.issuer = issuer


class Tokens:
    """Identifies users by their tokens."""

    def __init__(
        self,
        config: Config,
        quotas: Quotas,
        source: KeySource,
        time: Callable[[], float],
        issuers: Iterable[JwtIssuer] | None = None,
    ) -> None:
        """`time` returns Unix seconds; `issuers`: the accepted ones, None for those of the configuration."""
        accepted = config.auth.jwt if issuers is None else issuers
        self._issuers = {issuer.issuer: _Issuer(issuer, config, quotas) for issuer in accepted}
        self._source = source
        self._time = time
        self._validated: dict[bytes, Credential] = {}
        """SHA-256 digest of the token and its header -> its user, for this configuration."""
        self._removals = source.removals
        self.checks = 0
        """Signatures that were checked."""

    def find(self, header: bytes, text: bytes) -> Credential | None:
        """Return the user with a token; None if the text is no token of a configured issuer.

        `header`: the name of the header that contains it. Raises InvalidKey, LoginUnavailable and SigningKeyNeeded.
        """
        if self._removals != self._source.removals:
            self._removals = self._source.removals
            self._validated.clear()
        digest = hashlib.sha256(b"%b %b" % (header, text)).digest()
        validated = self._validated.get(digest)
        if validated is not None:
            return validated
        token = parse_token(text)
        if token is None:
            if names_issuer(text, self._issuers):
                raise InvalidKey
            return None
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            return None
        credential = self._validate(token, issuer, header)
        if len(self._validated) >= MAX_VALIDATED:
            del self._validated[next(iter(self._validated))]
        self._validated[digest] = credential
        return credential

    def _validate(self, token: Token, issuer: _Issuer, header: bytes) -> Credential:
        credential = issuer.credential(token, header, self._time())
        algorithm = token.header["alg"]
        keys = self._source.of(token.issuer)
        key = None if keys is None else keys.find(token.header.get("kid"), algorithm)
        if key is None:
            if self._source.may_fetch(token.issuer):
                raise SigningKeyNeeded(token.issuer)
            raise LoginUnavailable if keys is None else InvalidKey
        self.checks += 1
        if not key.verifies(token.text, algorithm):
            raise InvalidKey
        return credential


class _Issuer:
    """The requirements for tokens of one issuer, besides their signature."""

    def __init__(self, settings: JwtIssuer, config: Config, quotas: Quotas) -> None:
        self._settings = settings
        self._header = settings.header.encode() if settings.header else None
        names = ("Ed25519",) if "EdDSA" in settings.algorithms else ()
        self._algorithms = frozenset((*settings.algorithms, *names))
        self._groups = Groups(settings, config, quotas)

    def credential(self, token: Token, header: bytes, now: float) -> Credential:
        """Return the user of a token, without checking its signature. Raises InvalidKey."""
        claims = token.claims
        is_valid = (
            self._header in (None, header)
            and self._is_valid_header(token.header)
            and self._is_for_us(claims.get("aud"))
            and self._is_current(claims, now)
            and is_subject(claims.get("sub"))
        )
        if not is_valid:
            raise InvalidKey
        values = frozenset(groups_in(claims, self._settings.group_claim))
        caller = self._groups.caller(claims["sub"], _name(claims), values)
        leeway = self._settings.leeway
        # A clock can be set back while the token is cached.
        starts = max((claims[name] for name in _STARTS if name in claims), default=float("-inf"))
        return Credential(caller, claims["exp"] + leeway, caller.group is not None, starts - leeway)

    def _is_valid_header(self, header: Mapping[str, Any]) -> bool:
        """Keys and addresses of keys in it (`jwk`, `jku`, `x5u`, `x5c`) are never used."""
        algorithm = header.get("alg")
        return (
            isinstance(algorithm, str)
            and algorithm in self._algorithms
            and isinstance(header.get("kid"), str | None)
            and str(header.get("typ", "jwt")).lower() in _TYPES
            and "crit" not in header
            and "b64" not in header
        )

    def _is_for_us(self, audience: object) -> bool:
        given = audience if isinstance(audience, list) else [audience]
        return any(isinstance(each, str) and each in self._settings.audience for each in given)

    def _is_current(self, claims: Mapping[str, Any], now: float) -> bool:
        leeway = self._settings.leeway
        expires: Any = claims.get("exp")
        starts: list[Any] = [claims[name] for name in _STARTS if name in claims]
        return (
            _is_time(expires) and now < expires + leeway and all(_is_time(at) and at <= now + leeway for at in starts)
        )


def groups_in(claims: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the values of the claim that contains groups. `name`: its name, or a path to it."""
    value = _at(claims, name)
    if isinstance(value, str):
        value = value.split(" ") if name in _MULTI_WORD else [value]
    if isinstance(value, list) and (name != "email" or claims.get("email_verified") is True):
        yield from (each for each in value if isinstance(each, str))


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_TIME


def _at(claims: Mapping[str, Any], name: str) -> object:
    """Return the claim with this name, which can contain dots (`https://example.com/groups`), or at this path."""
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _name(claims: Mapping[str, Any]) -> str:
    """Return the display name of a user. An email address is used only if the issuer has verified it."""
    email, subject = claims.get("email"), str(claims["sub"])
    is_verified = claims.get("email_verified") is True and isinstance(email, str) and is_subject(email)
    name = str(email) if is_verified else subject
    return name if name.isprintable() else ascii(name)
