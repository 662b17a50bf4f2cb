"""The seam between the store and the network: what a fetch is, and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.config import Provider
from proxy.dialects.entry import Entry


@dataclass(frozen=True)
class FetchResult:
    """What one fetch returned."""

    entries: tuple[Entry, ...]
    pages: int = 1
    attempts: int = 1
    """One, and one more for each retry of a page."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of entries that were dropped for it."""


class Fetch(Protocol):
    """Fetch the models of a provider, with at most this many retries. Raises UpstreamError."""

    def __call__(self, provider: Provider, retries: int) -> Awaitable[FetchResult]: ...
