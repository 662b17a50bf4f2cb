"""Authentication: identify the caller of a request by its headers. No I/O; the clock is injected."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Protocol

from proxy.access.addresses import ClientAddresses, Network, is_in
from proxy.access.caller import Caller, Credential
from proxy.access.identity_header import HeaderUsers
from proxy.access.jwt import SIGNATURE_COST, KeySource, Tokens
from proxy.access.policy import Policy
from proxy.access.token import DOTS, MAX_TOKEN_BYTES, STARTS
from proxy.asgi import Header
from proxy.config import Config
from proxy.errors import BadRequest, InvalidKey, KeyInQuery, KeyNotUsable, NoGroup
from proxy.key_headers import KEY_HEADERS, bare_or_bearer
from proxy.limits.quota import Quotas

MAX_KEY_BYTES = 4096
_MAX_CREDENTIAL_BYTES = max(2 * MAX_KEY_BYTES, MAX_TOKEN_BYTES + MAX_KEY_BYTES)
"""All headers with credentials together. A wrong key must not cost more than a list."""


PRIVATE: Sequence[Header] = (
    # Responses differ between keys, so caches must revalidate them (RFC 9111, 3.5).
    (b"cache-control", b"private, no-cache"),
    # `Anthropic-Version` and a Gemini key select the format of model lists, and that of their errors.
    (b"vary", b", ".join([*map(bytes.title, KEY_HEADERS), b"Anthropic-Version", b"Accept-Encoding"])),
)
"""The headers of every response that depends on the key."""
QUERY_KEYS = frozenset(
    {b"key", b"$key", b"api_key", b"apikey", b"access_token", b"token", b"subscription-key", *KEY_HEADERS}
)
"""The parameters of a query in which clients send an API key, in lower case."""
_ENCODED_LETTER = re.compile(rb"(?i)%(?:[46][1-9a-f]|[57][0-9a]|2d|5f)")  # also `-` and `_`
_MAX_PARAMETERS = 100


class Request(Protocol):
    """The parts of a request that identify its caller."""

    credentials: list[Header]
    """The headers of the request in KEY_HEADERS."""
    cost: int
    """The cost of identifying its caller, in about microseconds of CPU, besides the cost of every request."""

    @property
    def headers(self) -> Sequence[Header]: ...
    @property
    def query(self) -> bytes: ...
    @property
    def peer(self) -> str:
        """The address of the connection, "" if unknown."""
        ...

    @property
    def forwarded_for(self) -> bytes:
        """The header `X-Forwarded-For`, b"" without one."""
        ...


class Access:
    """The callers of a configuration: its keys, by SHA-256 digest, and the users of its logins."""

    def __init__(self, config: Config, time: Callable[[], float], signing_keys: KeySource | None = None) -> None:
        """`time` returns Unix seconds, for the expiry of keys. `signing_keys`: those of `auth.jwt`."""
        self._time = time
        self._open = config.is_open
        group = config.anonymous
        quotas = Quotas(config.groups)
        self._anonymous = (
            Caller(
                None,
                Policy.of(group.models),
                may_call=bool(group.call),
                group=config.anonymous_group,
                quota=quotas.of_member(config.anonymous_group),
            )
            if group
            else None
        )
        self._addresses = ClientAddresses(config.server.trusted_proxies)
        self._networks = {key.name: tuple(map(ip_network, key.allowed_ips)) for key in config.keys if key.allowed_ips}
        """Identity -> networks from which it can be used, for keys with `allowed_ips`."""
        self._keys: dict[bytes, Credential] = {}
        for key in config.keys:
            quota = quotas.of(key.limits, key.group)
            caller = Caller(key.name, Policy.of(key.rules), key.admin, key.may_call, key.name, key.group, quota)
            self._keys.update(
                dict.fromkeys(key.digests, Credential(caller, key.valid_until, valid_from=key.valid_from))
            )
        self._of_groups = frozenset(Policy.of(config.groups[name].models) for name in config.auth.group_names)
        self._tokens = Tokens(config, quotas, signing_keys, time) if signing_keys and config.auth.jwt else None
        self._header_users = HeaderUsers(config.auth.header, config, quotas) if config.auth.header else None
        of_tokens = {issuer.header.encode() for issuer in config.auth.jwt if issuer.header}
        self._named = of_tokens - KEY_HEADERS.keys()
        self._headers = {**dict.fromkeys(self._named, bare_or_bearer), **KEY_HEADERS}
        self.has_headers = bool(self._named or config.auth.header)
        """Whether other headers than KEY_HEADERS identify callers."""
        self._has_logins = bool(config.auth.logins)

    @property
    def policies(self) -> frozenset[Policy]:
        """Those of all callers."""
        callers = [credential.caller for credential in self._keys.values()]
        return frozenset(caller.policy for caller in (*callers, self._anonymous) if caller) | self._of_groups

    def is_anonymous(self, request: Request) -> bool:
        """Whether a request contains nothing that could identify its caller. Raises InvalidKey and NoGroup."""
        if request.credentials:
            return False
        return not self.has_headers or not (self.credentials_of(request) or self._user_of(request))

    def caller_of(self, request: Request) -> Caller:
        """Return the caller who sent a request. Raises as `identify`.

        The headers of a login proxy count only if the request contains no credential.
        """
        has_logins = self._has_logins
        caller = self._with_logins(request) if has_logins else self.identify(request.credentials, request.query)
        if self._networks and (networks := self._networks.get(caller.identity)):
            self._check_address(caller, request, networks)
        return caller

    def key_of(self, digest: bytes, request: Request) -> Credential:
        """Return the key with this digest, if it can be used now by the sender of a request. Raises InvalidKey."""
        found = self._keys.get(digest)
        if found is None:
            raise InvalidKey
        self._check_time(found)
        if networks := self._networks.get(found.caller.identity):
            self._check_address(found.caller, request, networks)
        return found

    def client_of(self, request: Request) -> str:
        """Return the address of the client, behind trusted proxies; that of the connection if it is not known."""
        return str(self._addresses.verified(request.peer, request.forwarded_for) or request.peer)

    def _check_address(self, caller: Caller, request: Request, networks: Sequence[Network]) -> None:
        address = self._addresses.verified(request.peer, request.forwarded_for)
        if address is None and request.peer:
            where = f"an unknown address (invalid X-Forwarded-For from {request.peer})"
            raise KeyNotUsable(caller.identity, f"was sent from {where}, so its `allowed_ips` cannot be checked")
        if address is None or not is_in(address, networks):
            where = str(address or "a Unix socket")
            raise KeyNotUsable(caller.identity, f"was sent from {where}, which is not in its `allowed_ips`")

    def _with_logins(self, request: Request) -> Caller:
        credentials = self.credentials_of(request) if self.has_headers else request.credentials
        user = None if credentials else self._user_of(request)
        if user is None:
            return self._identify(request, credentials)
        if request.query:
            _check_query(request.query)
        return user

    def _identify(self, request: Request, credentials: Sequence[Header]) -> Caller:
        tokens = self._tokens
        if tokens is None:
            return self.identify(credentials, request.query)
        checks = tokens.checks
        try:
            return self.identify(credentials, request.query)
        finally:
            if tokens.checks != checks:
                request.cost = SIGNATURE_COST

    def credentials_of(self, request: Request) -> Sequence[Header]:
        """Return the headers with credentials, also those of tokens."""
        if not self._named:
            return request.credentials
        return [*request.credentials, *(header for header in request.headers if header[0] in self._named)]

    def _user_of(self, request: Request) -> Caller | None:
        return self._header_users.find(request.headers, request.peer) if self._header_users else None

    def identify(self, credentials: Sequence[Header], query: bytes = b"") -> Caller:
        """Return the caller who sent these credentials: the request headers in KEY_HEADERS, and those of tokens.

        Raises InvalidKey, NoGroup, and BadRequest for a query with too many parameters; LoginUnavailable and
        SigningKeyNeeded for a token that cannot be validated yet.

        Clients send the key of this proxy in one header and a key of another service in a second one: credentials that
        are no keys of this proxy are ignored next to one that is. An expired key counts as a key of this proxy, so it
        is rejected next to a valid one, and so are valid keys of different callers. Without any key of this proxy,
        a credential is never ignored: the request does not count as one without a key. Repeated headers and keys in the
        query are always rejected.
        """
        if self._open:
            return self._known(self._anonymous)
        if query:
            _check_query(query)
        if not credentials:
            return self._known(self._anonymous)
        found = self._credential(*credentials[0]) if len(credentials) == 1 else self._common(credentials)
        if found is None:
            raise InvalidKey
        self._check_time(found)
        if not found.has_access:
            raise NoGroup
        return found.caller

    def _check_time(self, found: Credential) -> None:
        now = self._time()
        if not found.valid_from <= now < found.valid_until:
            raise KeyNotUsable(found.caller.identity, "has expired" if now >= found.valid_until else "is not valid yet")

    def _credential(self, name: bytes, value: bytes) -> Credential | None:
        key = self._headers[name](value)
        if self._tokens and key.count(b".") >= DOTS and key[:1] in STARTS and (user := self._tokens.find(name, key)):
            return user  # never looked up as a key
        # The look-up by digest prevents timing attacks.
        return self._keys.get(hashlib.sha256(key).digest()) if 0 < len(key) <= MAX_KEY_BYTES else None

    def _common(self, credentials: Sequence[Header]) -> Credential | None:
        """Return the credential, if all of these belong to one caller; of several, the first to expire."""
        if len(dict(credentials)) < len(credentials):  # a repeated header
            return None
        if sum(len(value) for _, value in credentials) > _MAX_CREDENTIAL_BYTES:
            return None
        found = [each for name, value in credentials if (each := self._credential(name, value))]
        if len({each.caller.identity for each in found}) != 1:
            return None
        return min(found, key=lambda each: each.valid_until)

    @staticmethod
    def _known(caller: Caller | None) -> Caller:
        if caller is None:
            raise InvalidKey
        return caller


@lru_cache(maxsize=256)
def _check_query(query: bytes) -> None:
    """Raise KeyInQuery if a parameter is an API key, and BadRequest if there are too many to look at each.

    A name with encoded letters is treated as that of a key: no client encodes them, and decoding takes long.
    Cached: clients repeat few queries. Those with a key are not kept, because exceptions are not cached.
    """
    parameters = query.split(b"&", _MAX_PARAMETERS)
    if len(parameters) > _MAX_PARAMETERS:
        raise BadRequest(f"The query has more than {_MAX_PARAMETERS} parameters.")
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if value and (name.lower() in QUERY_KEYS or (b"%" in name and _ENCODED_LETTER.search(name))):
            raise KeyInQuery
