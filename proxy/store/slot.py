"""The mutable state of one provider's list, and its transitions: synchronous, without I/O.

A successful fetch replaces the listing, or is merged into it if it may lack models; a failure keeps it. Each transition
updates all dependent state, such as the time of the next attempt, in one step, so that readers never see a partial
change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from proxy import backoff
from proxy.catalog import FetchResult, Offer
from proxy.catalog.names import Source
from proxy.catalog.provider_rules import ProviderRules
from proxy.config import Provider
from proxy.cooperative import Cooperative
from proxy.errors import UpstreamError
from proxy.states import BreakerState, ListState
from proxy.store.first_list import names_of, new_names
from proxy.store.listing import Listing, Origin, Report, list_state, shortcoming
from proxy.store.next_listing import next_listing
from proxy.store.records import ListRecord
from proxy.store.succession import fetches_alike, has_same_rules, reads_alike

FIRST_BACKOFF = 5.0
"""Seconds until the retry after the first failure. Doubled with each further failure, up to the provider's ttl."""
MAX_EMPTY_BACKOFF = 30.0
"""Maximum seconds until an empty or shrunk list is fetched again: models that return must be listed soon."""
RETRY_TOKENS, RETRY_TOKEN_PER_SUCCESS = 10.0, 0.1
"""A retry costs one token, so that a provider that fails every second time does not get twice the requests forever."""


@dataclass(frozen=True)
class Update:
    """A listing to accept, with the offers derived from it."""

    listing: Listing
    offers: tuple[Offer, ...]
    first_names: tuple[str, ...] | None
    new_names: frozenset[str]


