"""What the first page shows: the report of `/status.json` with charts and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from proxy.api.status.charts import bars, lines
from proxy.api.status.presentation import plural
from proxy.cooperative import Cooperative

SMALL, LARGE = 30, 90
"""Heights of charts, in units of their SVG."""
SHOWN_KEYS = 20
SHOWN_CALLS = 20
_PROVIDERS_PER_STEP = 5
_LATELY = 10
"""Minutes whose errors are pointed out."""
_MIN_ERRORS, _MANY = 5, 0.1
"""Number, and share of calls, from which errors are pointed out."""
_BY_MINUTE = "by_minute"


def overview(report: Mapping[str, Any]) -> Cooperative[dict[str, Any]]:
    """Return the values of the template."""
    providers = []
    for provider in report["providers"]:
        providers.append({**provider, "charts": _charts(provider["last_hour"])})
        if len(providers) % _PROVIDERS_PER_STEP == 0:
            yield
    calls = _sums(provider["last_hour"][_BY_MINUTE]["calls"] for provider in report["providers"])
    errors = _sums(provider["last_hour"][_BY_MINUTE]["errors"] for provider in report["providers"])
    yield
    return {
        **report,
        "providers": providers,
        "last_success": {provider["name"]: provider["last_success"] for provider in report["providers"]},
        "total": {
            "calls": sum(calls),
            "errors": sum(errors),
            "last_minute": calls[-2],  # the current one is not complete
            "chart": bars(calls, errors, LARGE),
        },
        "watched": [*_watched(report)],
        "top_keys": [_key(key) for key in report["keys"][:SHOWN_KEYS]],
        "more_keys": max(0, len(report["keys"]) - SHOWN_KEYS),
        "top_calls": report["running"]["calls"][:SHOWN_CALLS],
        "small": SMALL,
        "large": LARGE,
    }


def _watched(report: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    """What does not need attention yet, or is configured: failed fetches, failed calls, and skipped providers."""
    with_problem = {problem["provider"] for problem in report["attention"]}
    for provider in report["providers"]:
        name = provider["name"]
        if name not in with_problem and provider["consecutive_failures"]:
            reason = provider["last_error"]["reason"] if provider["last_error"] else ""
            text = f"last {plural(provider['consecutive_failures'], 'fetch', 'fetches')} failed: {reason}"
            yield {"name": name, "what": "fetch failed", "text": text}
        minutes = provider["last_hour"][_BY_MINUTE]
        calls, errors = sum(minutes["calls"][-_LATELY:]), sum(minutes["errors"][-_LATELY:])
        if errors >= _MIN_ERRORS and errors >= _MANY * calls:
            text = f"{plural(errors, 'error')}, {plural(calls, 'call')} in the last {_LATELY} minutes"
            yield {"name": name, "what": "errors", "text": text}
    for skipped in report["skipped"]:
        if skipped["state"] == "skipped":
            yield {"name": skipped["name"], "what": "skipped", "text": skipped["reason"]}


def notice(report: Mapping[str, Any], fetched: str, reloaded: str) -> str:
    """What the last action has done. `fetched`: the name of a provider; `reloaded`: how a reload has ended."""
    if reloaded == "ok":
        return f"Configuration reloaded: generation {report['configuration']['generation']}."
    if reloaded == "rejected":
        return "Configuration not reloaded: see the problems below. The previous one is still used."
    if reloaded == "disabled":
        return "Configuration not reloaded: reloading is disabled, or the configuration was not read from files."
    provider = next((each for each in report["providers"] if each["name"] == fetched), None)
    if provider is None:
        return ""
    if provider["last_error"]:
        return f"List of {fetched}: {provider['state']}: {provider['last_error']['reason']}"
    return f"List of {fetched} fetched: {provider['state']}, {provider['models']:,} models."


def _charts(hour: Mapping[str, Any]) -> Mapping[str, Any]:
    minutes = hour[_BY_MINUTE]
    return {
        "calls": bars(minutes["calls"], minutes["errors"], SMALL),
        "first_byte": lines(minutes["first_byte_p50_seconds"], minutes["first_byte_p95_seconds"], SMALL),
    }


def _key(key: Mapping[str, Any]) -> Mapping[str, Any]:
    minutes = key["last_hour"][_BY_MINUTE]
    return {**key, "chart": bars(minutes["calls"], minutes["errors"], SMALL)}


def _sums(series: Iterable[Sequence[int]]) -> Sequence[int]:
    return [sum(values) for values in zip(*series, strict=True)] or [0] * 60
