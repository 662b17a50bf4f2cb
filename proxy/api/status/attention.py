"""What needs attention: the providers whose lists or calls do not work, since when, and who is affected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from proxy.catalog import Offer
from proxy.cooperative import Cooperative
from proxy.states import Calls
from proxy.store import Report
from proxy.telemetry.changes import Feed
from proxy.telemetry.usage_query import Answer

MAX_MODELS = 100
"""Affected models that are named."""
MAX_KEYS = 100
"""Callers that are named."""
_FINE = ("ok", "declared")
_CREDENTIAL = "the provider rejects the credential of the proxy, or its account has no credit"


class UsedBy(Struct, frozen=True):
    """A caller that has called affected models in this or the previous hour."""

    name: str
    """The identity of the caller, "" for callers without a key."""
    calls: int


class Problem(Struct, frozen=True):
    """The list or the calls of a provider that do not work."""

    provider: str
    part: Literal["list", "calls"]
    state: str
    since: float | None
    """Unix seconds, None if it is not known."""
    reason: str
    models: int
    """Affected models: for calls, those that cannot be called at this provider; for lists, those that are missing or
    may be out of date."""
    models_without_alternative: int
    """Affected models that no other provider offers."""
    model_ids: Sequence[str]
    """Affected models, first those without an alternative."""
    used_by: Sequence[UsedBy] | None
    """Those with most calls first; None if there are too many callers and models to add up."""


class _Affected(Struct, frozen=True):
    report: Report
    part: Literal["list", "calls"]
    state: str
    reason: str
    ids: Sequence[str]


def problems(
    reports: Sequence[Report],
    calls: Mapping[str, Calls],
    offers: Mapping[str, Sequence[Offer]],
    expired: Mapping[str, frozenset[str]],
    feed: Feed,
    usage: Answer | None,
) -> Cooperative[Sequence[Problem]]:
    """The problems of providers, in their order. `expired`: public ids of lists that have expired, by provider;
    `usage`: calls by key and model, None if it is not known."""
    started = since(feed)
    found: list[Problem] = []
    affected = [
        each
        for report in reports
        for each in _affected(report, calls[report.name], offers[report.name], expired[report.name])
    ]
    yield
    others = yield from _providers_by_model(offers, {each.report.name for each in affected})
    for each in affected:
        name = each.report.name
        ids = sorted(set(each.ids), key=lambda model: (bool(others.get(model, frozenset()) - {name}), model))
        alone = sum(not others.get(model, frozenset()) - {name} for model in ids)
        yield
        start = started.get((name, each.part))
        found.append(
            Problem(
                name,
                each.part,
                each.state,
                start,
                each.reason,
                len(ids),
                alone,
                ids[:MAX_MODELS],
                None if usage is None else _used_by(frozenset(ids), usage),
            )
        )
        yield
    return found


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
        ids = [*expired] if report.state == "failing" else [offer.id for offer in offers]
        found.append(_Affected(report, "list", report.state, reason, ids))
    if not calls.works:
        reason, ids = _of_calls(calls, offers)
        found.append(_Affected(report, "calls", calls.state, reason, ids))
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
    offers: Mapping[str, Sequence[Offer]], affected: set[str]
) -> Cooperative[Mapping[str, frozenset[str]]]:
    """Model -> its providers, for the models of providers with a problem."""
    wanted = {offer.id for name in affected for offer in offers[name]}
    by_model: dict[str, frozenset[str]] = {}
    for name, of_provider in offers.items() if affected else ():
        yield
        for model in wanted.intersection([offer.id for offer in of_provider]):
            by_model[model] = by_model.get(model, frozenset()) | {name}
    return by_model


def _used_by(models: frozenset[str], usage: Answer) -> Sequence[UsedBy]:
    calls: dict[str, int] = {}
    for (key, model), counts in usage.totals:
        if model in models:
            calls[key] = calls.get(key, 0) + counts[0]
    most = sorted(calls.items(), key=lambda each: (-each[1], each[0]))
    return [UsedBy(key, number) for key, number in most[:MAX_KEYS]]
