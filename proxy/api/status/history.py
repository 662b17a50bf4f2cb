"""Changes of one day, filtered, for the status page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo

from msgspec import Struct

from proxy.cooperative import Cooperative, batched
from proxy.telemetry.changes import CHANGE_TYPES, Change, Feed

_TITLES = {
    "model_added": "model added",
    "model_removed": "model removed",
    "model_changed": "model changed",
    "provider_failing": "provider failing",
    "provider_recovered": "provider recovered",
}


class Day(Struct, frozen=True):
    """A day with changes."""

    date: str
    label: str
    changes: int


class History(Struct, frozen=True):
    """The changes that were found, and the choices."""

    changes: Sequence[Change]
    """The newest first."""
    total: int
    """Changes in the feed."""
    day: str
    """"" for all days."""
    days: Sequence[Day]
    """The newest first; today and yesterday also without changes."""
    types: Sequence[str]
    providers: Sequence[str]
    begins: float
    """Unix seconds of the first change in the feed, 0 without any."""
    is_complete: bool
    """Whether the feed contains the whole day."""


def title(change: Change) -> str:
    return _TITLES[change.type]


def history(feed: Feed, parameters: Mapping[str, str], now: float, zone: tzinfo) -> Cooperative[History]:
    """Return the changes of a day in this time zone."""
    today = datetime.fromtimestamp(now, zone).date()
    day = _day(parameters.get("day", ""), today)
    by_day: dict[date, int] = {today: 0, today - timedelta(1): 0}
    found: list[Change] = []
    providers: set[str] = set()
    for changes in batched(reversed(feed.changes)):
        for change in changes:
            of = datetime.fromtimestamp(change.at, zone).date()
            by_day[of] = by_day.get(of, 0) + 1
            providers.add(change.provider)
            if (day is None or of == day) and _matches(change, parameters):
                found.append(change)
        yield
    names = {today: "Today", today - timedelta(1): "Yesterday"}
    days = [
        Day(each.isoformat(), names.get(each, each.isoformat()), by_day[each]) for each in sorted(by_day, reverse=True)
    ]
    begins = feed.complete_after / 1_000_000
    is_complete = day is None or datetime.fromtimestamp(begins, UTC).astimezone(zone).date() < day
    return History(
        found,
        len(feed.changes),
        day.isoformat() if day else "",
        days,
        CHANGE_TYPES,
        sorted(providers),
        begins,
        is_complete,
    )


def _day(text: str, today: date) -> date | None:
    """Never raises: an invalid day selects all days."""
    if text in ("today", "yesterday"):
        return today - timedelta(text == "yesterday")
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _matches(change: Change, parameters: Mapping[str, str]) -> bool:
    wanted, provider = parameters.get("type", ""), parameters.get("provider", "")
    return wanted in ("", change.type) and provider in ("", change.provider)
