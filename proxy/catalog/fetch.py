"""The seam between keeping and asking: what a question is, and what it brings."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proxy.config import Provider
from proxy.dialects.entry import Entry


@dataclass(frozen=True)
class FetchResult:
    """What one question brought."""

    entries: tuple[Entry, ...]
    pages: int = 1
    attempts: int = 1
    """One, and one more for each time that a page had to be asked for again."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many entries could not be listed for it."""


class Fetch(Protocol):
    """Ask a provider for its models, with at most so many further attempts. Raises UpstreamError."""

    def __call__(self, provider: Provider, retries: int) -> Awaitable[FetchResult]: ...
