"""The values that config.yaml becomes: frozen, checked field by field, no secret in any `repr`.

How the file is read, and what one field alone cannot tell, is in `configfile`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from proxy.dialects import DIALECTS, Dialect

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|)")
_SIZE_UNITS = {"B": 1, "": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _duration(value: object) -> object:
    """`250ms`, `4s`, `5m`, `24h`, `7d`, or a number of seconds -> seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("a duration is a number with a unit: 250ms, 4s, 5m, 24h or 7d")
        return float(match[1]) * _DURATION_UNITS[match[2]]
    return value


def _size(value: object) -> object:
    """`512KiB`, `16MiB`, or a number of bytes -> bytes."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError("a size is a whole number with a unit: 512KiB or 16MiB")
        return int(match[1]) * _SIZE_UNITS[match[2]]
    return value


def _fields_to_show(value: object) -> object:
    """`all`, `none` or a list of names -> None, an empty tuple, or the names."""
    if isinstance(value, str):
        if value not in ("all", "none"):
            raise ValueError("is `all`, `none` or a list of field names")
        return None if value == "all" else ()
    return value


Seconds = Annotated[float, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Name = Annotated[str, Field(pattern=_NAME, max_length=64)]
Globs = tuple[Annotated[str, Field(min_length=1)], ...]


class Settings(BaseModel):
    # Strings are never shown in a message by pydantic: our own messages quote the file, before `${NAME}` is filled in.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Server(Settings):
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    open: bool = False
    """Listen beyond loopback although no key is configured."""
    cors: tuple[str, ...] = ()
    """Exact origins of web pages that may ask."""
    drain: Seconds = 5.0
    """How long a server that was told to stop (SIGTERM) says "not ready" while it still answers."""

    @field_validator("cors")
    @classmethod
    def _exact_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or "*" in origin:
                raise ValueError("an origin is exact and has no path: https://app.example.com")
        return origins


class _Keeping(Settings):
    ttl: Seconds = 300.0
    """How long an answer is fresh."""
    max_stale: Seconds = 86_400.0
    """How long after the last success it is shown, marked as old."""
    patience: Seconds = 4.0
    """How long requests wait for a provider never heard from, counted from its first question."""


class Cache(_Keeping):
    """The section `cache`."""


class _Asking(_Keeping):
    timeout: Seconds = 10.0
    """One whole question, all pages and attempts; one attempt gets at most a third."""
    retries: int = Field(default=2, ge=0, le=10)
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    proxy: SecretStr | None = None
    ca_file: str | None = None
    max_body: Bytes = 16 * 1024**2
    max_pages: int = Field(default=500, ge=1)
    max_models: int = Field(default=20_000, ge=1)
    extra: Annotated[tuple[str, ...] | None, BeforeValidator(_fields_to_show)] = None
    """Which of the provider's other fields are shown; None is all of them."""

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, value in headers.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
                raise ValueError(f"{name!r} is no header name")
            check_sendable(value)
        return headers

    @field_validator("proxy")
    @classmethod
    def _proxy_url(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is not None:
            _check_url(proxy.get_secret_value(), may_hold_login=True)
        return proxy


class Defaults(_Asking):
    """The section `defaults`: for every provider that does not say otherwise."""


class Iam(Settings):
    """A login at a Huawei IAM, for a token that is renewed by itself."""

    url: str
    domain: str
    user: str
    password: SecretStr
    project: str

    @field_validator("url")
    @classmethod
    def _iam_url(cls, url: str) -> str:
        _check_url(url)
        return url.rstrip("/").removesuffix("/v3/auth/tokens").removesuffix("/v3")


class Provider(_Asking):
    """One provider, with everything inherited from `defaults` and `cache` filled in."""

    name: Name
    kind: str = "openai"
    base_url: str = ""
    api_key: SecretStr | None = None
    api_key_file: str | None = None
    iam: Iam | None = None
    optional: bool = False
    owner: str = ""
    include: Globs = ("*",)
    exclude: Globs = ()
    prefix: str = ""
    aliases: Mapping[str, str] = Field(default_factory=dict)
    models: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """The settings of its kind (`workspace_id`, `model_ids` ...)."""

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.kind]

    @property
    def asked(self) -> bool:
        """Whether there is somebody to ask; a provider that is not only has declared models."""
        return self.dialect.asked

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, url: str) -> str:
        if url:
            _check_url(url)
        return url

    @field_validator("api_key")
    @classmethod
    def _api_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            check_sendable(key)
        return key


class OwnerRule(Settings):
    match: Globs = Field(min_length=1)
    owner: str = Field(min_length=1)


class Merge(Settings):
    duplicates: Literal["merge", "by_owner", "keep"] = "merge"


class Group(Settings):
    models: Globs


class Key(Settings):
    """One key of a client, known by the SHA-256 digest of its bytes."""

    name: Name
    digest: bytes = Field(repr=False)
    rules: Globs
    """Its own, or its group's."""
    expires: date | None = None
    admin: bool = False

    @property
    def valid_until(self) -> float:
        """Unix seconds: a date means the end of that day, UTC."""
        if self.expires is None:
            return float("inf")
        day = datetime(self.expires.year, self.expires.month, self.expires.day, tzinfo=UTC)
        return (day + timedelta(days=1)).timestamp()


@dataclass(frozen=True)
class LeftOut:
    """An optional provider that is not asked, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Config:
    """A deployment, as config.yaml says it. `repr` shows no secret."""

    server: Server
    merge: Merge
    owners: tuple[OwnerRule, ...]
    providers: tuple[Provider, ...]
    """In the operator's order, which is their precedence."""
    keys: tuple[Key, ...]
    anonymous: Globs | None
    """Rules of who brings no key; None refuses them."""
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Without any key the proxy is open: whatever credential a client sends."""
        return not self.keys

    def refuse_exposure(self, host: str) -> str:
        """Why this host must not be listened on, "" where it may."""
        if not self.is_open or self.server.open or _is_loopback(host):
            return ""
        return (
            f"refuses to listen on {host}: no keys are configured, so everybody who reaches it could use your "
            "providers. Add `keys:`, listen on 127.0.0.1, or say `server: {open: true}`."
        )


def _check_url(url: str, *, may_hold_login: bool = False) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port_or_none(url):
        raise ValueError("must be a URL that begins with http:// or https://")
    if parts.username is not None and not may_hold_login:
        raise ValueError("must not hold a user or password; put the credential into `api_key` or `headers`")
    if parts.query or parts.fragment:
        raise ValueError("must end with the path: no `?` and no `#`")


def _has_port_or_none(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def check_sendable(secret: SecretStr) -> None:
    if not re.fullmatch(r"[\x20-\x7e]*", secret.get_secret_value()):
        raise ValueError("can only hold printable ASCII characters: it is sent in an HTTP header")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
