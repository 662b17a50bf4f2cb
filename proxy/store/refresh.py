"""The refresh loops: each provider is fetched periodically by its own timer, independently of requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from proxy.catalog import Fetch
from proxy.clock import Clock
from proxy.cooperative import run_yielding
from proxy.errors import UpstreamError, describe_bug
from proxy.store.listing import Report
from proxy.store.slot import Slot

_log = logging.getLogger("models_proxy")


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
    ) -> None:
        """`on_change` is called synchronously after every refresh, with whether the offers changed. `on_report` is
        scheduled on the event loop."""
        self._slots = slots
        self._fetch = fetch
        self._clock = clock
        self._on_change = on_change
        self._on_report = on_report
        self._warmed_up = asyncio.Event()

    @property
    def warmed_up(self) -> bool:
        """Whether for every provider the first refresh has ended or `initial_wait` is over."""
        return self._warmed_up.is_set()

    async def wait_until_warmed_up(self) -> None:
        """Return when `warmed_up` is true or `run` ends."""
        await self._warmed_up.wait()

    async def run(self) -> None:
        """Refresh all providers immediately, then each by its own timer, until canceled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for slot in self._slots:
                    if slot.provider.is_remote:
                        tasks.create_task(self._keep_fresh(slot), name=f"refresh {slot.provider.name}")
                        tasks.create_task(self._end_initial_wait(slot), name=f"initial wait {slot.provider.name}")
                self._check_warmed_up()
        finally:
            self._warmed_up.set()  # waiting requests continue with the current lists

    async def _keep_fresh(self, slot: Slot) -> None:
        while True:
            await self._refresh(slot)
            await self._clock.sleep(max(0.0, slot.next_attempt_at - self._clock.monotonic()))

    async def _refresh(self, slot: Slot) -> None:
        """Fetch once and update the slot. Handles every exception, because a bug in a parser must not end the loop."""
        slot.refreshing = True
        try:
            changed = await self._fetch_into(slot)
        except UpstreamError as error:
            changed = self._fail(slot, error)
        except Exception as bug:
            _log.error("internal error while refreshing %s: %s", slot.provider.name, describe_bug(bug))
            changed = self._fail(slot, UpstreamError.from_bug(bug))
        self._on_change(changed)
        slot.refreshing = False
        slot.probed = True
        # Scheduled, so that an error in it cannot end the loop; before waiting requests are resumed.
        asyncio.get_running_loop().call_soon(self._on_report, slot.report(self._clock.monotonic()))
        self._check_warmed_up()

    async def _fetch_into(self, slot: Slot) -> bool:
        """Fetch and accept the list. Returns whether the offers changed. Raises UpstreamError."""
        result = await self._fetch(slot.provider, slot.retries())
        work = slot.derive(result, fetched_at=self._clock.time(), now=self._clock.monotonic())
        return slot.accept(await run_yielding(work))

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
