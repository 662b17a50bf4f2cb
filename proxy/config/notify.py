"""The section `notify`: webhooks that are called when something has changed."""

from __future__ import annotations

import base64
import binascii
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from proxy.config.addresses import is_url, proxy_url
from proxy.config.fields import NotEmpty, Settings
from proxy.config.hints import did_you_mean
from proxy.config.secret_files import SecretFile
from proxy.telemetry.changes import CHANGE_TYPES

_PREFIX = "whsec_"
_MIN_SECRET, _MAX_SECRET = 24, 64
"""Bytes, as Standard Webhooks requires."""


def _webhook_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if "#" in url or not is_url(url):
        raise ValueError("must be a URL like https://hooks.example.com/path")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or password")
    if parts.scheme.lower() != "https" and not _is_private(parts.hostname or ""):
        raise ValueError("must begin with https://, unless its host is a loopback or private address")
    return secret


def _is_private(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_private


def signing_secret(secret: SecretStr) -> SecretStr:
    """A secret of Standard Webhooks."""
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or not _MIN_SECRET <= len(key) <= _MAX_SECRET:
        raise ValueError(f"must be `{_PREFIX}` and the base64 of {_MIN_SECRET} to {_MAX_SECRET} random bytes")
    return secret


def _events(value: object) -> object:
    listed = value if isinstance(value, list | tuple) else None
    unknown = [each for each in listed or () if each not in CHANGE_TYPES]
    if not listed or unknown:
        hint = "".join(did_you_mean(str(each), CHANGE_TYPES) for each in unknown[:1])
        raise ValueError(f"must be a list of {', '.join(CHANGE_TYPES[:-1])} and {CHANGE_TYPES[-1]}{hint}")
    return tuple(listed)


class Webhook(Settings):
    """One receiver."""

    webhook: Annotated[SecretStr, AfterValidator(_webhook_url)]
    """The URL. It is a secret, because for many receivers it is the only credential."""
    secret: Annotated[SecretStr, AfterValidator(signing_secret)] | None = Field(default=None)
    """Requests are signed with it."""
    secret_file: NotEmpty | None = None
    events: Annotated[tuple[str, ...], BeforeValidator(_events)] = CHANGE_TYPES
    proxy: Annotated[SecretStr, AfterValidator(proxy_url)] | None = None
    ca_file: NotEmpty | None = None

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """The secret, if it is in a file."""
        return (self.secret,) if isinstance(self.secret, SecretFile) else ()

    @property
    def signing_key(self) -> bytes:
        assert self.secret is not None, "checked when the configuration is read"
        return base64.b64decode(self.secret.get_secret_value().removeprefix(_PREFIX))
