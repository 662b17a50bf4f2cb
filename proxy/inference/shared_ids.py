"""The ids of the ledger that other processes have recorded: stored under a digest of the id and of the key.

A key is identified by the digests of its secret, not by its name: a later key with the same name is another one. Each
value is authenticated with the same digest, so that nothing but a proxy with this key in its configuration can have
written it. For users, a secret from the configuration is used instead.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from proxy.config import Config, Key
from proxy.config.identities import SEPARATOR
from proxy.config.secret_files import values_of
from proxy.sharing import Sharing

_MAC = 16
MAX_LOOKED_UP = 50
"""Ids of one request that are looked up."""

_log = logging.getLogger("models_proxy")


class SharedId(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where an id came from."""

    provider: Annotated[str, Meta(max_length=64)]
    model: Annotated[str, Meta(max_length=512)]
    at: float
    """Unix seconds."""


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(SharedId).decode


class SharedIds:
    """Records of all processes, by the name of a key and an id."""

    def __init__(
        self,
        sharing: Sharing,
        time: Callable[[], float],
        seconds: float,
        keys: Iterable[Key],
        secret_of_users: bytes = b"",
    ) -> None:
        """`time`: Unix seconds; `seconds`: how long an id is kept; `secret_of_users`: b"" if the ids of users are not
        shared."""
        self._sharing = sharing
        self._time = time
        self._seconds = seconds
        self._digests: Mapping[str, Sequence[bytes]] = {}
        self._secret_of_users = b""
        self._has_reported = False
        self.configure(keys, secret_of_users)

    def configure(self, keys: Iterable[Key], secret_of_users: bytes = b"") -> None:
        """Apply another configuration."""
        self._digests = {key.name: key.digests for key in keys}
        self._secret_of_users = secret_of_users

    def put(self, key: str, object_id: str, provider: str, model: str) -> None:
        """Record that a key received an id now. While a key has several digests, under each."""
        payload = _ENCODE(SharedId(provider, model, self._time()))
        for digest in self._digests_of(key):
            self._sharing.put(_name(digest, object_id), _mac(digest, payload) + payload, self._seconds)

    def _digests_of(self, identity: str) -> Sequence[bytes]:
        if SEPARATOR not in identity:
            return self._digests.get(identity, ())
        secret = self._secret_of_users
        return [hashlib.blake2b(identity.encode(), key=secret, digest_size=32).digest()] if secret else ()

    async def find(self, key: str, ids: Collection[str]) -> Mapping[str, tuple[SharedId, float]]:
        """Return what is known of ids, each with its age in seconds. Takes 0.2 s at most."""
        names = {
            _name(digest, object_id): (digest, object_id)
            for object_id in [*ids][:MAX_LOOKED_UP]
            for digest in self._digests_of(key)
        }
        if not names:
            return {}
        found: dict[str, tuple[SharedId, float]] = {}
        for name, value in (await self._sharing.get(names)).items():
            digest, object_id = names[name]
            if (record := self._read(digest, value)) is not None:
                found[object_id] = (record, min(max(0.0, self._time() - record.at), self._seconds))
        return found

    def delete(self, key: str, object_id: str) -> None:
        for digest in self._digests_of(key):
            self._sharing.delete(_name(digest, object_id))

    def _read(self, digest: bytes, value: bytes) -> SharedId | None:
        payload = value[_MAC:]
        try:
            if hmac.compare_digest(value[:_MAC], _mac(digest, payload)):
                return _DECODE(payload)
        except msgspec.MsgspecError:
            pass
        if not self._has_reported:
            self._has_reported = True
            _log.warning("an id from the shared store was ignored: it is damaged or foreign")
        return None


def secret_of_users(config: Config) -> bytes:
    """A secret that all replicas have, from the API keys in their configuration; b"" without any, or without logins."""
    of_providers = {value for each in config.providers for key in each.all_api_keys for value in values_of(key)}
    secrets = sorted(value.encode("utf-8", "surrogatepass") for value in of_providers if value)
    if not secrets or not config.auth.logins:
        return b""
    return hashlib.blake2b(b"\0".join(secrets), digest_size=32, person=b"ids of users").digest()


def _name(digest: bytes, object_id: str) -> str:
    message = object_id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(message, key=digest, digest_size=16, person=b"id name").hexdigest()


def _mac(digest: bytes, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, key=digest, digest_size=_MAC, person=b"id value").digest()
