"""The section `auth`: users of OIDC providers and login proxies, and their groups."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from proxy.config.addresses import Url, is_loopback, is_url, proxy_url, restricted_network
from proxy.config.fields import NotEmpty, Seconds, Settings, at_least_one, check_filled, header_name, one_or_more
from proxy.config.identities import SEPARATOR
from proxy.config.secret_files import SecretFile, values_of
from proxy.key_headers import KEY_HEADERS

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ALGORITHMS = get_args(Algorithm)
_MAX_ISSUER = 200
"""Characters. Identities contain the issuer, and records are stored under identities."""
_MAX_LEEWAY = 3600.0
"""Seconds."""
_SCOPE = re.compile(r"[!#-\[\]-~]+")
_NOT_OF_LOGINS = frozenset({"host", "cookie", "content-length", "content-type", "transfer-encoding", "connection"})


def login_header(name: str) -> str:
    """The name of a header -> in lower case."""
    if header_name(name).lower() in _NOT_OF_LOGINS:
        raise ValueError("cannot identify a user; set the name of the header that the login proxy adds")
    return name.lower()


def identity_header(name: str) -> str:
    """The name of a header of a login proxy -> in lower case."""
    found = login_header(name)
    if found.encode() in KEY_HEADERS:
        raise ValueError(
            "is reserved for API keys, so its value would be rejected as an invalid key; "
            "set the header of the login proxy"
        )
    return found


def _listed_group(name: str) -> str:
    """A group as in a header with several: the header is split at commas, and spaces around them are removed."""
    if "," in name:
        raise ValueError("never matches, because commas separate the groups in the header; add each group on its own")
    if name != name.strip(" "):
        raise ValueError("never matches, because spaces around the groups in the header are removed; remove them here")
    return name


def peers(text: str) -> str:
    """The network of login proxies, such as `10.1.2.3/32`."""
    return restricted_network(text, "so any client could send the header; set the address of the login proxy")


def secure_url(url: str) -> str:
    """A URL whose response cannot be modified in transit: HTTPS or loopback."""
    parts = urlsplit(url)
    if parts.scheme.lower() != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://, unless its host is a loopback address: its keys validate logins")
    return url


def keys_url(url: str) -> str:
    """The address of signing keys. Some providers have one with a query."""
    if not is_url(url) or "#" in url or "@" in urlsplit(url).netloc:
        raise ValueError("must be a URL like https://login.example.com/keys")
    return secure_url(url)


def _issuer(issuer: str) -> str:
    if len(issuer) > _MAX_ISSUER or "|" in issuer:
        raise ValueError(f"must have at most {_MAX_ISSUER} characters and no `|`")
    if not issuer.isascii():  # identities contain the issuer as it is
        raise ValueError("must be ASCII; write the host name in Punycode, like https://xn--lgin-5qa.example")
    return secure_url(issuer)


def _leeway(seconds: float) -> float:
    if seconds > _MAX_LEEWAY:
        raise ValueError("must be at most 1h: tokens are accepted for this time after they have expired")
    return seconds


def with_openid(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Scopes of OpenID Connect."""
    if "openid" not in scopes:
        raise ValueError("must contain openid")
    return scopes


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError("must be a scope like `openid`, without spaces or quotes")
    return text


Groups = Annotated[Mapping[NotEmpty, NotEmpty], Field(min_length=1), AfterValidator(OrderedDict)]
"""Value of a claim, or of a header -> name of a group. The order matters, also for equality."""
Leeway = Annotated[Seconds, AfterValidator(_leeway)]
Scope = Annotated[str, AfterValidator(_scope)]
TokenHeader = Annotated[NotEmpty, AfterValidator(login_header)]
IdentityHeaderName = Annotated[NotEmpty, AfterValidator(identity_header)]
ListedGroup = Annotated[NotEmpty, AfterValidator(_listed_group)]
Values = Annotated[tuple[NotEmpty, ...], BeforeValidator(one_or_more), AfterValidator(at_least_one)]


class JwtIssuer(Settings):
    """An OIDC provider whose tokens are accepted."""

    issuer: Annotated[Url, AfterValidator(_issuer)]
    """Exactly as in the claim `iss`."""
    audience: Values
    """A token must be for one of these (`aud`)."""
    jwks_url: Annotated[NotEmpty, AfterValidator(keys_url)] | None = None
    """URL of the signing keys; None: from `/.well-known/openid-configuration` below the issuer."""
    header: TokenHeader | None = None
    """The only header in which tokens are accepted; None: all headers in which API keys are accepted."""
    algorithms: Annotated[tuple[Algorithm, ...], AfterValidator(at_least_one)] = ("RS256", "PS256", "ES256", "EdDSA")
    """A key accepts those of its type."""
    leeway: Leeway = 60.0
    """Maximum difference between clocks."""
    group_claim: NotEmpty = "groups"
    """A name, or a dotted path. The claim is a string or a list of strings."""
    groups: Groups
    admin: tuple[NotEmpty, ...] = ()
    """Values of the claim whose users are administrators."""
    proxy: Annotated[SecretStr, AfterValidator(proxy_url)] | None = None
    ca_file: NotEmpty | None = None
    client_id: NotEmpty | None = None
    """The id of this proxy at the issuer. With it, administrators can log in to the status page."""
    client_secret: Annotated[SecretStr, AfterValidator(check_filled)] | None = None
    client_secret_file: NotEmpty | None = None
    client_scopes: Annotated[tuple[Scope, ...], AfterValidator(with_openid)] = ("openid", "profile", "email")
    """What such a login requests, so that tokens contain the claim."""

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """The client secret, if it is in a file."""
        return (self.client_secret,) if isinstance(self.client_secret, SecretFile) else ()

    @property
    def client_secrets(self) -> tuple[str, ...]:
        """The client secret, then the previous one; empty without a client."""
        return values_of(self.client_secret) if self.client_id and self.client_secret else ()

    @property
    def source(self) -> str:
        """Prefix of the identities of its users."""
        return f"jwt{SEPARATOR}{self.issuer}|"


class IdentityHeader(Settings):
    """Headers in which a login proxy identifies its users."""

    name: IdentityHeaderName
    """Contains the user's groups, separated by commas."""
    user: IdentityHeaderName
    groups: Annotated[Mapping[ListedGroup, NotEmpty], Field(min_length=1), AfterValidator(OrderedDict)]
    admin: tuple[ListedGroup, ...] = ()
    # A keyword of Python cannot be declared as the other settings are.
    __annotations__["from"] = Annotated[tuple[Annotated[str, AfterValidator(peers)], ...], AfterValidator(at_least_one)]

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Only connections from these networks are trusted (`from`)."""
        return tuple(ip_network(text) for text in getattr(self, "from"))

    @property
    def source(self) -> str:
        """Prefix of the identities of its users."""
        return f"header{SEPARATOR}"


class Logins(Settings):
    """The logins."""

    jwt: tuple[JwtIssuer, ...] = ()
    header: IdentityHeader | None = None

    @property
    def logins(self) -> tuple[JwtIssuer | IdentityHeader, ...]:
        """All logins."""
        return (*self.jwt, self.header) if self.header else self.jwt

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups that users can have."""
        return tuple(dict.fromkeys(name for login in self.logins for name in login.groups.values()))

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers, in lower case, that identify users, besides those of API keys."""
        of_tokens = [issuer.header for issuer in self.jwt if issuer.header]
        return tuple(dict.fromkeys([*of_tokens, *([self.header.name, self.header.user] if self.header else ())]))
