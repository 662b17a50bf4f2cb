"""The sections `cache` and `defaults`: settings that every provider inherits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from proxy.config.addresses import proxy_url
from proxy.config.fields import (
    Bytes,
    FailoverCause,
    NotEmpty,
    Seconds,
    Sendable,
    SentHeader,
    Settings,
    failover_conditions,
    fields_to_show,
    whole,
)
from proxy.config.forwarded_headers import forwardable


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
    headers: Mapping[SentHeader, Sendable] = Field(default_factory=dict)
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
    """Where its calls fail over to. `listed`: providers whose first list, fetched or restored, contained the model, or
    whose `models` or `accept` name it; `same_owner`: of these, those with the same owner; `any`: all that have it."""
    forward_headers: tuple[Annotated[str, AfterValidator(forwardable)], ...] = ()
    """Patterns of further headers that are forwarded, from the client to the provider and back."""


class Defaults(CallSettings):
    """The section `defaults`: used by every provider without its own value."""
