"""The listing after a successful fetch. Pure."""

from __future__ import annotations

from dataclasses import replace

from proxy.catalog import FetchResult
from proxy.catalog.times import Reported, settle_times
from proxy.config import Provider
from proxy.cooperative import Cooperative
from proxy.dialects.entry import Entry
from proxy.store.listing import Listing
from proxy.store.shrinkage import shrinkage_after


def next_listing(
    provider: Provider, last: Listing | None, result: FetchResult, *, fetched_at: float, now: float, is_confirmed: bool
) -> Cooperative[Listing]:
    """The listing after a successful fetch.

    A complete list replaces the last one. A list that may lack models is merged into it: models that it lacks are kept,
    because they may still exist. `is_confirmed`: a shrunk list needs no confirmation.
    """
    shrinkage = None
    if last is not None and not result.partial and not is_confirmed:
        shrinkage = shrinkage_after(provider, last.shrinkage, len(last.entries), len(result.entries), now)
    entries, withheld = yield from _with_settled_times(last, result, fetched_at=fetched_at, now=now)
    unseen: dict[str, float] = {}
    if last is not None and (result.partial or shrinkage):
        kept, unseen = last.kept_beside(entries, provider, now)
        entries = (*entries, *kept)
        withheld |= {own_id: time for own_id, time in last.withheld.items() if own_id in unseen}
    return Listing(entries, replace(result, entries=()), fetched_at, now, unseen, withheld, shrinkage)


def _with_settled_times(
    last: Listing | None, result: FetchResult, *, fetched_at: float, now: float
) -> Cooperative[tuple[tuple[Entry, ...], dict[str, Reported]]]:
    if last is not None and not last.withheld and result.entries == last.entries:
        return last.entries, {}  # most lists do not change
    before, withheld = (last.entries, last.withheld) if last else ((), {})
    answered_at = result.answered_at or fetched_at
    return (yield from settle_times(result.entries, before, withheld, answered_at=answered_at, now=now))
