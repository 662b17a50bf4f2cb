"""The settings in config.yaml as frozen values, each validated separately. No `repr` contains a secret.

Reading the file, and checks across several settings: `loader`, `providers`, `keys`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from proxy.calls import APIS, VERSION, Api
from proxy.config.call_paths import call_name, extra_path
from proxy.config.custom import AuthChoice, CustomList
from proxy.config.fields import (
    ApiKey,
    BaseUrl,
    Bytes,
    FailoverCause,
    Globs,
    Name,
    NotEmpty,
    Seconds,
    Sendable,
    Settings,
    Text,
    Url,
    at_least_one,
    declared_model,
    exact_origin,
    failover_conditions,
    fields_to_show,
    header_name,
    host_name,
    lists_to_wait_for,
    network,
    off_if_false,
    proxy_url,
    whole,
)
from proxy.config.forwarded_headers import forwardable, header_matcher
from proxy.config.generation import generation_of
from proxy.config.limits import Limits
from proxy.config.list_settings import ListSettings, adjusted
from proxy.config.logs import Logging
from proxy.config.misplaced import no_secret
from proxy.config.places import Places
from proxy.config.routing import RoutingRule, VirtualModel
from proxy.config.secret_files import SecretFile
from proxy.config.sources import Sources
from proxy.dialects import DIALECTS, Auth, Dialect, fill_template
from proxy.patterns import Matcher


class Server(Settings):
    host: Annotated[NotEmpty, AfterValidator(no_secret)] = "127.0.0.1"
    port: Annotated[int, whole(0, 65535)] = 8000
    allow_anonymous: bool = False
    """Allow listening on other addresses than loopback without any keys."""
    allowed_hosts: tuple[Annotated[str, AfterValidator(host_name)], ...] = ()
    """Values of `Host`, besides loopback names, that are accepted while no keys are configured."""
    cors: tuple[Annotated[str, AfterValidator(exact_origin)], ...] = ()
    """Origins of web pages, desktop applications and extensions that can send requests."""
    default_models: Mapping[Annotated[str, AfterValidator(call_name)], NotEmpty] = Field(default_factory=dict)
    """Path of a call without `/v1/` -> the model of requests without one."""
    extra_paths: tuple[Annotated[str, AfterValidator(extra_path)], ...] = ()
    """Further paths of calls, whose body has a `model` field."""
    drain_delay: Seconds = 5.0
    """How long after SIGTERM the server reports "not ready" and still accepts requests, before it shuts down."""
    limits: Limits = Limits()
    metrics: Annotated[Literal["admin", "open", "off"], BeforeValidator(off_if_false)] = "admin"
    """Who can read `/metrics`: admin keys, or everyone, then without names of keys, providers and models."""
    max_request: Bytes = 32 * 1024**2
    """Maximum size of a request body."""
    reload: Annotated[Literal["auto", "signal", "off"], BeforeValidator(off_if_false)] = "auto"
    """When a changed configuration is applied: within seconds, after SIGHUP only, or at the next start only."""
    expose_provider: bool = False
    """Whether all callers see which provider served a call (`x-served-by`); otherwise only admin keys do."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(network)], ...] = ()
    """Networks of reverse proxies whose `X-Forwarded-For` is believed, for addresses of clients in the log."""
    shutdown_timeout: Seconds = 60.0
    """How long after `drain_delay` requests in progress can take; then calls end with an error."""
    ready: Annotated[Literal["any", "all"] | tuple[str, ...], BeforeValidator(lists_to_wait_for)] = "any"
    """The providers whose lists `/readyz` waits for: any one, all, or those with these names."""
    sse_keepalive: Seconds = 15.0
    """An SSE comment is sent on a stream without data for this long, so that proxies do not close it as idle."""


class CacheSettings(Settings):
    ttl: Seconds = 300.0
    """How long a list is fresh."""
    max_stale: Seconds = 86_400.0
    """How long after the last successful refresh a list is served, marked as stale."""
    confirm_empty: Seconds = 600.0
    """How long a list must stay empty, or much shorter than before, until it replaces the last one."""
    initial_wait: Seconds = 4.0
    """How long requests wait for a provider's first response, counted from its first fetch."""


class Cache(CacheSettings):
    """The section `cache`."""


