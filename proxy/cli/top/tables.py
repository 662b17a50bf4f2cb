"""The tables of `top`: providers, keys and calls in progress as cells, entries that need attention first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from proxy.api.status.presentation import duration, seconds, state_class
from proxy.cli.terminal import Styled
from proxy.cli.top.layout import Column, Table
from proxy.cli.top.status import Call, Key, Minutes, Problem, Provider, Skipped, Status, recent
from proxy.printable import printable
from proxy.telemetry.callers import caller_label

SORTS = ("attention", "calls", "errors", "first byte", "name")
"""What tables are sorted by."""

_COLORS: Mapping[str, Styled] = {
    "good": Styled("", "green"),
    "warn": Styled("", "yellow"),
    "bad": Styled("", "red"),
    "off": Styled("", dim=True),
}
_MAX_CHARACTERS = 1000
"""Maximum characters of a cell: ids can be longer than any terminal."""

# The last value is the rank: narrow terminals omit the columns with the highest ranks.
_PROVIDERS = (
    Column("provider", "fold", 0),
    Column("list", "left", 0),
    Column("calls", "left", 1),
    Column("models", "right", 7),
    Column("age", "right", 6),
    Column("calls/min", "right", 3),
    Column("errors/min", "right", 2),
    Column("p50", "right", 9),
    Column("p95", "right", 5),
    Column("in flight", "right", 4),
    Column("queue", "right", 8),
    Column("last error", "fold", 1, least=20),
)
_KEYS = (
    Column("key", "fold", 0),
    Column("calls/min", "right", 1),
    Column("errors/min", "right", 2),
    Column("tokens/min", "right", 3),
    Column("first byte", "right", 5),
    Column("in flight", "right", 4),
    Column("calls/h", "right", 6),
    Column("errors/h", "right", 7),
)
_CALLS = (
    Column("running", "right", 0),
    Column("key", "fold", 2),
    Column("model", "fold", 0),
    Column("provider", "fold", 1),
    Column("attempts", "right", 3),
    Column("stream", "left", 5),
    Column("path", "fold", 4),
    Column("request id", "fold", 6),
)


class _Row(NamedTuple):
    """A row, and its sort keys: criterion -> key."""

    cells: Sequence[Styled]
    places: Mapping[str, tuple[object, ...]]


def tables(status: Status, sort: str) -> Sequence[Table]:
    """The providers, the keys and the calls in progress. `sort`: one of SORTS; calls begin with the longest."""
    return [
        Table(_PROVIDERS, _sorted(_providers(status), sort)),
        Table(_KEYS, _sorted(_keys(status), sort)),
        Table(_CALLS, [_call(call) for call in status.running.calls]),
    ]


def attention(status: Status) -> int:
    """The number of providers that need attention."""
    return sum(_severity(provider) > 1 for provider in status.providers)


def total(status: Status, series: Callable[[Minutes], Sequence[float | None]]) -> float:
    """The sum over all providers in the last minute."""
    minutes = (provider.last_hour.by_minute or Minutes() for provider in status.providers)
    return sum(status.per_minute(series(each)) for each in minutes)


def rate(value: float) -> str:
    """A number per minute, with one decimal below 10."""
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:,.0f}"


def _sorted(rows: Sequence[_Row], sort: str) -> Sequence[Sequence[Styled]]:
    """The cells of the rows, sorted. The order is stable."""
    return [row.cells for row in sorted(rows, key=lambda row: row.places[sort])]


# -- providers ---------------------------------------------------------------------------------------------------------


def _providers(status: Status) -> Sequence[_Row]:
    problems: dict[str, list[Problem]] = {}
    for problem in status.attention:
        problems.setdefault(problem.provider, []).append(problem)
    used = [_provider(each, problems.get(each.name, ()), status) for each in status.providers]
    return used + [_skipped(each) for each in status.skipped]


def _severity(provider: Provider) -> int:
    """0: ok; 1: single failures, or a limit is reached; 2: the list or calls work partly; 3: one of them fails."""
    if provider.state == "failing" or provider.calls == "open" or provider.account_rejected:
        return 3
    if provider.state in ("stale", "incomplete", "empty") or provider.calls == "half_open" or provider.open_circuits:
        return 2
    return int(provider.calls in ("degraded", "limited") or provider.queued > 0)


def _provider(provider: Provider, problems: Sequence[Problem], status: Status) -> _Row:
    minutes = provider.last_hour.by_minute or Minutes()
    calls, errors = status.per_minute(minutes.calls), status.per_minute(minutes.errors)
    median, most = recent(minutes.first_byte_p50_seconds, minutes.first_byte_p95_seconds)
    most_calls = provider.max_in_flight
    cells = [
        _plain(provider.name),
        _state(provider.state),
        _state(provider.calls),
        _plain(f"{provider.models:,}"),
        _plain("-" if provider.age_seconds is None else duration(provider.age_seconds)),
        _plain(rate(calls)),
        _errors(errors),
        _first_byte(median),
        _first_byte(most),
        _plain(f"{provider.in_flight}/{most_calls}" if most_calls else str(provider.in_flight)),
        Styled(str(provider.queued), "yellow" if provider.queued else None),
        _plain(_last_error(provider, problems, status)),
    ]
    return _Row(cells, _places((-_severity(provider), -errors), provider.name, calls, errors, most))


def _skipped(skipped: Skipped) -> _Row:
    """A provider that is not used. If a variable is missing, it follows those that need attention, else it is last."""
    unknown = [_plain("-")] * (len(_PROVIDERS) - 3)
    cells = [_plain(skipped.name), _state(skipped.state), *unknown, _plain(skipped.reason or "-")]
    first = (-1, 0.0) if skipped.state == "skipped" else (1, 0.0)
    return _Row(cells, _places(first, skipped.name, -1, -1, None))


def _last_error(provider: Provider, problems: Sequence[Problem], status: Status) -> str:
    """Why the list and the calls do not work, and since when; else the last failure of the list."""
    texts = []
    for problem in problems:
        since = problem.since and duration((status.time - problem.since).total_seconds())
        texts.append(f"{problem.part}: {problem.reason or 'unknown'}" + f" (for {since})" * bool(since))
    if not texts and provider.last_error:
        return provider.last_error.reason
    return "; ".join(texts) or "-"


# -- keys and calls ----------------------------------------------------------------------------------------------------


def _keys(status: Status) -> Sequence[_Row]:
    """The callers of the last hour, and those of calls in progress."""
    running = Counter(caller_label(call.key) for call in status.running.calls)
    more = "+" * (status.running.total > len(status.running.calls))
    names = {key.name for key in status.keys}
    keys = [*status.keys, *(Key(name) for name in sorted(running) if name not in names)]
    return [_key(key, status, f"{running[key.name]}{more}") for key in keys]


def _key(key: Key, status: Status, in_flight: str) -> _Row:
    hour, minutes = key.last_hour, key.last_hour.by_minute
    known = minutes or Minutes()
    calls, errors = status.per_minute(known.calls), status.per_minute(known.errors)
    tokens = status.per_minute(known.input_tokens) + status.per_minute(known.output_tokens)
    (mean,) = recent(known.first_byte_mean_seconds)
    is_unknown = minutes is None and hour.calls > 0
    cells = [
        _plain(key.name or "(no key)"),
        _plain("-" if is_unknown else rate(calls)),
        _plain("-") if is_unknown else _errors(errors),
        _plain("-" if is_unknown else rate(tokens)),
        _first_byte(mean),
        _plain(in_flight),
        _plain(f"{hour.calls:,}"),
        _plain(f"{hour.errors:,}"),
    ]
    return _Row(cells, _places((-errors, -calls), key.name, calls, errors, mean))


def _call(call: Call) -> Sequence[Styled]:
    return [
        _plain(duration(call.seconds)),
        _plain(call.key or "(no key)"),
        _plain(call.model or "-"),
        _plain(call.provider or "-"),
        Styled(str(call.attempts), "yellow" if call.attempts > 1 else None),
        _plain("yes" if call.stream else "-"),
        _plain(call.route),
        _plain(call.request_id),
    ]


# -- cells -------------------------------------------------------------------------------------------------------------


def _places(
    first: tuple[object, ...], name: str, calls: float, errors: float, first_byte: float | None
) -> Mapping[str, tuple[object, ...]]:
    return {
        "attention": first,
        "calls": (-calls,),
        "errors": (-errors,),
        "first byte": (-(first_byte or 0.0),),
        "name": (name.casefold(), name),
    }


def _plain(text: str) -> Styled:
    return Styled(printable(text[:_MAX_CHARACTERS]))


def _state(state: str) -> Styled:
    return _COLORS[state_class(state)]._replace(text=printable(state[:_MAX_CHARACTERS]))


def _errors(per_minute: float) -> Styled:
    return Styled(rate(per_minute), "red" if per_minute else None)


def _first_byte(value: float | None) -> Styled:
    return _plain("-" if value is None else seconds(value))
