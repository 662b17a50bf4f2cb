"""Fetch lists, and put them into their slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import chain

from proxy.catalog import Fetch, FetchResult, Offer
from proxy.clock import Clock
from proxy.cooperative import run_yielding
from proxy.errors import UpstreamError, describe_bug
from proxy.store.changes import models_change
from proxy.store.listing import Report
from proxy.store.new_offers import described, new_offers
from proxy.store.slot import Slot
from proxy.telemetry.events import ModelsChange

_log = logging.getLogger("models_proxy")


class ListFetches:
    """The fetches of all slots, each at most once at a time."""

    def __init__(
        self,
        slots: Sequence[Slot],
        fetch: Fetch,
        clock: Clock,
        *,
        on_change: Callable[[bool], None],
        on_report: Callable[[Report], None],
        on_models: Callable[[ModelsChange], None],
        on_accepted: Callable[[str], None],
        on_offers: Callable[[str, Sequence[Offer]], None],
        form: Callable[[str], str],
    ) -> None:
        """As those of `Refresher`."""
        self._slots = slots
        self._fetch = fetch
        self._clock = clock
        self._on_change = on_change
        self._on_report = on_report
        self._on_models = on_models
        self._on_accepted = on_accepted
        self._on_offers = on_offers
        self._form = form
        self._logged: dict[str, set[str]] = {}
        """Provider -> the new ids that were logged: an id that comes and goes is logged once."""

    def inherit(self, before: ListFetches) -> None:
        """Take over what an earlier configuration has logged."""
        names = {slot.provider.name for slot in self._slots}
        self._logged = {name: ids for name, ids in before._logged.items() if name in names}

    async def fetch(self, slot: Slot) -> None:
        """Fetch once and update the slot. Handles every exception, because a bug in a parser must not end the loop."""
        slot.refreshing = True
        began = self._clock.monotonic()
        try:
            await self._fetch_into(slot)
        except UpstreamError as error:
            self._fail(slot, error)
        except Exception as bug:
            _log.error("internal error while refreshing %s: %s", slot.provider.name, describe_bug(bug))
            self._fail(slot, UpstreamError.from_bug(bug))
        slot.fetching = None
        slot.refreshing = False
        slot.refresh_seconds = self._clock.monotonic() - began
        slot.probed = True
        # Scheduled, so that an error in it cannot end the loop; before waiting requests are resumed.
        asyncio.get_running_loop().call_soon(self._on_report, slot.report(self._clock.monotonic()))

    async def _fetch_into(self, slot: Slot) -> None:
        """Fetch and accept the list. Raises UpstreamError."""
        if slot.fetching is None:
            slot.fetching = asyncio.create_task(self._response(slot), name=f"request {slot.provider.name}")
            slot.fetching.add_done_callback(_ignore_failure)
        # Shielded: the fetch continues when the configuration is replaced.
        result = await asyncio.shield(slot.fetching)
        work = slot.derive(result, fetched_at=self._clock.time(), now=self._clock.monotonic())
        update = await run_yielding(work)
        before, is_first = slot.offers, slot.first_names is None
        changed = slot.accept(update)
        self._on_change(changed)
        self._on_accepted(slot.provider.name)
        if changed and not is_first:
            self._on_offers(slot.provider.name, before)
            if change := await run_yielding(models_change(slot, before)):
                self._on_models(change)
        if changed and slot.new_names and slot.provider.target:
            await self._log_new_offers(slot)

    async def _response(self, slot: Slot) -> FetchResult:
        """Raises UpstreamError."""
        return await self._fetch(slot.provider, slot.retries())

    async def _log_new_offers(self, slot: Slot) -> None:
        """Log ids that the first list of a provider did not contain, and that other providers list: each once."""
        others = [other.offers for other in self._slots if other is not slot and other.provider.target]
        found = await run_yielding(new_offers(slot.offers, slot.new_names, chain.from_iterable(others), self._form))
        logged = self._logged.setdefault(slot.provider.name, set())
        if new := {public_id: found[public_id] for public_id in found if public_id not in logged}:
            logged.update(new)
            text = "provider %s now lists models that other providers list, too (see `failover_to`): %s"
            _log.warning(text, slot.provider.name, described(new))

    def _fail(self, slot: Slot, error: UpstreamError) -> None:
        slot.fail(error, self._clock.monotonic())
        self._on_change(False)


def _ignore_failure(fetching: asyncio.Task[FetchResult]) -> None:
    """Retrieve the exception of a fetch that nothing waits for any more: asyncio would log it."""
    if not fetching.cancelled():
        fetching.exception()