class FetchSettings(CacheSettings):
    timeout: Seconds = 10.0
    """One refresh, with all pages and attempts; one attempt gets at most a third of it."""
    retries: Annotated[int, whole(0, 10)] = 2
    headers: Mapping[Annotated[str, AfterValidator(header_name)], Sendable] = Field(default_factory=dict)
    proxy: Annotated[SecretStr, AfterValidator(proxy_url)] | None = None
    ca_file: NotEmpty | None = None
    max_body: Bytes = 16 * 1024**2
    max_pages: Annotated[int, whole(1, 1_000_000)] = 500
    max_models: Annotated[int, whole(1, 1_000_000)] = 20_000
    extra_fields: Annotated[tuple[str, ...] | None, BeforeValidator(fields_to_show)] = None
    """The provider's additional fields that are shown; None is all of them."""


class Queue(Settings):
    """Calls that wait because `max_in_flight` is reached; the key with the fewest calls in progress is next."""

    size: Annotated[int, whole(0, 10_000)] = 100
    timeout: Seconds = 2.0


class CallSettings(FetchSettings):
    connect_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 600.0
    """From the start of a call to the headers of its response, all attempts together."""
    idle_timeout: Seconds = 300.0
    """Between two chunks of a response."""
    call_timeout: Seconds = 3600.0
    """One call, with its complete response."""
    max_in_flight: Annotated[int, whole(1, 1_000_000)] = 1000
    """Concurrent calls."""
    queue: Queue = Queue()
    failover: bool = True
    """Whether a failed call is retried at the next provider of the same model."""
    failover_on: Annotated[tuple[int | FailoverCause, ...], BeforeValidator(failover_conditions)] = (
        "no_connection", 401, 402, 404, 405, 429, 501, 503, 529, "stream_error", "empty_stream",
    )  # fmt: skip
    """After what the next provider is tried. By default, all errors that occur before any work is done."""
    failover_to: Literal["same_owner", "listed", "any"] = "listed"
    """Where its calls fail over to. `listed`: providers whose first list since the start contained the model, or whose
    `models` or `accept` name it; `same_owner`: of these, those with the same owner; `any`: all that have it."""
    forward_headers: tuple[Annotated[str, AfterValidator(forwardable)], ...] = ()
    """Patterns of further headers that are forwarded, from the client to the provider and back."""


class Defaults(CallSettings):
    """The section `defaults`: used by every provider without its own value."""


_NO_SECRET = SecretStr("")
"""Replaced by the secret in a file; one of both is required."""


class Iam(Settings):
    """A login at Huawei IAM for a token, which is renewed automatically."""

    url: Annotated[Url, AfterValidator(lambda url: url.rstrip("/").removesuffix("/v3/auth/tokens").removesuffix("/v3"))]
    domain: NotEmpty
    user: NotEmpty
    password: Annotated[SecretStr, Field(min_length=1)] = _NO_SECRET
    password_file: NotEmpty | None = None
    project: NotEmpty


class OAuth(Settings):
    """A login with OAuth client credentials (Entra and others) for a token, which is renewed automatically."""

    url: Url
    """The token endpoint."""
    id: NotEmpty
    secret: Sendable = _NO_SECRET
    secret_file: NotEmpty | None = None
    scope: Text = ""


class Call(Settings):
    """Where calls to the models of a provider are sent, if not to the URL of its kind."""

    base_url: BaseUrl
    auth: AuthChoice = None


NOT_CALLABLE = Call.model_construct(base_url="", auth=None)
"""`call: false`: the models of a provider are listed but cannot be called."""


def _not_callable_if_false(value: object) -> object:
    if str(value).lower() == "false":
        return NOT_CALLABLE
    if not isinstance(value, dict | Call):
        raise ValueError("must be `false` or {base_url: ..., auth: ...}")
    return value


_VERSION_AT_END = re.compile(r"/v[0-9][a-z0-9]*$")


@dataclass(frozen=True)
class Target:
    """Where calls to a provider's models are sent."""

    base_url: str
    auth: Auth
    call_id: str
    """A template; `{id}` is replaced by the provider's own id of a model."""
    root_url: str = ""
    """Where paths with a version of their own begin; "" for `base_url` without its version."""
    speaks: tuple[Api, ...] = APIS

    def called(self, own_id: str) -> str:
        """The model id to send in a call."""
        return own_id if self.call_id == "{id}" else self.call_id.replace("{id}", own_id)

    def url(self, path: str) -> str:
        """The URL of a call: `/v1` in the path (`CallPath`) is the base URL."""
        if path.startswith(VERSION + "/"):
            return self.base_url + path.removeprefix(VERSION)
        return (self.root_url or _VERSION_AT_END.sub("", self.base_url)) + path


