"""The interface between the store and the network: a fetch and its result."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.config import Provider
from proxy.dialects.entry import Entry


@dataclass(frozen=True)
class FetchResult:
    """The result of one fetch."""

    entries: tuple[Entry, ...]
    pages: int = 1
    attempts: int = 1
    """1 plus the number of retries of pages."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of entries dropped for that reason."""
    duplicates: int = 0
    """Number of entries that repeat the id of an earlier entry of their list, and are merged with it."""
    shortened: int = 0
    """Number of entries without their largest fields, because they are too large."""
    partial: str = ""
    """Why the list may lack models, "" if it is complete."""
    answered_at: float = 0.0
    """Unix seconds of the response by the clock of the provider, 0 if unknown."""
    redirected_to: str = ""
    """The path to which requests were redirected, without secrets, "" if they were not."""


class Fetch(Protocol):
    """Fetch the models of a provider, with at most this many retries. Raises UpstreamError."""

    def __call__(self, provider: Provider, retries: int) -> Awaitable[FetchResult]: ...
