"""What the views of all policies share until the next change: which lists are stale, missing or incomplete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proxy.access import Policy
from proxy.states import ListState
from proxy.store.slot import Slot
from proxy.store.view import ListSummary, Status


class Notes(NamedTuple):
    """Names of providers."""

    stale: tuple[str, ...]
    missing: tuple[str, ...]
    incomplete: tuple[str, ...]


def notes_of(slots: Iterable[Slot], now: float) -> Notes:
    """Computed once for all views, possibly hundreds. `now`: monotonic seconds."""
    names: dict[ListState, tuple[str, ...]] = {}
    for slot in slots:
        state = slot.state(now)
        names[state] = (*names.get(state, ()), slot.provider.name)
    return Notes(names.get("stale", ()), names.get("failing", ()), names.get("incomplete", ()))


def status_of(summary: ListSummary, policy: Policy, slots: Iterable[Slot], notes: Notes) -> Status:
    """The status of the list of one policy."""
    fetch_times = [
        slot.listing.oldest for slot in slots if slot.listing is not None and slot.provider.name in summary.providers
    ]
    return Status(
        summary,
        oldest=min(fetch_times, default=None),
        stale=notes.stale,
        missing=notes.missing,
        incomplete=notes.incomplete,
        shows_names=policy.sees_everything,
    )
