"""What every provider said last, and how old that is: the only thing in this program that changes.

Each provider has a keeper, a task that asks it again and again by its own timer. What an answer or a failure
changes is decided in one synchronous step (`_accept`, `_refuse`); requests only read. They never ask a provider,
and nobody's leaving ends a question.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from cachetools import LRUCache

from proxy import backoff
from proxy.access import Policy
from proxy.catalog import Fetch, FetchResult, Offer, per_provider
from proxy.catalog.merge import merging
from proxy.catalog.rules import keep_first_created
from proxy.clock import Clock
from proxy.config import Config, Provider
from proxy.cooperative import BATCH_SIZE, Cooperative, batched, run_now, run_yielding
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError, describe_bug
from proxy.store.listing import Breaker, Listing, Report, Status, status
from proxy.store.view import RenderedList, View, render

_log = logging.getLogger("models_proxy")

FIRST_BACKOFF = 5.0
"""Seconds after a first failure; doubled with each further one, up to the provider's ttl."""
RETRY_TOKENS, RETRY_TOKEN_PER_SUCCESS = 10.0, 0.1
"""A retry costs one token; so a provider that always half fails is not asked twice as often for ever."""
SHRINK_FROM = 5
"""A list of more models than this that loses over half of them must be confirmed."""
_VIEW_BYTES = 256 * 1024 * 1024


@dataclass
class _Slot:
    """Everything that changes about one provider."""

    provider: Provider
    rules: Callable[[Iterable[Entry]], Iterable[Offer]]
    offers: tuple[Offer, ...]
    """What the rules make of the declared models and the listing's entries. Derived: it can be made anew from the
    entries at any time, without a fetch."""
    listing: Listing | None = None
    error: UpstreamError | None = None
    """Why the last refresh failed, None if it did not."""
    probed: bool = False
    refreshing: bool = False
    failures: int = 0
    """Questions in a row that failed."""
    tokens: float = RETRY_TOKENS
    next_try: float = 0.0
    unconfirmed: int | None = None
    """How many models the last answer listed, if it shrank too much to be believed at once."""

    @property
    def tripped(self) -> bool:
        return self.failures >= backoff.FAILURE_THRESHOLD

    @property
    def breaker(self) -> Breaker:
        if not self.tripped:
            return "closed"
        return "half-open" if self.refreshing else "open"


class _ViewCache(LRUCache[Policy, RenderedList]):
    """What was made for each policy, within a bound; with the least used of them goes the view that shows it."""

    def __init__(self, views: dict[Policy, View]) -> None:
        super().__init__(_VIEW_BYTES, getsizeof=lambda made: min(made.size, _VIEW_BYTES))
        self._views = views

    def popitem(self) -> tuple[Policy, RenderedList]:
        policy, made = super().popitem()
        self._views.pop(policy, None)
        return policy, made


