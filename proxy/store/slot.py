"""The mutable state of one provider's list, and its transitions: synchronous, without I/O.

A successful fetch replaces the listing, a failure keeps it. Each transition updates all dependent state, such as the
time of the next attempt, in one step, so that readers never see a partial change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from proxy import backoff
from proxy.catalog import Offer
from proxy.catalog.rules import keep_first_created
from proxy.config import Provider
from proxy.cooperative import Cooperative, batched
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.states import BreakerState, ListState
from proxy.store.listing import Listing, Report, list_state

FIRST_BACKOFF = 5.0
"""Seconds until the retry after the first failure. Doubled with each further failure, up to the provider's ttl."""
RETRY_TOKENS, RETRY_TOKEN_PER_SUCCESS = 10.0, 0.1
"""A retry costs one token, so that a provider that fails every second time does not get twice the requests forever."""
SHRINK_FROM = 5
"""A list of more models than this must be confirmed if it loses more than half of them."""

Rules = Callable[[Iterable[Entry]], Iterable[Offer]]
"""All rules of one provider: converts its entries and its declared models to offers."""


@dataclass
class Slot:
    """The last listing of one provider, values derived from it, and the time of its next refresh."""

    provider: Provider
    rules: Rules
    uniform: Callable[[float, float], float]
    """Returns a random value between two bounds, for jitter."""
    listing: Listing | None = None
    offers: tuple[Offer, ...] = field(init=False)
    """The result of the rules for declared models and the listing's entries. It can be recomputed without a fetch."""
    error: UpstreamError | None = None
    """Why the last refresh failed, None if it succeeded."""
    probed: bool = field(init=False)
    """Whether the first refresh has ended or `initial_wait` is over."""
    refreshing: bool = False
    failures: int = 0
    """Consecutive failed refreshes."""
    tokens: float = RETRY_TOKENS
    next_attempt_at: float = 0.0
    """Monotonic seconds."""
    unconfirmed: int | None = None
    """Number of models of a shrunk list that must be confirmed, else None."""

    def __post_init__(self) -> None:
        self.offers = tuple(self.rules(()))
        self.probed = not self.provider.is_remote

    def retries(self) -> int:
        """Maximum number of retries of the next refresh. An open circuit breaker allows a single attempt."""
        return 0 if self._is_open else min(self.provider.retries, int(self.tokens))

    def derive(self, fetched: tuple[Entry, ...]) -> Cooperative[tuple[tuple[Entry, ...], tuple[Offer, ...]]]:
        """The entries of a fetch as stored in a listing, and the offers derived from them."""
        known = self.listing.entries if self.listing else ()
        entries = fetched if fetched == known else tuple(keep_first_created(fetched, known))
        if entries == known:
            return known, self.offers  # most lists do not change, so the rules need not run
        offers: list[Offer] = []
        for batch in batched(self.rules(entries)):
            offers += batch
            yield
        return entries, tuple(offers)

    def accept(self, listing: Listing, offers: tuple[Offer, ...]) -> bool:
        """Replace the last listing, unless the new list shrank so much that it must be confirmed first.

        Returns whether the offers changed.
        """
        now, attempts = listing.fetched_monotonic, listing.result.attempts
        self.tokens = min(RETRY_TOKENS, self.tokens + RETRY_TOKEN_PER_SUCCESS) - (attempts - 1)
        before, count = len(self.listing.entries) if self.listing else 0, len(listing.entries)
        if _shrank(before, count) and not self._confirms(count):
            self.unconfirmed = count
            reason = f"list shrank from {before} to {count} models; keeping the old list until confirmed"
            self._schedule_retry(UpstreamError("shrunk", reason), now)
            return False
        changed = offers != self.offers or self.listing is None or self._is_expired(self.listing, now)
        self.listing, self.offers = listing, offers
        self.error = self.unconfirmed = None
        self.failures = 0
        self.next_attempt_at = now + self._next_refresh_in()
        return changed

    def fail(self, error: UpstreamError, now: float) -> None:
        """Record a failed refresh. The listing is kept, because an outage must not look like an empty list."""
        self.tokens = max(0.0, self.tokens - (error.attempts - 1))
        self.unconfirmed = None
        self._schedule_retry(error, now)

    def expire(self, now: float) -> bool:
        """Drop the listing if it is older than `max_stale`; keep declared models. Returns whether it was dropped."""
        if self.listing is None or not self._is_expired(self.listing, now):
            return False
        self.listing, self.offers = None, tuple(self.rules(()))
        return True

    def changes_at(self) -> tuple[float, ...]:
        """Monotonic seconds at which the listing becomes stale and expires: the state changes without a refresh."""
        if self.listing is None:
            return ()
        return self.listing.stale_at(self.provider), self.listing.expires_at(self.provider)

    def state(self, now: float) -> ListState:
        return list_state(self.provider, self.listing, now)

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
        )

    @property
    def _is_open(self) -> bool:
        return self.failures >= backoff.FAILURE_THRESHOLD

    @property
    def _breaker(self) -> BreakerState:
        if not self._is_open:
            return "ok"
        return "half_open" if self.refreshing else "open"

    def _is_expired(self, listing: Listing, now: float) -> bool:
        return now >= listing.expires_at(self.provider)

    def _confirms(self, count: int) -> bool:
        """Whether a list with `count` models confirms the shrunk list before it."""
        return self.unconfirmed is not None and not _shrank(self.unconfirmed, count)

    def _next_refresh_in(self) -> float:
        """Seconds until shortly before the TTL expires, with jitter so that refreshes of providers are spread.

        A provider that responds within its timeout never becomes stale, unless its ttl is shorter than two timeouts.
        """
        ttl = self.provider.ttl
        return min(ttl * 0.9 * self.uniform(0.9, 1.1), max(ttl / 2, ttl - self.provider.timeout))

    def _schedule_retry(self, error: UpstreamError, now: float) -> None:
        self.failures += 1
        self.error = error
        self.next_attempt_at = now + self._retry_delay(error)

    def _retry_delay(self, error: UpstreamError) -> float:
        """5, 10, 20 ... s, up to ttl; at least the provider's `Retry-After`, and while the circuit breaker is open."""
        doubled = min(FIRST_BACKOFF * 2.0 ** min(self.failures - 1, 20), self.provider.ttl)
        return max(doubled, backoff.open_for(self.failures, self.uniform), error.retry_after or 0.0)


def _shrank(before: int, now: int) -> bool:
    """Whether a list lost so many models that it must be confirmed."""
    return before > 0 and (now == 0 or (before > SHRINK_FROM and now * 2 < before))
