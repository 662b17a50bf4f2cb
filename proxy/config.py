"""The values that config.yaml becomes: frozen, checked field by field, no secret in any `repr`.

How the file is read, and what one field alone cannot tell, is in `configfile`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from proxy.dialects import DIALECTS, Dialect

_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]+)?)\s*(ms|s|m|h|d|)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,18})\s*(B|KiB|MiB|GiB|)")
_SIZE_UNITS = {"B": 1, "": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_WHOLE = re.compile(r"[0-9]{1,18}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_URL = re.compile(r"https?://[^\s\x00-\x20\x7f\\]+", re.IGNORECASE)

# Each check says what it wants and never what it got, which may be a secret. The file is quoted elsewhere, before
# `${NAME}` is filled in.


def _duration(value: object) -> float:
    """`250ms`, `4s`, `5m`, `24h`, `7d`, or a number of seconds -> seconds."""
    match = _DURATION.fullmatch(str(value).strip())
    seconds = float(match[1]) * _DURATION_UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError("must be a duration above zero: a number with a unit, like 250ms, 4s, 5m, 24h or 7d")
    return seconds


def _size(value: object) -> int:
    """`512KiB`, `16MiB`, or a number of bytes -> bytes."""
    match = _SIZE.fullmatch(str(value).strip())
    size = int(match[1]) * _SIZE_UNITS[match[2]] if match else 0
    if size <= 0:
        raise ValueError("must be a size above zero: a whole number with a unit, like 512KiB or 16MiB")
    return size


def _whole(least: int, most: int) -> BeforeValidator:
    def check(value: object) -> int:
        text = str(value).strip()
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return BeforeValidator(check)


def _day(value: object) -> date:
    """A date, or one in a string (`${NAME}`)."""
    try:
        if _DAY.fullmatch(str(value)):
            return date.fromisoformat(str(value))
    except ValueError:
        pass
    raise ValueError("must be a day that exists, like 2027-01-31; the key is good until that day ends, UTC")


def _fields_to_show(value: object) -> object:
    """`all`, `none` or a list of names -> None, an empty tuple, or the names."""
    if value == "all":
        return None
    if value == "none":
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError("must be `all`, `none` or a list of field names")
    return value


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be at most 64 letters, digits, `.`, `_` and `-`, the first a letter or a digit")
    return name


def _text(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not hold control characters")
    return text


def _origin(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        raise ValueError("must be an exact origin in lower case and without a path, like https://app.example.com")
    return origin


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("must be letters and `-`, like those of all headers: write `Name: value`")
    return name


def check_sendable(secret: SecretStr) -> SecretStr:
    """A secret that can be sent in a header. Raises ValueError."""
    text = secret.get_secret_value()
    if not text:
        raise ValueError("is empty; give it a value or take it away")
    if not re.fullmatch(r"[\x20-\x7e]*", text) or text != text.strip():
        raise ValueError("must be printable ASCII without blanks around it, because it is sent in a header")
    return secret


def _url(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("must end with its path, without `?` and `#`")
    if not _is_url(url):
        raise ValueError("must be a URL like https://api.example.com/v1")
    if "@" in urlsplit(url).netloc:
        raise ValueError("must not hold a user or password; put the credential into `api_key` or `headers`")
    return url


def _proxy_url(proxy: SecretStr) -> SecretStr:
    url = proxy.get_secret_value()
    if "?" in url or "#" in url or not _is_url(url):
        raise ValueError(
            "must be a URL like http://user:password@egress:3128; percent-encode what is no letter or digit in a login"
        )
    return proxy


def _is_url(url: str) -> bool:
    # urlsplit would drop line breaks silently, and its errors quote what they dislike.
    if not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


Seconds = Annotated[float, BeforeValidator(_duration)]
Bytes = Annotated[int, BeforeValidator(_size)]
Name = Annotated[str, AfterValidator(_name)]
Text = Annotated[str, AfterValidator(_text)]
NotEmpty = Annotated[str, Field(min_length=1), AfterValidator(_text)]
Url = Annotated[str, AfterValidator(_url)]
Sendable = Annotated[SecretStr, AfterValidator(check_sendable)]
Day = Annotated[date, BeforeValidator(_day)]
Globs = tuple[NotEmpty, ...]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Server(Settings):
    host: NotEmpty = "127.0.0.1"
    port: Annotated[int, _whole(0, 65535)] = 8000
    open: bool = False
    """Listen beyond loopback although no key is configured."""
    cors: tuple[Annotated[str, AfterValidator(_origin)], ...] = ()
    """Exact origins of web pages that may ask."""
    drain: Seconds = 5.0
    """How long a server that was told to stop (SIGTERM) says "not ready" while it still answers."""


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
    retries: Annotated[int, _whole(0, 10)] = 2
    headers: Mapping[Annotated[str, AfterValidator(_header_name)], Sendable] = Field(default_factory=dict)
    proxy: Annotated[SecretStr, AfterValidator(_proxy_url)] | None = None
    ca_file: NotEmpty | None = None
    max_body: Bytes = 16 * 1024**2
    max_pages: Annotated[int, _whole(1, 1_000_000)] = 500
    max_models: Annotated[int, _whole(1, 1_000_000)] = 20_000
    extra: Annotated[tuple[str, ...] | None, BeforeValidator(_fields_to_show)] = None
    """Which of the provider's other fields are shown; None is all of them."""


class Defaults(_Asking):
    """The section `defaults`: for every provider that does not say otherwise."""


class Iam(Settings):
    """A login at a Huawei IAM, for a token that is renewed by itself."""

    url: Annotated[Url, AfterValidator(lambda url: url.rstrip("/").removesuffix("/v3/auth/tokens").removesuffix("/v3"))]
    domain: NotEmpty
    user: NotEmpty
    password: Annotated[SecretStr, Field(min_length=1)]
    project: NotEmpty


class Provider(_Asking):
    """One provider, with everything inherited from `defaults` and `cache` filled in."""

    name: Name
    kind: str = "openai"
    base_url: Url = ""
    api_key: Sendable | None = None
    api_key_file: NotEmpty | None = None
    iam: Iam | None = None
    optional: bool = False
    owner: Text = ""
    include: Globs = ("*",)
    exclude: Globs = ()
    prefix: Text = ""
    aliases: Mapping[NotEmpty, NotEmpty] = Field(default_factory=dict)
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


class OwnerRule(Settings):
    match: Globs = Field(min_length=1)
    owner: NotEmpty


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
    expires: Day | None = None
    admin: bool = False

    @property
    def valid_until(self) -> float:
        """Unix seconds: a date means the end of that day, UTC."""
        if self.expires is None:
            return float("inf")
        day = datetime(self.expires.year, self.expires.month, self.expires.day, tzinfo=UTC)
        return day.timestamp() + 86_400


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


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
