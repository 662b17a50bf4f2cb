"""The refresh loops: each provider is fetched again and again by its own timer, whether there are requests or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from proxy.catalog import Fetch
from proxy.clock import Clock
from proxy.cooperative import run_yielding
from proxy.errors import UpstreamError, describe_bug
from proxy.store.listing import Listing, Report
from proxy.store.slot import Slot

_log = logging.getLogger("models_proxy")


class Refresher:
    """Keeps the listings of all slots fresh while `run` runs."""

    def __init__(
        self,
        slots: Sequence[Slot],
        fetch: Fetch,
        clock: Clock,
        *,
        on_change: Callable[[bool], None],
        on_report: Callable[[Report], None],
    ) -> None:
        """`on_change` is called after every refresh, in the same step, with whether what is offered changed;
        `on_report` later, in a turn of its own."""
        self._slots = slots
        self._fetch = fetch
        self._clock = clock
        self._on_change = on_change
        self._on_report = on_report
        self._warmed_up = asyncio.Event()

    @property
    def warmed_up(self) -> bool:
        """Whether every provider was probed: its first refresh has ended, or its `initial_wait` is over."""
        return self._warmed_up.is_set()

    async def wait_until_warmed_up(self) -> None:
        """Return when `warmed_up`, or when `run` ends."""
        await self._warmed_up.wait()

    async def run(self) -> None:
        """Refresh every provider at once, and again by its own timer, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for slot in self._slots:
                    if slot.provider.is_remote:
                        tasks.create_task(self._keep_fresh(slot), name=f"refresh {slot.provider.name}")
                        tasks.create_task(self._end_initial_wait(slot), name=f"initial wait {slot.provider.name}")
                self._check_warmed_up()
        finally:
            self._warmed_up.set()  # requests that still wait get what is known

    async def _keep_fresh(self, slot: Slot) -> None:
        while True:
            await self._refresh(slot)
            await self._clock.sleep(max(0.0, slot.next_attempt_at - self._clock.monotonic()))

    async def _refresh(self, slot: Slot) -> None:
        """One fetch, and what follows from it. The only place where a bug in a reader may end up."""
        slot.refreshing = True
        try:
            changed = await self._fetch_into(slot)
        except UpstreamError as error:
            changed = self._fail(slot, error)
        except Exception as bug:
            _log.error("bug while asking %s: %s", slot.provider.name, describe_bug(bug))
            changed = self._fail(slot, UpstreamError.from_bug(bug))
        self._on_change(changed)
        slot.refreshing = False
        slot.probed = True
        # Not called from here: an error that it raises must not end the loop. Scheduled before the waiting requests.
        asyncio.get_running_loop().call_soon(self._on_report, slot.report(self._clock.monotonic()))
        self._check_warmed_up()

    async def _fetch_into(self, slot: Slot) -> bool:
        """Fetch and accept the answer. Returns whether what is offered changed. Raises UpstreamError."""
        result = await self._fetch(slot.provider, slot.retries())
        entries, offers = await run_yielding(slot.derive(result.entries))
        listing = Listing.of(result, entries, fetched_at=self._clock.time(), fetched_monotonic=self._clock.monotonic())
        return slot.accept(listing, offers)

    def _fail(self, slot: Slot, error: UpstreamError) -> bool:
        slot.fail(error, self._clock.monotonic())
        return False

    async def _end_initial_wait(self, slot: Slot) -> None:
        await self._clock.sleep(slot.provider.initial_wait)
        slot.probed = True
        self._check_warmed_up()

    def _check_warmed_up(self) -> None:
        if all(slot.probed for slot in self._slots):
            self._warmed_up.set()
