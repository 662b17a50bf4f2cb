"""The fingerprint of what decides a provider's list: its fetch settings and its credentials.

Lists are stored under it, and exchanged only between processes that have the same one: with equal settings, and
credentials that are equal for the provider. It is an HMAC with the credentials as key, so nothing can be guessed
from it. It is equal in every process, and changes when the content of a file with a credential changes.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from proxy.config import Provider
from proxy.store.succession import FETCH_SETTINGS

SCHEMA = 1
"""Changed when equal settings lead to other entries: then lists that were stored before are not used."""
_DIGITS = 32


class Fingerprint(NamedTuple):
    """`name` is public: it names files and keys of a shared store. `key` authenticates what is stored under it."""

    name: str
    """32 hexadecimal digits."""
    key: bytes
    """It must not leave the process."""

    def __repr__(self) -> str:
        return f"Fingerprint({self.name!r})"


def fingerprint(provider: Provider) -> Fingerprint:
    """Return the fingerprint of the settings and of the credentials as they are now.

    AWS credentials that are not in the configuration do not count.
    """
    secrets: list[str] = []
    settings = {name: _plain(getattr(provider, name), secrets) for name in FETCH_SETTINGS}
    key = _encoded(secrets)
    message = _encoded([SCHEMA, settings])
    return Fingerprint(_hmac(key, b"name", message).hex()[:_DIGITS], _hmac(key, b"key", message))


def _hmac(key: bytes, purpose: bytes, message: bytes) -> bytes:
    return hmac.digest(key, purpose + b"\0" + message, "sha256")


def _encoded(value: object) -> bytes:
    """Bytes that are equal for equal values in every process. Variables can contain bytes that are not UTF-8."""
    return json.dumps(value, sort_keys=True).encode()


def _plain(value: Any, secrets: list[str]) -> Any:
    """The value as JSON, with secrets replaced by their number; they are appended to `secrets`. Raises TypeError."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, SecretStr):
        secrets.append(value.get_secret_value())
        return {"secret": len(secrets)}
    if isinstance(value, BaseModel):
        # Not the paths of files: their content counts.
        names = (name for name in type(value).model_fields if not name.endswith("_file"))
        return {name: _plain(getattr(value, name), secrets) for name in names}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name), secrets) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(value[name], secrets) for name in sorted(value)}
    if isinstance(value, Set):
        return [_plain(each, secrets) for each in sorted(value)]
    if isinstance(value, Sequence):
        return [_plain(each, secrets) for each in value]
    raise TypeError(f"fetch settings contain no {type(value).__name__}")
