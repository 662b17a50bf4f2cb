"""The section `server`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from proxy.config.addresses import browser_url, exact_origin, host_name, host_or_socket, path_prefix, reverse_proxies
from proxy.config.call_paths import call_name, extra_path
from proxy.config.fields import Bytes, NotEmpty, Seconds, Settings, file_mode, lists_to_wait_for, off_if_false, whole
from proxy.config.limits import Limits
from proxy.config.misplaced import no_secret
from proxy.config.timezones import timezone_name


class Tls(Settings):
    """The certificate with which the server speaks TLS."""

    certificate: NotEmpty
    """A file in PEM: the certificate, then those of intermediate authorities."""
    key: NotEmpty
    """A file in PEM, without a passphrase."""


class Server(Settings):
    host: Annotated[NotEmpty, AfterValidator(no_secret), AfterValidator(host_or_socket)] = "127.0.0.1"
    """An address or a name; or `unix:PATH`, an absolute path."""
    socket_mode: Annotated[int, BeforeValidator(file_mode)] = 0o660
    """Permissions of the file of a Unix socket."""
    port: Annotated[int, whole(0, 65535)] = 8000
    base_path: Annotated[str, BeforeValidator(path_prefix)] = "/"
    """What the paths of all requests begin with, without a slash at the end."""
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
    facts_style: Literal["plain", "all"] = "plain"
    """The names of facts in lists: one per fact, or also those of other servers."""
    expose_provider: bool = False
    """Whether all callers see which provider served a call (`x-served-by`); otherwise only admin keys do."""
    public_url: Annotated[NotEmpty, AfterValidator(browser_url)] | None = None
    """The URL of this server in browsers, including `base_path`, for logins at issuers."""
    timezone: Annotated[str, AfterValidator(timezone_name)] = "UTC"
    """The time zone of days and months in usage and limits."""
    tls: Tls | None = None
    """None: plain HTTP."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(reverse_proxies)], ...] = ()
    """Networks of reverse proxies whose `X-Forwarded-For` is trusted, for addresses of clients."""
    shutdown_timeout: Seconds = 60.0
    """How long after `drain_delay` requests in progress can take; then calls end with an error."""
    ready: Annotated[Literal["any", "all"] | tuple[str, ...], BeforeValidator(lists_to_wait_for)] = "any"
    """The providers whose lists `/readyz` waits for: any one, all, or those with these names."""
    workers: Annotated[int, whole(1, 64)] = 1
    """Processes that serve requests. Limits of all clients, and of calls to a provider, are divided between them."""
    sse_keepalive: Seconds = 15.0
    """An SSE comment is sent on a stream without data for this long, so that proxies do not close it as idle."""
