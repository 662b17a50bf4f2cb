"""Values: what a provider listed last, the state that follows from its age, and the report of both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError

ListState = Literal["ok", "stale", "failing", "declared"]
"""`stale`: an old list is shown because refreshes fail; `failing`: there is nothing to show but declared models;
`declared`: the models are those of the configuration, nothing is fetched."""
BreakerState = Literal["closed", "open", "half_open"]


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

    @classmethod
    def of(
        cls, result: FetchResult, entries: tuple[Entry, ...], *, fetched_at: float, fetched_monotonic: float
    ) -> Listing:
        """The listing of a good answer; `entries` stand for those of the result."""
        return cls(entries, replace(result, entries=()), fetched_at, fetched_monotonic)

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
    state: ListState
    probed: bool
    """Whether the first refresh has ended, or `initial_wait` with it."""
    models: int
    """Offers: listed and declared models that the rules leave."""
    fetched_at: float | None
    """Unix seconds of the last good answer."""
    age: float | None
    error: UpstreamError | None
    """Why the last refresh failed, None if it did not."""
    next_attempt_in: float | None
    """None where nothing is fetched."""
    breaker: BreakerState
    failures: int
    """Consecutive failed refreshes."""
    answer: FetchResult | None
    """The figures of the last good answer, without its entries."""


def list_state(provider: Provider, listing: Listing | None, now: float) -> ListState:
    """The state of a provider's list; `now` is monotonic seconds."""
    if not provider.is_remote:
        return "declared"
    if listing is None or now >= listing.expires_at(provider):
        return "failing"
    return "ok" if now < listing.stale_at(provider) else "stale"
