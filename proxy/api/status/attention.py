"""What needs attention: the providers whose lists or calls do not work, since when, and the affected callers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from proxy.api.status.presentation import state_class
from proxy.catalog import Offer
from proxy.cooperative import Cooperative
from proxy.states import Calls
from proxy.store import Report
from proxy.telemetry.changes import Feed
from proxy.telemetry.usage_query import Answer

MAX_MODELS = 100
"""Maximum number of affected models in `Impact.model_ids`."""
MAX_KEYS = 100
"""Maximum number of callers in `Impact.used_by`."""
Part = Literal["list", "calls"]
_FINE = ("ok", "declared")
_CREDENTIAL = "the provider rejects the credential of the proxy, or its account has no credit"


class UsedBy(Struct, frozen=True):
    """A caller that has called affected models in this or the previous hour."""

    name: str
    """The identity of the caller, "" for callers without a key."""
    calls: int


class Impact(Struct, frozen=True):
    """The models that a problem affects, and the callers that use them."""

    models: int
    models_without_alternative: int
    """Affected models that no other provider offers."""
    model_ids: Sequence[str]
    """Affected models, first those without an alternative."""
    used_by: Sequence[UsedBy] | None
    """The callers with most calls first; None if there are too many pairs of callers and models."""


class Problem(Struct, frozen=True):
    """The list or the calls of a provider that do not work."""

    provider: str
    part: Part
    state: str
    since: float | None
    """Unix seconds, None if it is not known."""
    reason: str
    impact: Impact
    """For calls, the models that cannot be called at this provider; for lists, those that are missing or may be out of
    date."""


class Issue(Struct, frozen=True):
    """All problems of one provider."""

    provider: str
    problems: Sequence[Problem]
    """The worst one first."""
    since: float | None
    """The earliest known time, in Unix seconds."""
    impact: Impact
    """The models that at least one of the problems affects."""


class Attention(Struct, frozen=True):
    """What needs attention."""

    issues: Sequence[Issue] = ()
    """In the order of the providers."""
    unavailable: int = 0
    """Models whose calls are rejected at all providers that offer them, and models of expired lists."""


class _Affected(Struct, frozen=True):
    part: Part
    state: str
    reason: str
    ids: Sequence[str]


def attention(
    reports: Sequence[Report],
    calls: Mapping[str, Calls],
    offers: Mapping[str, Sequence[Offer]],
    expired: Mapping[str, frozenset[str]],
    feed: Feed,
    usage: Answer | None,
) -> Cooperative[Attention]:
    """Return what needs attention. `expired`: public ids of lists that have expired, by provider; `usage`: calls by key
    and model, None if it is not known."""
    started = since(feed)
    issues: list[Issue] = []
    affected = {
        report.name: _affected(report, calls[report.name], offers[report.name], expired[report.name])
        for report in reports
        if needs_attention(report, calls[report.name])
    }
    yield
    ids = {id for parts in affected.values() for part in parts for id in part.ids}
    others = yield from _providers_by_model(offers, ids)
    for name, parts in affected.items():
        problems: list[Problem] = []
        for part in parts:
            impact = _impact(name, part.ids, others, usage)
            start = started.get((name, part.part))
            problems.append(Problem(name, part.part, part.state, start, part.reason, impact))
            yield
        whole = problems[0].impact
        if len(parts) > 1:
            whole = _impact(name, [id for part in parts for id in part.ids], others, usage)
        starts = [problem.since for problem in problems if problem.since is not None]
        issues.append(Issue(name, sorted(problems, key=_severity), min(starts, default=None), whole))
        yield
    return Attention(issues, (yield from _unavailable(offers, calls, expired)))


def is_rejected(calls: Calls, model: str, key: str | None = None) -> bool:
    """Whether a provider accepts no call of a model at the moment. `model`: the provider's id; `key`: the caller, None
    for all keys."""
    return calls.rejects_all or any(
        each.state == "open" and each.model == model and each.key in (None, key) for each in calls.open_circuits
    )


def needs_attention(report: Report, calls: Calls) -> bool:
    return report.state not in _FINE or not calls.works


def since(feed: Feed) -> Mapping[tuple[str, str], float]:
    """Provider and part -> since when it does not work, in Unix seconds. Parts that work are not contained."""
    started: dict[tuple[str, str], float] = {}
    for change in feed.changes:
        if change.part:
            if change.type == "provider_recovered":
                started.pop((change.provider, change.part), None)
            else:
                started.setdefault((change.provider, change.part), change.at)
    return started


def _affected(report: Report, calls: Calls, offers: Sequence[Offer], expired: frozenset[str]) -> Sequence[_Affected]:
    found: list[_Affected] = []
    ids: Sequence[str]
    if report.state not in _FINE:
        reason = report.error.reason if report.error else ""
        ids = [offer.id for offer in offers]
        if report.state == "failing":  # declared models are still offered
            ids = [*expired.difference(ids)]
        found.append(_Affected("list", report.state, reason, ids))
    if not calls.works:
        reason, ids = _of_calls(calls, offers)
        found.append(_Affected("calls", calls.state, reason, ids))
    return found


def _of_calls(calls: Calls, offers: Sequence[Offer]) -> tuple[str, Sequence[str]]:
    """Why calls do not work, and of which models."""
    everything = [offer.id for offer in offers]
    if calls.account_rejected:
        return _CREDENTIAL, everything
    if calls.state in ("open", "half_open"):
        return "circuit breaker open after repeated failures", everything
    own = {circuit.model for circuit in calls.open_circuits}
    keys = sorted({circuit.key for circuit in calls.open_circuits if circuit.key is not None})
    of_keys = f" for calls of {', '.join(key or 'callers without a key' for key in keys[:10])}" if keys else ""
    return f"circuit breaker open{of_keys}", [offer.id for offer in offers if offer.entry.id in own]


def _providers_by_model(
    offers: Mapping[str, Sequence[Offer]], wanted: set[str]
) -> Cooperative[Mapping[str, frozenset[str]]]:
    """Model -> its providers, for the affected models."""
    by_model: dict[str, frozenset[str]] = {}
    for name, of_provider in offers.items() if wanted else ():
        yield
        for model in wanted.intersection([offer.id for offer in of_provider]):
            by_model[model] = by_model.get(model, frozenset()) | {name}
    return by_model


def _impact(provider: str, ids: Sequence[str], others: Mapping[str, frozenset[str]], usage: Answer | None) -> Impact:
    """`others`: model -> its providers."""

    def has_alternative(model: str) -> bool:
        return bool(others.get(model, frozenset()) - {provider})

    models = frozenset(ids)
    ordered = sorted(models, key=lambda model: (has_alternative(model), model))
    alone = sum(not has_alternative(model) for model in ordered)
    return Impact(len(ordered), alone, ordered[:MAX_MODELS], None if usage is None else _used_by(models, usage))


def _severity(problem: Problem) -> int:
    if problem.part == "calls" and problem.state == "ok":  # the provider rejects the account
        return 0
    return ("bad", "warn", "off", "good").index(state_class(problem.state))


def _unavailable(
    offers: Mapping[str, Sequence[Offer]], calls: Mapping[str, Calls], expired: Mapping[str, frozenset[str]]
) -> Cooperative[int]:
    """Models that cannot be called at any provider. Providers that support listing only do not count."""
    names = [name for name in offers if calls[name].state != "not_callable"]
    found: set[str] = set()
    for name in names:
        found |= expired[name]
        if calls[name].rejects_all or calls[name].open_circuits:
            found.update(_ids(offers[name], calls[name], rejected=True))
        yield
    for name in names if found else ():
        found.difference_update(_ids(offers[name], calls[name], rejected=False))
        yield
    return len(found)


def _ids(offers: Sequence[Offer], calls: Calls, *, rejected: bool) -> Iterator[str]:
    """The models whose calls a provider rejects at the moment, or the others."""
    own = {each.model for each in calls.open_circuits if each.state == "open" and each.key is None}
    return (offer.id for offer in offers if (calls.rejects_all or offer.entry.id in own) is rejected)


def _used_by(models: frozenset[str], usage: Answer) -> Sequence[UsedBy]:
    calls: dict[str, int] = {}
    for (key, model), counts in usage.totals:
        if model in models:
            calls[key] = calls.get(key, 0) + counts[0]
    most = sorted(calls.items(), key=lambda each: (-each[1], each[0]))
    return [UsedBy(key, number) for key, number in most[:MAX_KEYS]]