class Provider(ListSettings, CallSettings):
    """One provider, including the settings it inherits from `defaults` and `cache`."""

    name: Name
    kind: str = "openai"
    base_url: BaseUrl = ""
    api_key: ApiKey | None = None
    api_key_file: NotEmpty | None = None
    api_keys: Annotated[tuple[ApiKey, ...], AfterValidator(at_least_one)] = ()
    api_keys_files: Annotated[tuple[NotEmpty, ...], AfterValidator(at_least_one)] = ()
    key_strategy: Literal["order", "spread"] = "order"
    """Which of several keys a request is sent with: the first usable one, or round-robin."""
    iam: Iam | None = None
    oauth: OAuth | None = None
    access_key_id: Sendable | None = None
    secret_access_key: Sendable | None = None
    session_token: Sendable | None = None
    """Keys of AWS, for kinds whose requests are signed."""
    list: CustomList | None = None
    """Its dialect, if the kind is `custom`."""
    optional: bool = False
    may_be_empty: bool = False
    """Whether a list without models is normal."""
    disabled: bool = False
    weight: Annotated[int, whole(1, 1000)] = 1
    """Its share of the calls, relative to other providers, with the strategies `weighted` and `least_busy`."""
    owner: Text = ""
    include: Globs = ("*",)
    exclude: Globs = ()
    prefix: Text = ""
    aliases: Mapping[NotEmpty, NotEmpty] = Field(default_factory=dict)
    """Public id -> the provider's own id; or patterns with one `*` on both sides."""
    list_aliases: bool = False
    """List the other names that entries contain (`aliases`), each as a model."""
    accept: Globs = ()
    """Patterns over own ids that the provider accepts but does not list: they can be called, but are not listed."""
    models: tuple[Annotated[Mapping[str, Any], BeforeValidator(declared_model)], ...] = ()
    call: Annotated[Call | None, BeforeValidator(_not_callable_if_false)] = None
    speaks: Annotated[tuple[Api, ...], Field(min_length=1)] = APIS
    """The APIs through which its models can be called."""
    stateful: bool = False
    """Allow calls that refer to state stored in the provider account, which all callers share."""
    settings: Mapping[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """The settings of its kind (`workspace_id`, `model_ids` ...)."""

    @cached_property
    def dialect(self) -> Dialect:
        """The row of its kind with the settings of its list applied. Cached, because a Dialect caches plans."""
        return adjusted(self.list.dialect if self.list else DIALECTS[self.kind].variant(self.settings), self)

    @property
    def all_api_keys(self) -> tuple[SecretStr, ...]:
        """Its API keys, in the order of the file; those in files, too."""
        return self.api_keys or ((self.api_key,) if self.api_key else ())

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """Its secrets that are in files."""
        logins = (self.iam and self.iam.password, self.oauth and self.oauth.secret)
        return tuple(secret for secret in (*self.all_api_keys, *logins) if isinstance(secret, SecretFile))

    @property
    def is_remote(self) -> bool:
        """Whether its list is fetched; otherwise the provider has only the models declared in the file."""
        return self.dialect.is_remote

    @property
    def target(self) -> Target | None:
        """None for a provider whose models are listed but cannot be called."""
        row = self.dialect
        base_url = self.call.base_url.rstrip("/") if self.call else self._call_url()
        auth = (self.call.auth if self.call else None) or row.call_auth or row.auth
        root_url = "" if self.call else self._filled(row.call_root)
        call_id = fill_template(row.call_id, self.settings)
        return Target(base_url, auth, call_id, root_url, self.speaks) if base_url else None

    @cached_property
    def forwards(self) -> Matcher | None:
        """Whether a header is forwarded by `forward_headers`, by its lower-case name; None if none is."""
        if not self.forward_headers:
            return None
        rows = [self.dialect.auth, *([self.target.auth] if self.target else ())]
        return header_matcher(self.forward_headers, [row.name for row in rows])

    def _call_url(self) -> str:
        url = self._filled(self.dialect.call)
        return "" if "{" in url else url  # a required setting is missing

    def _filled(self, template: str) -> str:
        host = "{0.scheme}://{0.netloc}".format(urlsplit(self.base_url))
        return fill_template(template, {**self.settings, "base": self.base_url, "host": host})


class OwnerRule(Settings):
    match: Globs = Field(min_length=1)
    owner: NotEmpty


class Merge(Settings):
    duplicates: Literal["merge", "by_owner", "by_provider"] = "merge"
    ignore_case: bool = False
    """Whether ids that differ only in case are one model, under the first spelling."""
    fill: bool = False
    """Whether facts that the first provider of a model does not report are those of the next one."""


class Group(Settings):
    models: Globs
    """Access rules (`access_rules`)."""
    call: bool | None = None
    """Whether its members can call the models that they can list; None: only requests with a key can."""


class Key(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An API key of a client, identified by the SHA-256 digest of its bytes. Small, because there can be thousands.

    Its settings are validated as `KeyEntry`.
    """

    name: str
    digests: tuple[bytes, ...]
    """Usually one; several while the client replaces its key. All identify the same caller."""
    rules: tuple[str, ...]
    """The access rules that apply: its own, otherwise those of its group."""
    group: str | None = None
    """The name of its group."""
    expires: date | None = None
    admin: bool = False
    may_call: bool = True

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "digests")
        return f"Key({', '.join(shown)})"

    @property
    def valid_until(self) -> float:
        """When the key expires, in Unix seconds: at the end of the day, UTC."""
        if self.expires is None:
            return float("inf")
        day = datetime(self.expires.year, self.expires.month, self.expires.day, tzinfo=UTC)
        return day.timestamp() + 86_400


@dataclass(frozen=True)
class Skipped:
    """A provider that is not used, with the reason."""

    name: str
    reason: str
    state: Literal["skipped", "disabled"] = "skipped"
    """`skipped`: it is optional and a secret is missing; `disabled`: the operator left it out."""


@dataclass(frozen=True)
class Config:
    """A complete configuration. Its `repr` contains no secret."""

    server: Server
    merge: Merge
    owners: tuple[OwnerRule, ...]
    providers: tuple[Provider, ...]
    """In the order of the file, which is their precedence."""
    groups: Mapping[str, Group] = field(default_factory=dict)
    """By name, in the order of the file."""
    keys: tuple[Key, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    models: tuple[VirtualModel, ...] = ()
    routing: tuple[RoutingRule, ...] = ()
    """The first rule that matches a model is used."""
    logging: Logging = field(default=Logging())
    sources: Sources = field(default=Sources(), compare=False, repr=False)
    """The files that it was read from."""
    places: Places = field(default=Places(), compare=False, repr=False)
    """Where settings are written."""

    @cached_property
    def generation(self) -> str:
        """12 hexadecimal digits that are equal for equal configurations, also on other machines.

        Comments, warnings and the order of mapping keys do not count; nor do secrets, which nobody can guess from it.
        Two configurations are equal (`==`) only if their secrets are equal, too.
        """
        skipped = [(each.name, each.state) for each in self.skipped]
        return generation_of(
            (
                self.server,
                self.merge,
                self.owners,
                self.providers,
                self.groups,
                self.keys,
                skipped,
                self.models,
                self.routing,
                self.logging,
            )
        )

    @property
    def key_names(self) -> frozenset[str]:
        return frozenset(key.name for key in self.keys)

    @property
    def anonymous(self) -> Group | None:
        """The group that applies to requests without an API key, None if they are rejected."""
        everything = Group(models=("*",)) if self.is_open else None
        return self.groups.get("default", everything)

    @property
    def is_shared(self) -> bool:
        """Whether several callers can be told apart that may call models: keys, and requests without one."""
        callers = sum(key.may_call for key in self.keys)
        return callers + bool(self.keys and self.anonymous and self.anonymous.call) > 1

    @property
    def is_open(self) -> bool:
        """Whether no keys are configured: credentials are then ignored."""
        return not self.keys

    def refuse_exposure(self, host: str) -> str:
        """The reason why the proxy must not listen on this host, "" if it can."""
        if not self.is_open or self.server.allow_anonymous or is_loopback(host):
            return ""
        return (
            f"refusing to listen on {host}: no keys are configured, so anyone who can reach it could use your "
            "providers. Add `keys:`, listen on 127.0.0.1, or set `server.allow_anonymous: true` in the configuration "
            "file (the variable MODELS_PROXY_OPEN has no effect unless the file refers to it)."
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is always this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
