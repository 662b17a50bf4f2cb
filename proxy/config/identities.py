"""The identities of callers: the texts under which the proxy records their data."""

from __future__ import annotations

from collections.abc import Container, Iterable

SEPARATOR = ":"
"""Separates the source of an identity from the rest. No name of a key contains it."""


GROUP = f"group{SEPARATOR}"
"""Prefix of the name of a group where the name of a key is also possible (`group:staff`)."""


class Identities(Container[str]):
    """The identities that a configuration allows.

    That of a key is its name. Those of users begin with their source, which contains `SEPARATOR`, so a user never has
    the identity of a key: `jwt:<issuer>|<subject>`, `header:<user>`.
    """

    def __init__(self, keys: Iterable[str], sources: Iterable[str] = ()) -> None:
        """`keys`: the names of all keys; `sources`: the prefixes of the identities of users."""
        self._keys = frozenset(keys)
        self._sources = tuple(sources)

    def __contains__(self, identity: object) -> bool:
        return identity in self._keys or (isinstance(identity, str) and identity.startswith(self._sources))
