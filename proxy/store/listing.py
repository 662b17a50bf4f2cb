"""Values: the last list of a provider, its state by age, and the report of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from proxy.catalog import FetchResult
from proxy.catalog.times import Reported
from proxy.config import Provider
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.states import BreakerState, ListState
from proxy.store.records import ListRecord
from proxy.store.shrinkage import Shrinkage

MAX_CLOCK_DIFFERENCE = 60.0
"""Seconds by which the wall clocks of two processes may differ."""

Origin = Literal["fetched", "restored", "shared"]
"""Where a list comes from: this process, an earlier one, or another one that runs now."""


@dataclass(frozen=True)
class Listing:
    """The last valid list of one provider, before any rules are applied."""

    entries: tuple[Entry, ...]
    """All valid entries of the last response in the provider's order, then the `unseen` ones; without declared models.
    """
    result: FetchResult
    """Statistics of the fetch, without its entries."""
    fetched_at: float
    """Unix seconds of the last response: for display and persistence."""
    fetched_monotonic: float
    """The same moment in monotonic seconds. Ages are computed from it, because a change of the wall clock must neither
    keep a list fresh forever nor expire all lists at once."""
    unseen: Mapping[str, float] = field(default_factory=dict)
    """Id -> monotonic seconds of the last response that contained it, for models of earlier responses that the last one
    lacks. They are kept because it may be incomplete."""
    withheld: Mapping[str, Reported] = field(default_factory=dict)
    """Id -> the creation time that is not shown, because it is that of the request, or changes between responses."""
    shrinkage: Shrinkage | None = None
    """The responses that lost so many models that they must be confirmed, None if the last one did not."""
    origin: Origin = "fetched"

    @property
    def received(self) -> int:
        """Number of entries of the last response."""
        return len(self.entries) - len(self.unseen)

    @property
    def oldest(self) -> float:
        """Monotonic seconds of the oldest response that any entry is from."""
        return min(self.unseen.values()) if self.unseen else self.fetched_monotonic

    def stale_at(self, provider: Provider) -> float:
        """Monotonic seconds at which the listing becomes stale."""
        return self.fetched_monotonic + provider.ttl

    def expires_at(self, provider: Provider) -> float:
        """Monotonic seconds from which its oldest entries are no longer shown."""
        return self.oldest + provider.max_stale

    def ends_at(self, provider: Provider) -> float:
        """Monotonic seconds from which none of its entries is shown."""
        return self.fetched_monotonic + provider.max_stale

    def unexpired(self, provider: Provider, now: float) -> Listing | None:
        """The listing without entries that no response contained for `max_stale`; None without any response."""
        if now < self.expires_at(provider):
            return self
        if now >= self.ends_at(provider):
            return None
        unseen = {own_id: seen for own_id, seen in self.unseen.items() if now < seen + provider.max_stale}
        gone = self.unseen.keys() - unseen.keys()
        return replace(self, entries=tuple(entry for entry in self.entries if entry.id not in gone), unseen=unseen)

    def record(self, first_names: tuple[str, ...] | None) -> ListRecord:
        """The listing with times that other processes can read."""
        to_unix = self.fetched_at - self.fetched_monotonic
        return ListRecord(
            self.entries,
            self.fetched_at,
            self.result,
            {own_id: seen + to_unix for own_id, seen in self.unseen.items()},
            {own_id: Reported(time.created, time.since + to_unix) for own_id, time in self.withheld.items()},
            self.shrinkage and replace(self.shrinkage, since=self.shrinkage.since + to_unix),
            first_names,
        )

    @staticmethod
    def of_record(record: ListRecord, to_monotonic: float, origin: Origin) -> Listing:
        """`to_monotonic`: seconds from Unix to monotonic time."""
        return Listing(
            record.entries,
            record.result,
            record.fetched_at,
            record.fetched_at + to_monotonic,
            {own_id: seen + to_monotonic for own_id, seen in record.unseen.items()},
            {own_id: Reported(time.created, time.since + to_monotonic) for own_id, time in record.withheld.items()},
            record.shrinkage and replace(record.shrinkage, since=record.shrinkage.since + to_monotonic),
            origin,
        )

    def kept_beside(
        self, received: Sequence[Entry], provider: Provider, now: float
    ) -> tuple[list[Entry], dict[str, float]]:
        """The entries to keep besides those of an incomplete response, and when each was last seen.

        Beyond `max_models`, those that were unseen for the longest time are dropped.
        """
        ids = {entry.id for entry in received}
        first = {entry.id: entry for entry in reversed(self.entries) if entry.id not in ids}
        seen = {own_id: self.unseen.get(own_id, self.fetched_monotonic) for own_id in first}
        recent = [own_id for own_id in seen if now < seen[own_id] + provider.max_stale]
        recent.sort(key=lambda own_id: (-seen[own_id], own_id))
        kept = sorted(recent[: max(0, provider.max_models - len(received))])
        return [first[own_id] for own_id in kept], {own_id: seen[own_id] for own_id in kept}


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
    """Why the last refresh failed, or why its list is not accepted as it is; None if it is."""
    next_attempt_in: float | None
    """None if nothing is fetched."""
    breaker: BreakerState
    failures: int
    """Consecutive failed refreshes."""
    result: FetchResult | None
    """Statistics of the last successful fetch, without its entries."""
    is_held: bool = False
    """Whether the last list became empty or much shorter, so that the one before is shown until it is confirmed."""
    fetch_seconds: float | None = None
    """How long the last refresh took; None before the first one has ended."""
    refreshing: bool = False
    """Whether a refresh is in progress."""
    origin: Origin | None = None
    is_of_other: bool = False
    """Whether it is reported because another process has fetched."""


def age_by_clock(record: ListRecord, provider: Provider, time: float) -> float:
    """Seconds since a list was fetched, by wall clocks. `time`: Unix seconds.

    A list from the future is as old as a stale one: one of the clocks was wrong, so it is fetched at once.
    """
    age = time - record.fetched_at
    return max(0.0, age) if age > -MAX_CLOCK_DIFFERENCE else provider.ttl


def list_state(provider: Provider, listing: Listing | None, now: float) -> ListState:
    """The state of a provider's list; `now` is monotonic seconds."""
    if not provider.is_remote:
        return "declared"
    if listing is None or now >= listing.ends_at(provider):
        return "failing"
    if now >= listing.stale_at(provider):
        return "stale"
    return fresh_state(shortcoming(provider, listing))


def fresh_state(error: UpstreamError | None) -> ListState:
    """The state of a list that is not stale. `error`: its shortcoming."""
    if error is None:
        return "ok"
    return "empty" if error.kind == "empty" else "incomplete"


def shortcoming(provider: Provider, listing: Listing) -> UpstreamError | None:
    """Why the last list of a provider is not accepted as it is, None if it is."""
    if listing.result.partial:
        return UpstreamError("incomplete", f"list may be incomplete: {listing.result.partial}")
    if listing.shrinkage is not None:
        reason = f"list shrank from {listing.shrinkage.before} to {listing.received} models"
        kind: Literal["shrunk", "empty"] = "shrunk" if listing.received else "empty"
        return UpstreamError(kind, f"{reason}; keeping the old list until confirmed")
    if not listing.received and not provider.may_be_empty:
        return UpstreamError("empty", "returned no models; if that is normal, set `may_be_empty: true`")
    return None