@dataclass
class Slot:
    """The last listing of one provider, values derived from it, and the time of its next refresh."""

    provider: Provider
    rules: ProviderRules
    uniform: Callable[[float, float], float]
    """Returns a random value between two bounds, for jitter."""
    since: float = 0.0
    """Monotonic seconds from which the list is fetched."""
    listing: Listing | None = None
    offers: tuple[Offer, ...] = field(init=False)
    """The result of the rules for declared models and the listing's entries. It can be recomputed without a fetch."""
    first_names: tuple[str, ...] | None = None
    """The own ids, and other names, in the first list that had any model; None before it."""
    new_names: frozenset[str] = frozenset()
    """Those that appeared later; see `first_list`."""
    error: UpstreamError | None = None
    """Why the last refresh failed, or why its list is not accepted as it is; None if it is."""
    has_answered: bool = False
    """Whether there has ever been a list, also an empty one."""
    expired: Mapping[str, Sequence[Offer]] = field(default_factory=dict)
    """Public id -> its offers in the list that has expired; empty if none has, or if there is a new one."""
    probed: bool = field(init=False)
    """Whether the first refresh has ended or `initial_wait` is over."""
    refreshing: bool = False
    refresh_seconds: float | None = None
    """How long the last refresh took; None before the first one has ended."""
    fetching: asyncio.Task[FetchResult] | None = None
    """The fetch whose result was not accepted yet: it continues when the configuration is replaced."""
    accepts: bool = False
    """Whether the next list is accepted without confirmation, even if it is empty or shrunk."""
    failures: int = 0
    """Consecutive failed refreshes."""
    shortcomings: int = 0
    """Consecutive successful refreshes whose list was incomplete, empty or shrunk."""
    tokens: float = RETRY_TOKENS
    next_attempt_at: float = 0.0
    """Monotonic seconds."""

    def __post_init__(self) -> None:
        self.offers = tuple(self.rules(()))
        self.probed = not self.provider.is_remote

    def retries(self) -> int:
        """Maximum number of retries of the next refresh. An open circuit breaker allows a single attempt."""
        return 0 if self._is_open else min(self.provider.retries, int(self.tokens))

    def derive(self, result: FetchResult, *, fetched_at: float, now: float) -> Cooperative[Update]:
        """What a successful fetch makes of the listing: see `accept`. `fetched_at`: Unix seconds."""
        is_confirmed, self.accepts = self.accepts, False
        listing = yield from next_listing(
            self.provider, self.listing, result, fetched_at=fetched_at, now=now, is_confirmed=is_confirmed
        )
        if self.listing is not None and listing.entries == self.listing.entries:
            listing = replace(listing, entries=self.listing.entries)
            if not self.provider.hide_retired:
                # Most lists do not change, so the rules need not run.
                return Update(listing, self.offers, self.first_names, self.new_names)
        return (yield from self._update(listing, self.first_names))

    def _update(self, listing: Listing, first: tuple[str, ...] | None) -> Cooperative[Update]:
        """Apply the rules to a listing. `first`: the names in the first list, None if this is the first one."""
        names = names_of(listing.entries)
        yield
        added = frozenset[str]()
        if first is None:
            first = tuple(names) or None
        else:
            added = new_names(self.provider, first, names)
        offers = yield from self.rules.in_steps(listing.entries)
        return Update(listing, offers, first, added)

    def record(self) -> ListRecord | None:
        """The list as other processes can take it over, None without one."""
        return self.listing.record(self.first_names) if self.listing else None

    def restore(
        self, record: ListRecord, *, age: float, now: float, origin: Origin, replaces_newer: bool = False
    ) -> Cooperative[Update | None]:
        """What a list that another process fetched `age` seconds ago makes of the listing: see `adopt`.

        None if it has expired, or the current list is as new and not replaced.
        """
        listing = Listing.of_record(record, now - age - record.fetched_at, origin).unexpired(self.provider, now)
        if listing is None:
            return None
        if self.listing and self.listing.fetched_monotonic >= listing.fetched_monotonic and not replaces_newer:
            return None
        if self.listing and listing.entries == self.listing.entries:
            listing = replace(listing, entries=self.listing.entries)
        first = self.first_names if self.first_names is not None else record.first_names
        return (yield from self._update(listing, first))

    def inherit(self, before: Slot, *, same_rules: bool) -> Cooperative[None]:
        """Take over the list that was fetched with an earlier configuration of the provider, if its entries still fit.

        `same_rules`: the rules that all providers share are the same, too. A provider whose requests changed is fetched
        at once, without the delay of earlier failures.
        """
        is_same = before.provider == self.provider
        if not is_same and not reads_alike(before.provider, self.provider):
            return
        self.since, self.has_answered = before.since, before.has_answered
        self.expired = before.expired if same_rules else {}
        listing, self.first_names = before.listing, before.first_names
        if is_same and same_rules:
            self.offers, self.new_names = before.offers, before.new_names
        elif listing is not None:
            update = yield from self._update(listing, self.first_names)
            self.offers, self.new_names = update.offers, update.new_names
        self.listing, self.probed, self.accepts = listing, before.probed, before.accepts
        lacks_fields = listing is not None and listing.origin != "fetched"
        needs_fields = lacks_fields and not has_same_rules(before.provider, self.provider)
        if is_same or (fetches_alike(before.provider, self.provider) and not needs_fields):
            self.fetching, before.fetching = before.fetching, None
            self.error, self.failures, self.shortcomings = before.error, before.failures, before.shortcomings
            self.tokens, self.next_attempt_at = before.tokens, before.next_attempt_at
            self.refresh_seconds = before.refresh_seconds
            self._reschedule(before.provider)
        elif listing is not None:
            self.error = shortcoming(self.provider, listing)

    def _reschedule(self, before: Provider) -> None:
        """Apply a changed `ttl` to the time of the next refresh."""
        if self.listing is not None and self.failures == 0 and self.provider.ttl != before.ttl:
            self.next_attempt_at = self.listing.fetched_monotonic + self._refresh_delay()

    def accept(self, update: Update) -> bool:
        """Replace the listing by a fetched one. Returns whether the offers changed."""
        retries = update.listing.result.attempts - 1
        self.tokens = min(RETRY_TOKENS, self.tokens + RETRY_TOKEN_PER_SUCCESS) - retries
        return self.adopt(update)

    def adopt(self, update: Update) -> bool:
        """Replace the listing, as another process has fetched it. Returns whether the offers changed."""
        changed = update.offers != self.offers or self.listing is None
        self.listing, self.offers = update.listing, update.offers
        self.has_answered, self.expired = True, {}
        self.first_names, self.new_names = update.first_names, update.new_names
        if self.failures and update.listing.origin == "restored":
            return changed  # they are later than the list
        self.failures = 0
        self.error = shortcoming(self.provider, update.listing)
        self.shortcomings = self.shortcomings + 1 if self.error else 0
        self.next_attempt_at = update.listing.fetched_monotonic + self._refresh_delay()
        return changed

    def fail(self, error: UpstreamError, now: float) -> None:
        """Record a failed refresh. The listing is kept, because an outage must not look like an empty list."""
        self.tokens = max(0.0, self.tokens - (error.attempts - 1))
        if self.listing is not None and self.listing.shrinkage is not None:
            self.listing = replace(self.listing, shrinkage=replace(self.listing.shrinkage, responses=0))
        self.failures += 1
        self.accepts = False
        self.error = error
        self.next_attempt_at = now + self._retry_delay(error)

    def fail_like(self, error: UpstreamError, failures: int, now: float) -> None:
        """Record the failed refresh of another process. `failures`: its consecutive ones; `now`: when it failed."""
        self.failures = failures - 1
        self.fail(error, now)

    def expire(self, now: float) -> bool:
        """Drop entries that no response contained for `max_stale`; keep declared models. Returns whether any was."""
        listing = self.listing and self.listing.unexpired(self.provider, now)
        if listing is self.listing:
            return False
        if listing is None:
            self.expired = _by_id(self.offers)
        self.listing, self.offers = listing, tuple(self.rules(listing.entries if listing else ()))
        return True

    def changes_at(self) -> tuple[float, ...]:
        """Monotonic seconds at which the listing becomes stale and expires: the state changes without a refresh."""
        if self.listing is None:
            return ()
        return self.listing.stale_at(self.provider), self.listing.expires_at(self.provider)

    def state(self, now: float) -> ListState:
        return list_state(self.provider, self.listing, now)

    def source(self) -> Source:
        """The provider's current models, for the index of names."""
        is_known = self.listing is not None or not self.provider.is_remote
        return Source(self.provider, self.listing.entries if self.listing else (), self.offers, is_known)

    def report(self, now: float) -> Report:
        listing = self.listing
        return Report(
            name=self.provider.name,
            kind=self.provider.kind,
            state=self.state(now),
            probed=self.probed,
            models=len(self.offers),
            fetched_at=listing.fetched_at if listing else None,
            age=now - listing.fetched_monotonic if listing else None,
            error=self.error,
            next_attempt_in=max(0.0, self.next_attempt_at - now) if self.provider.is_remote else None,
            breaker=self._breaker,
            failures=self.failures,
            result=listing.result if listing else None,
            is_held=listing is not None and listing.shrinkage is not None,
            fetch_seconds=self.refresh_seconds,
            refreshing=self.refreshing,
            origin=listing.origin if listing else None,
        )

    @property
    def _is_open(self) -> bool:
        return self.failures >= backoff.FAILURE_THRESHOLD

    @property
    def _breaker(self) -> BreakerState:
        if not self._is_open:
            return "ok"
        return "half_open" if self.refreshing else "open"

    def _refresh_delay(self) -> float:
        """Seconds until the refresh after a successful one; sooner if its list is not accepted as it is."""
        regular = _regular_delay(self.provider, self.uniform)
        if self.error is None:
            return regular
        longest = regular if self.error.kind == "incomplete" else min(regular, MAX_EMPTY_BACKOFF)
        return _doubled(self.shortcomings, longest)

    def _retry_delay(self, error: UpstreamError) -> float:
        """5, 10, 20 ... s, up to ttl; at least the provider's `Retry-After`, and while the circuit breaker is open."""
        doubled = _doubled(self.failures, self.provider.ttl)
        return max(doubled, backoff.open_for(self.failures, self.uniform), error.retry_after or 0.0)


def _by_id(offers: Iterable[Offer]) -> Mapping[str, Sequence[Offer]]:
    by_id: dict[str, list[Offer]] = {}
    for offer in offers:
        by_id.setdefault(offer.id, []).append(offer)
    return by_id


def _regular_delay(provider: Provider, uniform: Callable[[float, float], float]) -> float:
    """Seconds until shortly before the TTL expires, with jitter so that refreshes of providers are spread.

    A provider that responds within its timeout never becomes stale, unless its ttl is shorter than two timeouts.
    """
    return min(provider.ttl * 0.9 * uniform(0.9, 1.1), max(provider.ttl / 2, provider.ttl - provider.timeout))


def _doubled(times: int, longest: float) -> float:
    """5 s for the first time, doubled with each further one, at most `longest`."""
    return min(FIRST_BACKOFF * 2.0 ** min(times - 1, 20), longest)
