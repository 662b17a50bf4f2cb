"""What requests read: the views of the policies, and the states of the providers.

The slots are the only state there is, with the views made from them. Requests only read: they never fetch, and a
client that disconnects ends no refresh.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

from proxy.access import Policy
from proxy.catalog import Fetch, Offer, per_provider
from proxy.catalog.merge import merging
from proxy.clock import Clock
from proxy.config import Config
from proxy.cooperative import BATCH_SIZE, Cooperative
from proxy.store.listing import ListState, Report
from proxy.store.refresh import Refresher
from proxy.store.slot import Slot
from proxy.store.view import RenderedList, View, render
from proxy.store.view_cache import ViewCache


@dataclass
class Store:
    """Keeps all listings fresh while `run` runs; makes and keeps the view of each policy.

    `fetch` fetches one provider; `uniform` gives jitter; `on_report` is called after every refresh.
    """

    config: Config
    fetch: Fetch
    clock: Clock
    uniform: Callable[[float, float], float] = random.uniform
    on_report: Callable[[Report], None] = lambda report: None
    version: int = field(init=False, default=0)
    """Rises with each accepted change of what is offered."""

    def __post_init__(self) -> None:
        self._slots = {
            provider.name: Slot(provider, per_provider(provider, self.config), self.uniform)
            for provider in self.config.providers
        }
        self._refresher = Refresher(
            [*self._slots.values()], self.fetch, self.clock, on_change=self._changed, on_report=self.on_report
        )
        self._views = ViewCache(self._render, self._show)
        self._changes_at = 0.0
        """Monotonic seconds at which a listing next turns stale or expires."""
        self._update_notes()

    async def run(self) -> None:
        """Refresh every provider at once, and again by its own timer, until cancelled."""
        await self._refresher.run()

    # -- changes -----------------------------------------------------------------------------------------------

    def _changed(self, offers_changed: bool) -> None:
        """Forget the views; their rendered lists stay while the offers are the same."""
        now = self.clock.monotonic()
        expired = [slot for slot in self._slots.values() if slot.expire(now)]
        if offers_changed or expired:
            self.version += 1
            self._views.clear()
        else:
            self._views.clear_views()
        ends = [end for slot in self._slots.values() for end in slot.changes_at() if end > now]
        self._changes_at = min(ends, default=float("inf"))
        self._update_notes()

    def _expire(self) -> None:
        """Listings turn stale and expire without any event."""
        if self.clock.monotonic() >= self._changes_at:
            self._changed(offers_changed=False)

    def _update_notes(self) -> None:
        """The same for every view until the next change, and there may be hundreds of views."""
        self._stale, self._missing = self._names("stale"), self._names("failing")

    def _names(self, state: ListState) -> tuple[str, ...]:
        now = self.clock.monotonic()
        return tuple(name for name, slot in self._slots.items() if slot.state(now) == state)

    # -- views -------------------------------------------------------------------------------------------------

    async def prepare(self, policy: Policy) -> None:
        """Do the long part of a view in short steps, so that no other request waits for it. A short list is left."""
        if sum(len(slot.offers) for slot in self._slots.values()) > BATCH_SIZE:
            await self._views.prepare(policy)

    def cached_view(self, policy: Policy) -> View | None:
        """The view of a policy, if its list was rendered since the last change: all that most requests need."""
        self._expire()
        return self._views.cached_view(policy)

    def view(self, policy: Policy) -> View:
        """What the holder of a policy sees: made at the first request after a change, then kept."""
        self._expire()
        return self._views.view(policy)

    def _render(self, policy: Policy) -> Cooperative[RenderedList]:
        """The list of all that a policy allows, from the offers as they are now, in the operator's order."""
        offers = [slot.offers for slot in self._slots.values()]
        catalog = yield from merging(chain.from_iterable(offers), policy.allows)
        return (yield from render(catalog))

    def _show(self, policy: Policy, rendered: RenderedList) -> View:
        moments = [
            slot.listing.fetched_monotonic
            for slot in self._slots.values()
            if slot.listing is not None and slot.provider.name in rendered.providers
        ]
        return View(
            rendered,
            oldest=min(moments, default=None),
            stale=self._stale,
            missing=self._missing,
            shows_names=policy.sees_everything,
        )

    # -- states ------------------------------------------------------------------------------------------------

    @property
    def warmed_up(self) -> bool:
        """Whether requests need not wait any more: every provider was probed, or its `initial_wait` is over."""
        return self._refresher.warmed_up

    async def wait_until_warmed_up(self) -> None:
        """Return when `warmed_up`, or when `run` ends."""
        await self._refresher.wait_until_warmed_up()

    @property
    def knows_something(self) -> bool:
        """Whether there is a list to answer with: one provider's listing, even a stale one, or declared models."""
        self._expire()
        now = self.clock.monotonic()
        return any(slot.state(now) != "failing" or slot.offers for slot in self._slots.values())

    def seconds_to_next_attempt(self) -> float:
        """Seconds until the next refresh of any provider begins; at least one."""
        now = self.clock.monotonic()
        waits = [slot.next_attempt_at - now for slot in self._slots.values() if slot.provider.is_remote]
        return max(1.0, min(waits, default=1.0))

    def offers(self, provider: str) -> tuple[Offer, ...]:
        """All offers of one provider, in the order in which it lists them."""
        self._expire()
        return self._slots[provider].offers

    def has_answered(self, provider: str) -> bool:
        """Whether a listing of this provider can be shown."""
        self._expire()
        return self._slots[provider].state(self.clock.monotonic()) != "failing"

    def reports(self) -> list[Report]:
        """All providers, in the operator's order."""
        self._expire()
        now = self.clock.monotonic()
        return [slot.report(now) for slot in self._slots.values()]
