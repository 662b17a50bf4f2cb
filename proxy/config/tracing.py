"""The section `tracing`: where spans of requests are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from proxy.config.addresses import Url
from proxy.config.fields import NotEmpty, Sendable, SentHeader, Settings


def _share(value: object) -> float:
    """A number from 0 to 1, also as text, which variables have."""
    try:
        share = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError("must be a number from 0 to 1")
    return share


def _base_url(url: str) -> str:
    if url.rstrip("/").endswith("/v1/traces"):
        raise ValueError("must not end in /v1/traces, which is added to it")
    return url


class Tracing(Settings):
    """The section `tracing`. Off without `endpoint`."""

    endpoint: Annotated[Url, AfterValidator(_base_url)] | None = None
    """The base URL of a collector that accepts OTLP over HTTP; `/v1/traces` is added."""
    headers: Mapping[SentHeader, Sendable] = Field(default_factory=dict)
    ca_file: NotEmpty | None = None
    sample: Annotated[float, BeforeValidator(_share)] = 1.0
    """The share of traces that begin at the proxy; for traces of clients, the client's sampling decision is used."""
