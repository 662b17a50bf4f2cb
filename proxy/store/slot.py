"""Everything that changes about one provider's list, and how: synchronous, without I/O.

A good answer replaces the listing, a failure keeps it. What follows from either, such as the time of the next
attempt, is decided here in one step, so that no reader sees half of a change.
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
from proxy.store.listing import BreakerState, Listing, ListState, Report, list_state

FIRST_BACKOFF = 5.0
"""Seconds after a first failure; doubled with each further one, up to the provider's ttl."""
RETRY_TOKENS, RETRY_TOKEN_PER_SUCCESS = 10.0, 0.1
"""A retry costs one token, so a provider that fails every second time does not get twice the requests for ever."""
SHRINK_FROM = 5
"""A list of more models than this that loses over half of them must be confirmed."""

Rules = Callable[[Iterable[Entry]], Iterable[Offer]]
"""All rules of one provider: from its entries, and its declared models, to its offers."""


@dataclass
class Slot:
    """The last listing of one provider, what is derived from it, and when it is refreshed next."""

    provider: Provider
    rules: Rules
    uniform: Callable[[float, float], float]
    """Gives jitter between two bounds."""
    listing: Listing | None = None
    offers: tuple[Offer, ...] = field(init=False)
    """What the rules make of the declared models and the listing's entries. Derived: it can be made anew from the
    entries at any time, without a fetch."""
    error: UpstreamError | None = None
    """Why the last refresh failed, None if it did not."""
    probed: bool = field(init=False)
    """Whether the first refresh has ended, or the wait for it."""
    refreshing: bool = False
    failures: int = 0
    """Consecutive failed refreshes."""
    tokens: float = RETRY_TOKENS
    next_attempt_at: float = 0.0
    """Monotonic seconds."""
    unconfirmed: int | None = None
    """How many models the last answer listed, if it shrank so much that it must be confirmed."""

    def __post_init__(self) -> None:
        self.offers = tuple(self.rules(()))
        self.probed = not self.provider.is_remote

    def retries(self) -> int:
        """Retries that the next refresh may spend. An open breaker lets a single attempt through."""
        return 0 if self._is_tripped else min(self.provider.retries, int(self.tokens))

    def derive(self, fetched: tuple[Entry, ...]) -> Cooperative[tuple[tuple[Entry, ...], tuple[Offer, ...]]]:
        """The entries of a good answer as a listing keeps them, and the offers that follow from them."""
        known = self.listing.entries if self.listing else ()
        entries = fetched if fetched == known else tuple(keep_first_created(fetched, known))
        if entries == known:
            return known, self.offers  # most answers are as the last one: no rule has to run
        offers: list[Offer] = []
        for batch in batched(self.rules(entries)):
            offers += batch
            yield
        return entries, tuple(offers)

    def accept(self, listing: Listing, offers: tuple[Offer, ...]) -> bool:
        """Replace the last listing, unless this one shrank so much that it must be confirmed first.

        Returns whether what is offered changed.
        """
        now, attempts = listing.fetched_monotonic, listing.result.attempts
        self.tokens = min(RETRY_TOKENS, self.tokens + RETRY_TOKEN_PER_SUCCESS) - (attempts - 1)
        before, count = len(self.listing.entries) if self.listing else 0, len(listing.entries)
        if _shrank(before, count) and not self._confirms(count):
            self.unconfirmed = count
            reason = f"listed {count} models instead of {before}; asked again before that is believed"
            self._postpone(UpstreamError("shrunk", reason), now)
            return False
        changed = offers != self.offers or self.listing is None or self._is_over(self.listing, now)
        self.listing, self.offers = listing, offers
        self.error = self.unconfirmed = None
        self.failures = 0
        self.next_attempt_at = now + self._next_refresh_in()
        return changed

    def fail(self, error: UpstreamError, now: float) -> None:
        """Note a failed refresh. The models stay: an outage is never an empty list."""
        self.tokens = max(0.0, self.tokens - (error.attempts - 1))
        self.unconfirmed = None
        self._postpone(error, now)

    def expire(self, now: float) -> bool:
        """Drop the listing if it is older than `max_stale`; declared models stay. Returns whether it was dropped."""
        if self.listing is None or not self._is_over(self.listing, now):
            return False
        self.listing, self.offers = None, tuple(self.rules(()))
        return True

    def changes_at(self) -> tuple[float, ...]:
        """Monotonic seconds at which the state changes by itself: when the listing turns stale, and when it expires."""
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
            answer=listing.result if listing else None,
        )

    @property
    def _is_tripped(self) -> bool:
        return self.failures >= backoff.FAILURE_THRESHOLD

    @property
    def _breaker(self) -> BreakerState:
        if not self._is_tripped:
            return "closed"
        return "half_open" if self.refreshing else "open"

    def _is_over(self, listing: Listing, now: float) -> bool:
        return now >= listing.expires_at(self.provider)

    def _confirms(self, count: int) -> bool:
        """Whether an answer of this many models confirms the last one, which shrank too much."""
        return self.unconfirmed is not None and not _shrank(self.unconfirmed, count)

    def _next_refresh_in(self) -> float:
        """Shortly before ttl ends, spread so that providers do not move in step; early enough for a slow answer.

        A provider that answers within its timeout is so never stale (but for a ttl shorter than two timeouts).
        """
        ttl = self.provider.ttl
        return min(ttl * 0.9 * self.uniform(0.9, 1.1), max(ttl / 2, ttl - self.provider.timeout))

    def _postpone(self, error: UpstreamError, now: float) -> None:
        self.failures += 1
        self.error = error
        self.next_attempt_at = now + self._pause(error)

    def _pause(self, error: UpstreamError) -> float:
        """5, 10, 20 s ... up to ttl; at least the provider's `Retry-After`, and as long as the breaker is open."""
        doubled = min(FIRST_BACKOFF * 2.0 ** min(self.failures - 1, 20), self.provider.ttl)
        return max(doubled, backoff.open_for(self.failures, self.uniform), error.retry_after or 0.0)


def _shrank(before: int, now: int) -> bool:
    """Whether a list lost so much that it must be confirmed."""
    return before > 0 and (now == 0 or (before > SHRINK_FROM and now * 2 < before))
