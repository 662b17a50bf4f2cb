"""What the first page shows: the report of `/status.json` with charts and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from proxy.api.status.attention import Issue, Problem
from proxy.api.status.charts import bars, lines
from proxy.api.status.presentation import plural, state_class, state_text
from proxy.api.status.report import date_or_none
from proxy.cooperative import Cooperative

SMALL, LARGE = 30, 90
"""Heights of charts, in units of their SVG."""
SHOWN_KEYS = 20
SHOWN_CALLS = 20
_PROVIDERS_PER_STEP = 5
_LATELY = 10
"""Minutes whose errors are counted for a warning."""
_MIN_ERRORS, _MANY = 5, 0.1
"""Minimum number of errors, and their minimum share of calls, for a warning."""
_BY_MINUTE = "by_minute"
_LOOKS = ("bad", "warn", "off", "good")


class Notice(Struct, frozen=True):
    """What an action has done."""

    text: str
    is_failure: bool = False


def overview(report: Mapping[str, Any], issues: Sequence[Issue]) -> Cooperative[dict[str, Any]]:
    """Return the values of the template. `issues`: as in the report, by provider."""
    providers = []
    for place, provider in enumerate(report["providers"]):
        # The place in the file: the script uses it to keep open parts and the focus when the order changes.
        providers.append({**provider, "place": place, "charts": _charts(provider["last_hour"])})
        if len(providers) % _PROVIDERS_PER_STEP == 0:
            yield
    calls = _sums(provider["last_hour"][_BY_MINUTE]["calls"] for provider in report["providers"])
    errors = _sums(provider["last_hour"][_BY_MINUTE]["errors"] for provider in report["providers"])
    yield
    shown_issues = sorted((_issue(issue) for issue in issues), key=lambda issue: _LOOKS.index(issue["look"]))
    order = {issue["provider"]: place for place, issue in enumerate(shown_issues)}
    return {
        **report,
        "issues": shown_issues,
        "providers": sorted(providers, key=lambda provider: order.get(provider["name"], len(order))),
        "by_name": {provider["name"]: provider for provider in providers},
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
    """Problems without an effect on a state: failed fetches, failed calls, and skipped providers."""
    with_problem = {problem["provider"] for problem in report["attention"]}
    for provider in report["providers"]:
        name = provider["name"]
        if name in with_problem:
            continue
        if provider["consecutive_failures"]:
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


def notice(report: Mapping[str, Any], fetched: str, reloaded: str) -> Notice | None:
    """The result of the last action. `fetched`: the name of a provider; `reloaded`: the result of a reload."""
    if reloaded == "ok":
        return Notice(f"Configuration reloaded: generation {report['configuration']['generation']}.")
    if reloaded == "rejected":
        text = "Configuration not reloaded: see the problems below. The previous one is still used."
        return Notice(text, is_failure=True)
    if reloaded == "disabled":
        text = "Configuration not reloaded: reloading is disabled, or the configuration was not read from files."
        return Notice(text, is_failure=True)
    provider = next((each for each in report["providers"] if each["name"] == fetched), None)
    if provider is None:
        return None
    if error := provider["last_error"]:
        kept = "there is no old list to use" if provider["state"] == "failing" else "the old list stays in use"
        return Notice(f"Fetching the list of {fetched} failed: {error['reason']}; {kept}.", is_failure=True)
    return Notice(f"List of {fetched} fetched: {provider['state']}, {plural(provider['models'], 'model')}.")


def _issue(issue: Issue) -> Mapping[str, Any]:
    parts = [{**asdict(problem), **_words(problem)} for problem in issue.problems]
    since = date_or_none(issue.since)
    return {**asdict(issue), "since": since, "parts": parts, "look": parts[0]["look"]}


def _words(problem: Problem) -> Mapping[str, str]:
    """The style and the text of the state of a problem."""
    if problem.part == "list":
        return {"look": state_class(problem.state), "text": f"list {state_text(problem.state)}"}
    if problem.state == "ok":
        return {"look": "bad", "text": "calls rejected (credential or credit)"}
    if problem.state in ("open", "half_open"):
        return {"look": state_class(problem.state), "text": f"calls {state_text(problem.state)}"}
    return {"look": "warn", "text": "calls of some models rejected (circuit breaker open)"}


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
