"""The store that requests read from: views of policies, and states of providers.

Its only state are the slots and the views rendered from them. Requests only read: they never fetch, and a client that
disconnects does not cancel a refresh.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from proxy.access import Policy
from proxy.catalog import Fetch, Offer, per_provider
from proxy.catalog.names import Source
from proxy.catalog.virtual import catalog_of
from proxy.clock import Clock
from proxy.config import Config
from proxy.cooperative import BATCH_SIZE, Cooperative, run_now, run_yielding
from proxy.store.absent import seconds_to_next_attempt, seconds_until_known
from proxy.store.changes import models_change
from proxy.store.differences import Offers
from proxy.store.inheritance import inherit_lists
from proxy.store.listing import Listing, Origin, Report, age_by_clock
from proxy.store.names import Lazy, NameIndex, Names, lazy_index
from proxy.store.notes import Notes, notes_of, status_of
from proxy.store.records import ListRecord
from proxy.store.refresh import Refresher
from proxy.store.shared_lists import Received, SharedLists
from proxy.store.slot import Slot
from proxy.store.succession import lists_alike, shares_rules
from proxy.store.view import ListSummary, RenderedList, Status, View, render
from proxy.store.view_cache import MAX_BYTES, ViewCache
from proxy.telemetry.events import ModelsChange


@dataclass
class Store:
    """Keeps all listings fresh while `run` is running, and caches the view of each policy.

    `fetch` fetches one provider; `uniform` returns jitter; `on_report` is called after every refresh, `on_models` when
    the models of a provider have changed.
    """

    config: Config
    fetch: Fetch
    clock: Clock
    uniform: Callable[[float, float], float] = random.uniform
    on_report: Callable[[Report], None] = lambda report: None
    on_models: Callable[[ModelsChange], None] = lambda change: None
    on_accepted: Callable[[str], None] = lambda provider: None
    """Called when the list of a provider was fetched, or taken over from another process that runs now."""
    on_offers: Callable[[str, Sequence[Offer], Offers], None] = lambda provider, before, after: None
    """Called when the offers of a provider differ from these before, unless another process reports that. `after`:
    the offers of all providers now."""
    max_list_bytes: int = MAX_BYTES
    """Limit for the rendered lists of all policies."""
    shared: SharedLists | None = None
    """The lists that are shared with other processes; None if none is."""

    def __post_init__(self) -> None:
        # Rendered lists reference it, and can outlive the configuration: so it is without the keys, of which it may
        # have many.
        self._rules = replace(self.config, keys=(), groups={})
        self._slots = {
            provider.name: Slot(
                provider, per_provider(provider, self.config, self.clock.time), self.uniform, self.clock.monotonic()
            )
            for provider in self.config.providers
        }
        self._refresher = Refresher(
            [*self._slots.values()],
            self.fetch,
            self.clock,
            on_change=self._changed,
            on_report=self.on_report,
            on_models=self.on_models,
            on_accepted=self.on_accepted,
            on_offers=self._offers_changed,
            form=str.casefold if self.config.merge.ignore_case else str,
            shared=self.shared,
            adopt=self._adopt_shared,
        )
        self.new_offers: dict[str, frozenset[str]] = {}
        """Provider -> its own ids, and other names, that its first list did not contain. Current; usually empty."""
        self._views = ViewCache(self._render, self._show, self.seconds_until_known, self.max_list_bytes)
        self._index: Lazy[NameIndex] | None = None
        self._changes_at = 0.0
        """Monotonic seconds at which a listing next becomes stale, or entries of one expire."""
        self._notes: Notes | None = None

    async def run(self) -> None:
        """Refresh each provider when its next attempt is due, new ones immediately, until canceled."""
        await self._refresher.run()

    # -- a changed configuration -------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Let fetches continue when `run` is canceled: the store of another configuration will `inherit` them."""
        self._refresher.hand_over()

    async def inherit(self, before: Store, policies: Collection[Policy], seconds: float) -> None:
        """Take over the lists of the store of an earlier configuration, in steps. Neither must be running.

        Afterwards the views of these policies that were used last are as fast as before: they are kept if all rules are
        the same, otherwise rendered for at most `seconds`.
        """
        same_rules = shares_rules(before.config, self.config)
        changed = await inherit_lists(self._slots, before._slots, same_rules=same_rules, on_models=self.on_models)
        for name, offers in changed.items():
            self._offers_changed(name, offers)
        self._refresher.inherit(before._refresher)
        self._changed(offers_changed=True)
        if same_rules and lists_alike(before.config, self.config):
            self._views.inherit(before._views, policies)
        else:
            await self._views.render_like(before._views, policies, seconds)

    def discard(self) -> None:
        """Free everything. The store must not be used any more."""
        vars(self).clear()

    async def refresh(self, providers: Collection[str], seconds: float, *, accept: bool = False) -> bool:
        """Refresh these providers now, and return when that has ended, or after `seconds`.

        `accept`: accept their next lists without confirmation, even if they are empty or shrunk. Returns False if `run`
        is not running (any more).
        """
        for name in providers if accept else ():
            self._slots[name].accepts = True
        return await self._refresher.refresh(providers, seconds)

    # -- lists of other processes ------------------------------------------------------------------------------

    def record(self, provider: str) -> ListRecord | None:
        """The list of a provider as other processes can take it over, None without one. See `records.encode`."""
        self._expire()
        return self._slots[provider].record()

    async def _adopt_shared(self, provider: str, received: Received) -> bool:
        assert received.record is not None, "called for lists only"
        return await self.adopt(
            provider, received.record, "shared", received.age, replaces_newer=received.replaces_newer
        )

    async def adopt(
        self,
        provider: str,
        record: ListRecord,
        origin: Origin,
        age: float | None = None,
        *,
        replaces_newer: bool = False,
    ) -> bool:
        """Show the list of another process, unless the current one is as new. Returns whether it was taken over.

        `age`: seconds since it was fetched, None if that follows from the wall clocks of both processes. The provider
        is fetched when that list is due. `replaces_newer`: take it over even if the current one is newer.
        """
        slot = self._slots[provider]
        if age is None:
            age = age_by_clock(record, slot.provider, self.clock.time())
        present = slot.listing
        update = await run_yielding(
            slot.restore(record, age=age, now=self.clock.monotonic(), origin=origin, replaces_newer=replaces_newer)
        )
        if update is None or slot.listing is not present:
            return False
        before, is_first = slot.offers, slot.first_names is None
        changed = slot.adopt(update)
        self._changed(changed)
        self._refresher.adopted(slot)
        if origin != "restored":
            self.on_accepted(provider)
        if changed and not is_first and (change := await run_yielding(models_change(slot, before))):
            self.on_models(change)
        return True

    # -- changes -----------------------------------------------------------------------------------------------

    def _changed(self, offers_changed: bool) -> None:
        """Invalidate the views. Rendered lists are kept if the offers have not changed."""
        now = self.clock.monotonic()
        before = [(slot, slot.offers) for slot in self._slots.values()]
        expired = [(slot, offers) for slot, offers in before if slot.expire(now)]
        for slot, offers in expired:
            self._offers_changed(slot.provider.name, offers)
            if change := run_now(models_change(slot, offers)):
                self.on_models(change)
        if offers_changed or expired:
            self._views.clear()
            self.new_offers.clear()
            self.new_offers.update((name, slot.new_names) for name, slot in self._slots.items() if slot.new_names)
            self._index = None
        else:
            self._views.clear_views()
        ends = [end for slot in self._slots.values() for end in slot.changes_at() if end > now]
        self._changes_at = min(ends, default=float("inf"))
        self._notes = None

    def _offers_changed(self, provider: str, before: Sequence[Offer]) -> None:
        self.on_offers(provider, before, {name: slot.offers for name, slot in self._slots.items()})

    def _expire(self) -> None:
        """Apply state changes that happen with time: listings become stale, and entries expire."""
        if self.clock.monotonic() >= self._changes_at:
            self._changed(offers_changed=False)

    # -- views -------------------------------------------------------------------------------------------------

    async def prepare(self, policy: Policy) -> None:
        """Render a long list in batches, so that other requests are not blocked. `view` renders short lists."""
        if sum(len(slot.offers) for slot in self._slots.values()) > BATCH_SIZE:
            await self._views.prepare(policy)

    def cached_view(self, policy: Policy) -> View | None:
        """The view of a policy, None if its list must be rendered first."""
        self._expire()
        return self._views.cached_view(policy)

    def cached_status(self, policy: Policy) -> Status | None:
        """The ETags and headers of the list of a policy, also if it was evicted; None if it must be rendered first."""
        self._expire()
        return self._views.cached_status(policy)

    def view(self, policy: Policy) -> View:
        """The view of a policy, rendered at the first request after a change and then cached."""
        self._expire()
        return self._views.view(policy)

    def shows(self, model: str) -> bool:
        """Whether one of the rendered lists contains an id."""
        self._expire()
        return self._views.shows(model)

    def _render(self, policy: Policy) -> Cooperative[RenderedList]:
        """Render the models that a policy allows, from the current offers in the configured order of providers."""
        index = self.name_index
        offers = [slot.offers for slot in self._slots.values()]
        catalog = yield from catalog_of(chain.from_iterable(offers), policy, self._rules)
        return (yield from render(catalog, Names(catalog, policy, index)))

    def _show(self, policy: Policy, summary: ListSummary) -> Status:
        if self._notes is None:
            self._notes = notes_of(self._slots.values(), self.clock.monotonic())
        return status_of(summary, policy, self._slots.values(), self._notes)

    def seconds_until_known(self, policy: Policy, name: str) -> float:
        """Seconds after which a name that is not listed may be; 0 if it is unknown or not allowed."""
        return seconds_until_known(name, policy, self._slots.values(), self.config.models, self.clock.monotonic())

    # -- states ------------------------------------------------------------------------------------------------

    @property
    def warmed_up(self) -> bool:
        """Whether for every provider the first refresh has ended or `initial_wait` is over."""
        return self._refresher.warmed_up

    async def wait_until_warmed_up(self) -> None:
        """Return when `warmed_up` is true or `run` ends."""
        await self._refresher.wait_until_warmed_up()

    @property
    def has_any_list(self) -> bool:
        """Whether there is anything to list: a listing, even a stale one, or declared models."""
        self._expire()
        now = self.clock.monotonic()
        return any(slot.state(now) != "failing" or slot.offers for slot in self._slots.values())

    def seconds_to_next_attempt(self) -> float:
        """Seconds until the next refresh of any provider starts, at least 1."""
        return seconds_to_next_attempt(self._slots.values(), self.clock.monotonic())

    def sources(self) -> list[Source]:
        """The current models of all providers, in the configured order."""
        self._expire()
        return [slot.source() for slot in self._slots.values()]

    def listing(self, provider: str) -> Listing | None:
        """The last list of a provider that has not expired."""
        self._expire()
        return self._slots[provider].listing

    def expired_ids(self, provider: str) -> frozenset[str]:
        """The public ids in the last list of a provider, if it has expired."""
        self._expire()
        return frozenset(self._slots[provider].expired)

    @property
    def name_index(self) -> Lazy[NameIndex]:
        """The index of names that are not listed, of the current offers."""
        self._expire()
        if self._index is None:
            self._index = lazy_index([slot.source() for slot in self._slots.values()], self._rules)
        return self._index

    def offers(self, provider: str) -> tuple[Offer, ...]:
        """All offers of one provider, in the provider's order."""
        self._expire()
        return self._slots[provider].offers

    def has_list(self, provider: str) -> bool:
        """Whether there is a listing of this provider that has not expired."""
        self._expire()
        return self._slots[provider].state(self.clock.monotonic()) != "failing"

    def has(self, provider: str) -> bool:
        """Whether the configuration has a provider with this name."""
        return provider in self._slots

    def report(self, provider: str) -> Report:
        self._expire()
        return self._slots[provider].report(self.clock.monotonic())

    def reports(self) -> list[Report]:
        """The reports of all providers, in the configured order."""
        self._expire()
        now = self.clock.monotonic()
        return [slot.report(now) for slot in self._slots.values()]
