"""Which creation times of a provider are shown. Pure.

Many servers send the time of the request, their own start, or a time in the future as `created`. What is shown must not
depend on the time of a request or of a start: replicas over the same provider show the same times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from proxy.cooperative import Cooperative
from proxy.dialects.entry import Entry

RECENT = 600.0
"""Seconds. A time later than this before the response is the time of the request, or in the future: it is unknown.
A time that has changed is unknown until it was repeated for this long."""
_ALWAYS = float("-inf")
_STEP = 1000  # entries without yielding: less than a millisecond


class Reported(NamedTuple):
    """The creation time that the last responses contained for a model."""

    created: int
    """Unix seconds, 0 if none."""
    since: float
    """Monotonic seconds of the first response with this time after one with another; -inf if there was no other."""


def without_recent(entries: Iterable[Entry], answered_at: float) -> list[Entry]:
    """The entries of a response, with unknown creation times as 0. `answered_at`: Unix seconds of the response."""
    latest = answered_at - RECENT
    return [entry if entry.created <= latest else replace(entry, created=0) for entry in entries]


def settle_times(
    entries: Sequence[Entry],
    last: Sequence[Entry],
    withheld: Mapping[str, Reported],
    *,
    answered_at: float,
    now: float,
) -> Cooperative[tuple[tuple[Entry, ...], dict[str, Reported]]]:
    """The entries of a response with the creation times to show, and the reported times that are withheld.

    `last` are the entries of the last response with the times that were shown; `withheld` are the reported times of
    those that were shown as 0. `answered_at` is in Unix seconds, `now` in monotonic seconds. The first of duplicate
    entries counts, as in `rules.select`.
    """
    shown = {entry.id: entry.created for entry in reversed(last)}
    latest = answered_at - RECENT
    if not withheld and _is_settled(entries, shown, latest):
        return tuple(entries), {}  # nearly all providers
    result: list[Entry] = []
    still_withheld: dict[str, Reported] = {}
    seen: set[str] = set()
    for start in range(0, len(entries), _STEP):
        for entry in entries[start : start + _STEP]:
            own_id, created = entry.id, entry.created
            reported = withheld.get(own_id) or Reported(shown.get(own_id, created), _ALWAYS)
            if reported.created != created:
                reported = Reported(created, now)
            if created and (created > latest or now < reported.since + RECENT):
                entry = replace(entry, created=0)
                if own_id not in seen:
                    still_withheld[own_id] = reported
            seen.add(own_id)
            result.append(entry)
        yield
    return tuple(result), still_withheld


def _is_settled(entries: Sequence[Entry], shown: Mapping[str, int], latest: float) -> bool:
    """Whether all times are those of the last response, if there was one, and none is too recent."""
    if max([entry.created for entry in entries], default=0) > latest:
        return False
    return not shown or all(shown.get(entry.id, entry.created) == entry.created for entry in entries)
