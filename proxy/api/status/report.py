"""The content of `/status.json`, which the page shows, too. `docs/status.md` documents its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from proxy import __version__
from proxy.api.status.attention import Attention, Problem, since
from proxy.api.status.live import Live
from proxy.cooperative import Cooperative
from proxy.telemetry.changes import Change, Feed
from proxy.telemetry.recent import KeyMinute, LastHour, ProviderMinute, percentile, total_of

MAX_KEYS = 1000
"""Maximum number of listed keys: those with most calls in the last hour."""
MAX_SERIES = 100
"""Maximum number of keys whose calls are shown by minute."""
MAX_CHANGES = 20
"""Maximum number of listed changes: the latest ones."""
_KEYS_PER_STEP = 20


class Facts(Struct, frozen=True):
    """The data of the report."""

    now: float
    """Unix seconds."""
    details: Mapping[str, Any]
    """As at `/health`, for administrators."""
    live: Live
    attention: Attention
    models: int
    catalog_version: str
    feed: Feed
    limits: Mapping[str, int]
    """Provider that can be called -> `max_in_flight` of one process."""


def report(facts: Facts) -> Cooperative[dict[str, Any]]:
    """Return the report as JSON values."""
    live, details = facts.live, dict(facts.details)
    started = since(facts.feed)
    providers = []
    for provider in details.pop("providers"):
        providers.append(_provider(provider, facts, started))
        yield
    skipped = details.pop("skipped")
    keys = yield from _keys(live.hour)
    return {
        "object": "status",
        "version": __version__,
        "time": date(facts.now),
        "workers": [],
        **details,
        "catalog": {
            "models": facts.models,
            "version": facts.catalog_version,
            "models_unavailable": facts.attention.unavailable,
        },
        "attention": [_problem(problem) for issue in facts.attention.issues for problem in issue.problems],
        "first_minute": date(live.hour.first * 60),
        "providers": providers,
        "skipped": skipped,
        "keys": keys,
        "running": {"total": live.running_total, "calls": live.running},
        "changes": latest(facts.feed, MAX_CHANGES),
    }


def _problem(problem: Problem) -> Mapping[str, Any]:
    fields = {**asdict(problem), "since": date_or_none(problem.since), **asdict(problem.impact)}
    del fields["impact"]
    return fields


def latest(feed: Feed, number: int) -> Sequence[Change]:
    """The latest changes, the newest first."""
    return feed.changes[: -number - 1 : -1]


def date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def date_or_none(seconds: float | None) -> str | None:
    return None if seconds is None else date(seconds)


def _provider(
    of_health: Mapping[str, Any], facts: Facts, started: Mapping[tuple[str, str], float]
) -> Mapping[str, Any]:
    name = of_health["name"]
    live = facts.live
    minutes = live.hour.of_provider(name)
    processes = len(live.generations or (1,))
    total = total_of(minutes)
    return {
        **of_health,
        "state_since": date_or_none(started.get((name, "list"))),
        "calls_since": date_or_none(started.get((name, "calls"))),
        "max_in_flight": processes * facts.limits.get(name, 0),
        "last_hour": {
            "calls": total.calls,
            "errors": total.errors,
            **_percentiles(total),
            "by_minute": {
                "calls": [minute.calls for minute in minutes],
                "errors": [minute.failures for minute in minutes],
                **_percentiles_by_minute(minutes),
            },
        },
    }


def _percentiles(total: ProviderMinute) -> Mapping[str, float | None]:
    return {
        "first_byte_p50_seconds": percentile(total.first_bytes, 0.5),
        "first_byte_p95_seconds": percentile(total.first_bytes, 0.95),
    }


def _percentiles_by_minute(minutes: Sequence[ProviderMinute]) -> Mapping[str, Sequence[float | None]]:
    return {
        "first_byte_p50_seconds": [percentile(minute.first_bytes, 0.5) for minute in minutes],
        "first_byte_p95_seconds": [percentile(minute.first_bytes, 0.95) for minute in minutes],
    }


def _keys(hour: LastHour) -> Cooperative[Sequence[Mapping[str, Any]]]:
    """The keys that made calls in the last hour, those with most calls first."""
    sums = yield from hour.sums_of_keys()
    most = sorted(sums.items(), key=lambda each: (-each[1].calls, each[0]))[:MAX_KEYS]
    keys: list[Mapping[str, Any]] = []
    for place, (name, total) in enumerate(most):
        keys.append({"name": name, "last_hour": _key(total, hour.of_key(name) if place < MAX_SERIES else None)})
        if place % _KEYS_PER_STEP == 0:
            yield
    return keys


def _key(total: KeyMinute, minutes: Sequence[KeyMinute] | None) -> Mapping[str, Any]:
    return {
        "calls": total.calls,
        "errors": total.errors,
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "first_byte_mean_seconds": _mean(total),
        "by_minute": minutes
        and {
            "calls": [minute.calls for minute in minutes],
            "errors": [minute.errors for minute in minutes],
            "input_tokens": [minute.input_tokens for minute in minutes],
            "output_tokens": [minute.output_tokens for minute in minutes],
            "first_byte_mean_seconds": [_mean(minute) for minute in minutes],
        },
    }


def _mean(of: KeyMinute) -> float | None:
    return float(f"{of.first_byte_seconds / of.first_bytes:.3g}") if of.first_bytes else None
