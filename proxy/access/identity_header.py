"""Users that a login proxy in front of this one has identified in headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from proxy.access.addresses import address_of, is_in
from proxy.access.caller import Caller
from proxy.access.groups import Groups, is_subject
from proxy.asgi import Header
from proxy.config import Config
from proxy.config.auth import IdentityHeader
from proxy.errors import InvalidKey, NoGroup
from proxy.limits.quota import Quotas

_MAX_PEERS = 1024
_MAX_GROUPS_BYTES = 16 * 1024
_BLANKS = " \t"
"""Whitespace around values of headers (RFC 9110, 5.6.3). Other whitespace is part of a name: users can choose it."""


class HeaderUsers:
    """Identifies users by the headers of a login proxy, which is recognized by the address of the connection only."""

    def __init__(self, settings: IdentityHeader, config: Config, quotas: Quotas) -> None:
        self._user, self._name = settings.user.encode(), settings.name.encode()
        self._groups = Groups(settings, config, quotas)
        networks = settings.networks
        self._is_login_proxy = lru_cache(_MAX_PEERS)(
            lambda peer: (address := address_of(peer)) is not None and is_in(address, networks)
        )

    def find(self, headers: Iterable[Header], peer: str) -> Caller | None:
        """Return the user in the headers of a login proxy, None if the request is not from one, or has no user.

        `peer`: the address of the connection, never one from `X-Forwarded-For`; "" for a Unix socket, which is not
        trusted. Raises InvalidKey for repeated or ambiguous headers, and NoGroup.
        """
        if not self._is_login_proxy(peer):
            return None
        users, groups = [], []
        for name, value in headers:
            if name == self._user:
                users.append(value)
            elif name == self._name:
                groups.append(value)
        if len(users) > 1 or len(groups) > 1:
            raise InvalidKey
        if not any(users) and not any(groups):
            return None
        if not users:
            raise InvalidKey
        return self._caller(users[0], groups)

    def _caller(self, user: bytes, groups: Sequence[bytes]) -> Caller:
        try:
            subject, text = user.decode().strip(_BLANKS), b"".join(groups).decode()
        except UnicodeDecodeError:
            raise InvalidKey from None
        # A comma: an intermediary may have joined two headers.
        if not is_subject(subject) or not subject.isprintable() or "," in subject or len(text) > _MAX_GROUPS_BYTES:
            raise InvalidKey
        caller = self._groups.caller(subject, subject, frozenset(group.strip(_BLANKS) for group in text.split(",")))
        if caller.group is None:
            raise NoGroup
        return caller
