"""The refresh loops: each provider is fetched periodically by its own timer, independently of requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from proxy.catalog import Fetch, Offer
from proxy.clock import Clock
from proxy.errors import describe_bug
from proxy.sharing import Busy, Published
from proxy.store.list_fetches import ListFetches
from proxy.store.listing import Report
from proxy.store.records import ListRecord
from proxy.store.shared_lists import FailureRecord, Received, SharedLists
from proxy.store.slot import Slot
from proxy.telemetry.events import ModelsChange

BUSY_SECONDS = 1.0
"""Interval at which a list that another process fetches is requested, besides its notifications."""
_MAX_BUSY = 60.0
"""Seconds, besides the provider's timeout, after which a list is fetched although another process seems to do so."""
_MAX_TAKEN_OVER = 3
"""Results of other processes that are taken over in a row before a list that is still due is fetched."""

_log = logging.getLogger("models_proxy")

Adopt = Callable[[str, Received], Awaitable[bool]]
"""Shows the list of a provider that another process has fetched."""


class Refresher:
    """Keeps the listings of all slots fresh while `run` is running."""

    def __init__(
        self,
        slots: Sequence[Slot],
        fetch: Fetch,
        clock: Clock,
        *,
        on_change: Callable[[bool], None],
        on_report: Callable[[Report], None],
        on_models: Callable[[ModelsChange], None] = lambda change: None,
        on_accepted: Callable[[str], None] = lambda provider: None,
        on_offers: Callable[[str, Sequence[Offer]], None] = lambda provider, before: None,
        form: Callable[[str], str] = str,
        shared: SharedLists | None = None,
        adopt: Adopt | None = None,
    ) -> None:
        """`on_change` is called synchronously after every refresh, with whether the offers changed. `on_report` is
        scheduled on the event loop, `on_models` is called when models were added or removed after the first list,
        `on_accepted` after each list with its provider, `on_offers` when a later list than the first one has other
        offers than these before. `form`: a public id as it is compared with others. `shared`: the lists that are shared
        with other processes, and `adopt` shows one of them; None if none is."""
        self._slots = slots
        self._fetches = ListFetches(
            slots,
            fetch,
            clock,
            on_change=on_change,
            on_report=on_report,
            on_models=on_models,
            on_accepted=on_accepted,
            on_offers=on_offers,
            form=form,
        )
        self._clock = clock
        self._on_change = on_change
        self._on_report = on_report
        self._warmed_up = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        """None unless `run` is running."""
        self._timers: dict[str, asyncio.Task[None]] = {}
        """Provider -> the task that refreshes it periodically."""
        self._refreshes: dict[str, asyncio.Task[None]] = {}
        """Provider -> its refresh in progress."""
        self._hands_over = False
        self._shared = shared
        self._adopt = adopt
        self._arrived: dict[str, Published] = {}
        """Provider -> what another process has published, until it is taken over."""
        self._forced: set[str] = set()
        """Providers whose lists are fetched even if another process has just done so."""
        self._busy_since: dict[str, float] = {}
        """Provider -> monotonic seconds since when another process fetches its list."""

    def inherit(self, before: Refresher) -> None:
        """Take over what is known of an earlier configuration's refreshes. A proxy that is ready remains so."""
        self._fetches.inherit(before._fetches)
        if before.warmed_up:
            self._warmed_up.set()

    @property
    def warmed_up(self) -> bool:
        """Whether for every provider the first refresh has ended or `initial_wait` is over."""
        return self._warmed_up.is_set()

    async def wait_until_warmed_up(self) -> None:
        """Return when `warmed_up` is true or `run` ends."""
        await self._warmed_up.wait()

    async def run(self) -> None:
        """Refresh each provider when its next attempt is due, new ones immediately, until canceled."""
        self._hands_over = False
        if self._shared:
            fetching = {slot.provider.name: slot.fetching is not None for slot in self._slots}
            self._shared.attach(fetching, self._receive)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._group = tasks
                for slot in self._slots:
                    if slot.provider.is_remote:
                        self._start_timer(slot)
                        tasks.create_task(self._end_initial_wait(slot), name=f"initial wait {slot.provider.name}")
                self._check_warmed_up()
        finally:
            self._group = None
            self._warmed_up.set()  # waiting requests continue with the current lists
            await self._cancel()

    def hand_over(self) -> None:
        """Let fetches continue when `run` is canceled: another refresher, or this one again, uses their results."""
        self._hands_over = True

    async def refresh(self, names: Collection[str], seconds: float) -> bool:
        """Refresh these providers now, or join their refreshes in progress. Returns after at most `seconds`.

        Returns False if `run` is not running (any more).
        """
        ends_at = asyncio.get_running_loop().time() + seconds
        slots = [slot for slot in self._slots if slot.provider.name in names and slot.provider.is_remote]
        while slots:
            if not self._is_running():
                return False
            if self._shared:
                self._forced.update(slot.provider.name for slot in slots if slot.fetching is None)
            refreshes = [self._begin(slot) for slot in slots]
            await asyncio.wait(refreshes, timeout=max(0.0, ends_at - asyncio.get_running_loop().time()))
            if not self._is_running():
                return False
            ended = [slot for slot, refresh in zip(slots, refreshes, strict=True) if refresh.done()]
            for slot in ended:
                self._timers.pop(slot.provider.name).cancel()
                self._start_timer(slot)
            # A refresh that was joined may have read its response before it was accepted in advance.
            slots = [slot for slot in ended if slot.accepts]
        return True

    def adopted(self, slot: Slot) -> None:
        """The slot has the list of another process: refresh it when that is due."""
        slot.probed = True
        self._check_warmed_up()
        if slot.provider.name in self._timers and self._is_running() and not slot.refreshing:
            self._timers.pop(slot.provider.name).cancel()
            self._start_timer(slot)

    async def _cancel(self) -> None:
        for slot in self._slots:
            slot.refreshing = False
            if slot.fetching and not self._hands_over:
                slot.fetching.cancel()
                if self._shared:
                    self._shared.abandon(slot.provider.name)
        refreshes = [*self._refreshes.values()]
        for refresh in refreshes:
            refresh.cancel()
        await asyncio.gather(*refreshes, return_exceptions=True)

    def _is_running(self) -> bool:
        return self._group is not None

    def _start_timer(self, slot: Slot) -> None:
        assert self._group is not None, "called while `run` is running"
        timer = self._group.create_task(self._keep_fresh(slot), name=f"refresh {slot.provider.name}")
        self._timers[slot.provider.name] = timer

    async def _keep_fresh(self, slot: Slot) -> None:
        while True:
            while slot.fetching is None and (wait := slot.next_attempt_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)
            # Shielded: a timer that is started again must not cancel the refresh.
            await asyncio.shield(self._begin(slot))

    def _begin(self, slot: Slot) -> asyncio.Task[None]:
        """Return the refresh of a provider that is in progress; begin one if there is none."""
        name = slot.provider.name
        refresh = self._refreshes.get(name)
        if refresh is None:
            refresh = self._refreshes[name] = asyncio.create_task(self._refresh(slot), name=f"fetch {name}")
            refresh.add_done_callback(lambda _: self._ended(slot))
        return refresh

    def _ended(self, slot: Slot) -> None:
        name = slot.provider.name
        del self._refreshes[name]
        if name in self._arrived and self._is_running():
            self._begin(slot)

    async def _refresh(self, slot: Slot) -> None:
        """Fetch once and update the slot, unless another process fetches the list."""
        if self._shared is None:
            await self._fetch_once(slot)
        elif await self._must_fetch(slot, self._shared):
            await self._fetch_once(slot)
            await self._publish(slot, self._shared)

    # -- lists that are shared with other processes --------------------------------------------------------------------

    def _receive(self, name: str, published: Published) -> None:
        """Another process has fetched a list. A refresh in progress ends first."""
        slot = next((slot for slot in self._slots if slot.provider.name == name), None)
        if slot is not None and self._is_running():
            self._arrived[name] = published
            self._begin(slot)

    async def _must_fetch(self, slot: Slot, shared: SharedLists) -> bool:
        """Take over what other processes have fetched. Returns whether the list is due, and no other fetches it."""
        try:
            must_fetch = await self._is_due(slot, shared)
        except Exception as bug:
            _log.error("internal error while sharing the list of %s: %s", slot.provider.name, describe_bug(bug))
            must_fetch = True
        if must_fetch:
            self._forced.discard(slot.provider.name)
            self._busy_since.pop(slot.provider.name, None)
        return must_fetch

    async def _is_due(self, slot: Slot, shared: SharedLists) -> bool:
        name = slot.provider.name
        if arrived := self._arrived.pop(name, None):
            await self._take_over(slot, shared, arrived)
        for _ in range(_MAX_TAKEN_OVER):
            if slot.fetching is not None:
                return True  # a fetch of an earlier configuration, which has the lease
            is_forced = name in self._forced
            if not is_forced and slot.next_attempt_at > self._clock.monotonic():
                return False
            answer = await shared.begin(slot.provider, force=is_forced)
            if isinstance(answer, Busy):
                return not self._waits(slot, answer)
            if not isinstance(answer, Published):
                return True
            await self._take_over(slot, shared, answer)
        return True

    async def _publish(self, slot: Slot, shared: SharedLists) -> None:
        result: ListRecord | FailureRecord | None = slot.record()
        if slot.failures and slot.error:
            result = FailureRecord.of(slot.error, slot.failures)
        try:
            if result is not None:
                await shared.publish(slot.provider, result)
        except Exception as bug:
            _log.error("internal error while sharing the list of %s: %s", slot.provider.name, describe_bug(bug))

    def _waits(self, slot: Slot, busy: Busy) -> bool:
        """Wait for the fetch of another process, unless that takes too long: it may be a foreign value."""
        now = self._clock.monotonic()
        since = self._busy_since.setdefault(slot.provider.name, now)
        if now - since > _MAX_BUSY + slot.provider.timeout:
            return False
        slot.next_attempt_at = now + min(max(busy.seconds, 0.0) + 0.01, BUSY_SECONDS)
        return True

    async def _take_over(self, slot: Slot, shared: SharedLists, published: Published) -> None:
        received = await shared.open(slot.provider, published)
        self._busy_since.pop(slot.provider.name, None)
        if received.record is not None and self._adopt is not None:
            await self._adopt(slot.provider.name, received)
        if received.failure is not None:
            failed_at = self._clock.monotonic() - received.failure_age
            slot.fail_like(received.failure.error, received.failure.failures, failed_at)
            self._on_change(False)
        if received.record is not None or received.failure is not None:
            self.adopted(slot)
            report = replace(slot.report(self._clock.monotonic()), is_of_other=True)
            asyncio.get_running_loop().call_soon(self._on_report, report)

    # -- fetches -------------------------------------------------------------------------------------------------------

    async def _fetch_once(self, slot: Slot) -> None:
        await self._fetches.fetch(slot)
        self._check_warmed_up()

    async def _end_initial_wait(self, slot: Slot) -> None:
        await self._clock.sleep(slot.provider.initial_wait)
        slot.probed = True
        self._check_warmed_up()

    def _check_warmed_up(self) -> None:
        if all(slot.probed for slot in self._slots):
            self._warmed_up.set()
