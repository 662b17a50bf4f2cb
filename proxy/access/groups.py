"""The groups of users with a login: from the groups in the login to a caller."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import quote

from proxy.access.caller import Caller
from proxy.access.policy import Policy
from proxy.config import Config
from proxy.config.auth import IdentityHeader, JwtIssuer
from proxy.limits.quota import Quotas

MAX_SUBJECT = 255
"""Characters, as in OpenID Connect."""
_MAX_QUOTED = 255
_PLAIN = "!#$&'()*+,/:;=?@[]|~"
"""Kept in identities, besides letters, digits and `_.-`."""


class Groups:
    """The callers of one login."""

    def __init__(self, login: JwtIssuer | IdentityHeader, config: Config, quotas: Quotas) -> None:
        self._source = login.source
        self._order: Mapping[str, str] = login.groups
        self._admin = frozenset(login.admin)
        self._callers = {
            name: (Policy.of(group.models), group.call is not False, quotas.of_member(name))
            for name in dict.fromkeys(login.groups.values())
            if (group := config.groups.get(name))
        }

    def caller(self, subject: str, name: str, values: Collection[str]) -> Caller:
        """Return the caller with these groups of the login; without a group if none is configured.

        `subject` identifies the user at the login, `name` is the display name.
        """
        identity = self._source + quoted(subject)
        group = next((group for value, group in self._order.items() if value in values), None)
        if group is None:
            return Caller(name, Policy.of(()), identity=identity)
        policy, may_call, quota = self._callers[group]
        return Caller(name, policy, not self._admin.isdisjoint(values), may_call, identity, group, quota)


def quoted(subject: str) -> str:
    """A subject in printable ASCII without spaces. Different subjects differ."""
    return quote(subject, safe=_PLAIN)


def is_subject(value: object) -> bool:
    """Whether a value identifies a user: a text, and not too long to be a part of records."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT:
        return False
    return value.isascii() or (_is_unicode(value) and len(quoted(value)) <= _MAX_QUOTED)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
