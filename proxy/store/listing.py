"""Values: what a provider listed last, the state that follows from its age, and the report of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError

Status = Literal["ok", "stale", "down"]
Breaker = Literal["closed", "open", "half-open"]


@dataclass(frozen=True)
class Listing:
    """The last good answer of one provider, before any rule."""

    entries: tuple[Entry, ...]
    """All entries that could be read, in the provider's order; without declared models."""
    result: FetchResult
    """The figures of the answer, without its entries."""
    fetched_at: float
    """Unix seconds: for people, and for whatever outlives the process."""
    fetched_monotonic: float
    """The same moment on the monotonic clock. Inside the process, ages are measured with it alone: a wall clock that
    is set back or forward must not keep a list fresh for ever, nor expire all lists at once."""

    def stale_at(self, provider: Provider) -> float:
        """Monotonic seconds from which the listing is stale."""
        return self.fetched_monotonic + provider.ttl

    def expires_at(self, provider: Provider) -> float:
        """Monotonic seconds from which the listing is not shown any more."""
        return self.fetched_monotonic + provider.max_stale


@dataclass(frozen=True)
class Report:
    """One provider as health and the terminal show it. Durations are seconds."""

    name: str
    kind: str
    status: Status
    probed: bool
    """Whether the first refresh has ended, or `patience` with it."""
    models: int
    """Offers: listed and declared models that the rules leave."""
    fetched_at: float | None
    """Unix seconds of the last good answer."""
    age: float | None
    error: UpstreamError | None
    """Why the last refresh failed, None if it did not."""
    next_try_in: float | None
    breaker: Breaker
    failures: int
    """Consecutive failed refreshes."""
    answer: FetchResult | None
    """The figures of the last good answer, without its entries."""


def status(provider: Provider, listing: Listing | None, now: float) -> Status:
    """The state of a provider's list; `now` is monotonic seconds."""
    if not provider.is_remote:
        return "ok"
    if listing is None:
        return "down"
    if now < listing.stale_at(provider):
        return "ok"
    return "stale" if now < listing.expires_at(provider) else "down"
