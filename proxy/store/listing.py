"""Values: the last list of a provider, its state by age, and the report of both."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.catalog import FetchResult
from proxy.config import Provider
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.states import BreakerState, ListState


@dataclass(frozen=True)
class Listing:
    """The last valid list of one provider, before any rules are applied."""

    entries: tuple[Entry, ...]
    """All valid entries in the provider's order, without declared models."""
    result: FetchResult
    """Statistics of the fetch, without its entries."""
    fetched_at: float
    """Unix seconds: for display and persistence."""
    fetched_monotonic: float
    """The same moment in monotonic seconds. Ages are computed from it, because a change of the wall clock must neither
    keep a list fresh forever nor expire all lists at once."""

    @classmethod
    def of(
        cls, result: FetchResult, entries: tuple[Entry, ...], *, fetched_at: float, fetched_monotonic: float
    ) -> Listing:
        """The listing of a successful fetch, with `entries` instead of those of the result."""
        return cls(entries, replace(result, entries=()), fetched_at, fetched_monotonic)

    def stale_at(self, provider: Provider) -> float:
        """Monotonic seconds at which the listing becomes stale."""
        return self.fetched_monotonic + provider.ttl

    def expires_at(self, provider: Provider) -> float:
        """Monotonic seconds from which the listing is no longer shown."""
        return self.fetched_monotonic + provider.max_stale


@dataclass(frozen=True)
class Report:
    """The status of one provider, for `/health` and the terminal. Durations are in seconds."""

    name: str
    kind: str
    state: ListState
    probed: bool
    """Whether the first refresh has ended or `initial_wait` is over."""
    models: int
    """Number of offers: listed and declared models that the rules keep."""
    fetched_at: float | None
    """Unix seconds of the last valid list."""
    age: float | None
    error: UpstreamError | None
    """Why the last refresh failed, None if it succeeded."""
    next_attempt_in: float | None
    """None if nothing is fetched."""
    breaker: BreakerState
    failures: int
    """Consecutive failed refreshes."""
    result: FetchResult | None
    """Statistics of the last successful fetch, without its entries."""


def list_state(provider: Provider, listing: Listing | None, now: float) -> ListState:
    """The state of a provider's list; `now` is monotonic seconds."""
    if not provider.is_remote:
        return "declared"
    if listing is None or now >= listing.expires_at(provider):
        return "failing"
    return "ok" if now < listing.stale_at(provider) else "stale"