@dataclass
class Store:
    """Keeps all listings fresh while `run` runs; makes and keeps the view of each policy.

    `fetch` asks one provider; `uniform` gives jitter; `told` hears of every answer and every failure.
    """

    config: Config
    fetch: Fetch
    clock: Clock
    uniform: Callable[[float, float], float] = random.uniform
    on_report: Callable[[Report], None] = lambda report: None
    version: int = field(init=False, default=0)
    """Rises with each accepted change of what is offered."""

    def __post_init__(self) -> None:
        # This is all the state there is.
        self._slots = {provider.name: self._slot(provider) for provider in self.config.providers}
        self._warmed_up = asyncio.Event()
        self._changes_at = 0.0  # when a listing next turns stale or goes, all by itself
        self._making: dict[Policy, asyncio.Task[None]] = {}
        self._views: dict[Policy, View] = {}
        self._made = _ViewCache(self._views)
        self._note_who_is_behind()

    def _slot(self, provider: Provider) -> _Slot:
        rules = per_provider(provider, self.config)
        return _Slot(provider, rules, tuple(rules(())), probed=not provider.is_remote)

    # -- asking ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask every provider at once, and again by its own timer, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for slot in self._slots.values():
                    if slot.provider.is_remote:
                        tasks.create_task(self._keep(slot), name=f"keep {slot.provider.name}")
                        tasks.create_task(self._end_initial_wait(slot), name=f"initial wait {slot.provider.name}")
                self._check_warmed_up()
        finally:
            self._warmed_up.set()  # whoever still waits is answered with what is known

    async def _keep(self, slot: _Slot) -> None:
        while True:
            await self._ask(slot)
            await self.clock.sleep(max(0.0, slot.next_try - self.clock.monotonic()))

    async def _ask(self, slot: _Slot) -> None:
        """One question, and what follows from it. The only place where a bug in a reader may end up."""
        slot.refreshing = True
        # An open breaker lets one single attempt through; a token bucket bounds all further ones.
        retries = 0 if slot.tripped else min(slot.provider.retries, int(slot.tokens))
        try:
            result = await self.fetch(slot.provider, retries)
            entries, offers = await run_yielding(_derived(slot, result.entries))
        except UpstreamError as error:
            self._refuse(slot, error)
        except Exception as bug:
            _log.error("bug while asking %s: %s", slot.provider.name, describe_bug(bug))
            self._refuse(slot, UpstreamError.from_bug(bug))
        else:
            self._accept(slot, result, entries, offers)
        slot.refreshing = False
        slot.probed = True
        # Not called from here: whatever it raises must not end the keeper. Before whoever waits for the first answers.
        asyncio.get_running_loop().call_soon(self.on_report, self._report(slot))
        self._check_warmed_up()

    async def _end_initial_wait(self, slot: _Slot) -> None:
        await self.clock.sleep(slot.provider.initial_wait)
        slot.probed = True
        self._check_warmed_up()

    # -- deciding: no `await` below this line --------------------------------------------------------------------

    def _accept(self, slot: _Slot, result: FetchResult, entries: tuple[Entry, ...], offers: tuple[Offer, ...]) -> None:
        """A good answer replaces the last one, unless it shrank so much that it must be confirmed first."""
        slot.tokens = min(RETRY_TOKENS, slot.tokens + RETRY_TOKEN_PER_SUCCESS) - (result.attempts - 1)
        now, now_listed = self.clock.monotonic(), len(entries)
        listed = len(slot.listing.entries) if slot.listing else 0
        confirmed = slot.unconfirmed is not None and not _shrank(slot.unconfirmed, now_listed)
        if _shrank(listed, now_listed) and not confirmed:
            slot.unconfirmed = now_listed
            reason = f"listed {now_listed} models instead of {listed}; asked again before that is believed"
            self._postpone(slot, UpstreamError("shrunk", reason))
            return
        was_shown = slot.listing is not None and not self._is_over(slot, now)
        offers_changed = offers != slot.offers or not was_shown
        slot.listing = Listing(entries, replace(result, entries=()), self.clock.time(), now)
        slot.offers, slot.error = offers, None
        slot.unconfirmed = None
        slot.failures = 0
        slot.next_try = now + self._next_refresh_in(slot.provider)
        self._changed(offers_changed=offers_changed)

    def _next_refresh_in(self, provider: Provider) -> float:
        """Shortly before ttl ends, spread so that providers do not move in step; in time for an answer that takes long.

        A provider that answers within its timeout is so never stale (but for a ttl shorter than two timeouts).
        """
        return min(provider.ttl * 0.9 * self.uniform(0.9, 1.1), max(provider.ttl / 2, provider.ttl - provider.timeout))

    def _refuse(self, slot: _Slot, error: UpstreamError) -> None:
        """A failure replaces the error and keeps the models: an outage is never an empty list."""
        slot.tokens = max(0.0, slot.tokens - (error.attempts - 1))
        slot.unconfirmed = None
        self._postpone(slot, error)

    def _postpone(self, slot: _Slot, error: UpstreamError) -> None:
        slot.failures += 1
        slot.error = error
        slot.next_try = self.clock.monotonic() + self._pause(slot, error)
        self._changed(offers_changed=False)

    def _pause(self, slot: _Slot, error: UpstreamError) -> float:
        """5, 10, 20 s ... up to ttl; at least what the provider asks for, and what an open breaker asks for."""
        doubled = min(FIRST_BACKOFF * 2.0 ** min(slot.failures - 1, 20), slot.provider.ttl)
        return max(doubled, backoff.open_for(slot.failures, self.uniform), error.retry_after or 0.0)

    def _changed(self, *, offers_changed: bool) -> None:
        """Forget the views; what was merged and encoded for them stays while the offers are the same."""
        now = self.clock.monotonic()
        expired = [slot for slot in self._slots.values() if self._is_over(slot, now)]
        for slot in expired:
            slot.listing, slot.offers = None, tuple(slot.rules(()))
        self._views.clear()
        if offers_changed or expired:
            self.version += 1
            self._made.clear()
        ends = [
            end
            for slot in self._slots.values()
            if slot.listing is not None
            for end in (slot.listing.stale_at(slot.provider), slot.listing.expires_at(slot.provider))
        ]
        self._changes_at = min((end for end in ends if end > now), default=float("inf"))
        self._note_who_is_behind()

    def _note_who_is_behind(self) -> None:
        """The same for every view until the next change, and there may be hundreds of them."""
        self._stale, self._missing = self._names("stale"), self._names("down")

    def _is_over(self, slot: _Slot, now: float) -> bool:
        return slot.listing is not None and now >= slot.listing.expires_at(slot.provider)

    def _check_warmed_up(self) -> None:
        if all(slot.probed for slot in self._slots.values()):
            self._warmed_up.set()

    def _expire(self) -> None:
        """Listings turn stale, and go, without anybody doing anything."""
        if self.clock.monotonic() >= self._changes_at:
            self._changed(offers_changed=False)

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def warmed_up(self) -> bool:
        """Whether nobody has to be waited for any more."""
        return self._warmed_up.is_set()

    async def wait_until_warmed_up(self) -> None:
        """Returns when every provider has responded, or its `initial_wait` has passed."""
        await self._warmed_up.wait()

    @property
    def knows_something(self) -> bool:
        """Whether there is a list to answer with: one provider's listing, even a stale one, or declared models."""
        self._expire()
        return any(self._status(slot) != "down" or slot.offers for slot in self._slots.values())

    def seconds_to_next_try(self) -> float:
        """Until the next question to any provider begins; at least one."""
        waits = [slot.next_try - self.clock.monotonic() for slot in self._slots.values() if slot.provider.is_remote]
        return max(1.0, min(waits, default=1.0))

    async def prepare(self, policy: Policy) -> None:
        """Do the long part of a view, step by step, so that nobody else has to wait for it. A short list is left."""
        if sum(len(slot.offers) for slot in self._slots.values()) <= BATCH_SIZE:
            return
        while policy not in self._made:
            if policy not in self._making:
                self._making[policy] = asyncio.create_task(self._make(policy), name="make a list")
            # Shielded: the leaving of one who waits is not the others' loss.
            await asyncio.shield(self._making[policy])

    async def _make(self, policy: Policy) -> None:
        version = self.version
        try:
            made = await run_yielding(self._merging(policy))
            if version == self.version:
                self._made[policy] = made
        finally:
            del self._making[policy]

    def cached_view(self, policy: Policy) -> View | None:
        """The view of a policy, if its list was made since the last change: all that most requests need."""
        self._expire()
        view = self._views.get(policy)
        if view is None and policy in self._made:
            # A provider has answered as before, or failed: only the ages and the notes are new.
            view = self._views[policy] = self._view(policy)
        return view

    def view(self, policy: Policy) -> View:
        """What a policy's holder sees: made at the first request after a change, then kept."""
        view = self.cached_view(policy)
        if view is None:
            view = self._views[policy] = self._view(policy)
        return view

    def _view(self, policy: Policy) -> View:
        made = self._made.get(policy)
        if made is None:
            made = self._made[policy] = run_now(self._merging(policy))
        ages = [
            slot.listing.fetched_monotonic
            for slot in self._slots.values()
            if slot.listing is not None and slot.provider.name in made.providers
        ]
        return View(
            made,
            oldest=min(ages, default=None),
            stale=self._stale,
            missing=self._missing,
            shows_names=policy.sees_everything,
        )

    def _merging(self, policy: Policy) -> Cooperative[RenderedList]:
        """From the listings as they are now."""
        return _list_made([slot.offers for slot in self._slots.values()], policy)

    def _names(self, wanted: Status) -> tuple[str, ...]:
        return tuple(name for name, slot in self._slots.items() if self._status(slot) == wanted)

    def offers(self, provider: str) -> tuple[Offer, ...]:
        """All offers of one provider, in the order in which it lists them."""
        self._expire()
        return self._slots[provider].offers

    def has_answered(self, provider: str) -> bool:
        """Whether a listing of this provider is there to be shown."""
        self._expire()
        return self._status(self._slots[provider]) != "down"

    def _status(self, slot: _Slot) -> Status:
        return status(slot.provider, slot.listing, self.clock.monotonic())

    def reports(self) -> list[Report]:
        """All providers, in the operator's order."""
        self._expire()
        return [self._report(slot) for slot in self._slots.values()]

    def _report(self, slot: _Slot) -> Report:
        now, listing = self.clock.monotonic(), slot.listing
        return Report(
            name=slot.provider.name,
            kind=slot.provider.kind,
            status=self._status(slot),
            probed=slot.probed,
            models=len(slot.offers),
            fetched_at=listing.fetched_at if listing else None,
            age=now - listing.fetched_monotonic if listing else None,
            error=slot.error,
            next_try_in=max(0.0, slot.next_try - now) if slot.provider.is_remote else None,
            breaker=slot.breaker,
            failures=slot.failures,
            answer=listing.result if listing else None,
        )


def _shrank(before: int, now: int) -> bool:
    """Whether a list lost so much that it must be confirmed."""
    return before > 0 and (now == 0 or (before > SHRINK_FROM and now * 2 < before))


def _derived(slot: _Slot, fetched: tuple[Entry, ...]) -> Cooperative[tuple[tuple[Entry, ...], tuple[Offer, ...]]]:
    """The entries of a good answer as the slot keeps them, and the offers that follow from them."""
    known = slot.listing.entries if slot.listing else ()
    entries = fetched if fetched == known else tuple(keep_first_created(fetched, known))
    if entries == known:
        return known, slot.offers  # most answers are as the last one: no rule has to run
    offers: list[Offer] = []
    for batch in batched(slot.rules(entries)):
        offers += batch
        yield
    return entries, tuple(offers)


def _list_made(listings: Sequence[Sequence[Offer]], policy: Policy) -> Cooperative[RenderedList]:
    """The list of all that a policy allows, from listings in the operator's order."""
    catalog = yield from merging(chain.from_iterable(listings), policy.allows)
    return (yield from render(catalog))
