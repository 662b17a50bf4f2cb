"""The counters of the process that `/metrics` shows. They survive reloads, and contain no prompts and no responses.

The number of rows is bounded: further keys, models and paths are counted as `other`, so that sums stay correct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proxy.telemetry.callers import caller_label
from proxy.telemetry.counter_rows import (
    FETCH_BOUNDS,
    REQUEST_BOUNDS,
    WAIT_BOUNDS,
    CallRow,
    ModelRow,
    ProviderRow,
    RequestRow,
)
from proxy.telemetry.events import (
    METHODS,
    CallGroup,
    CallRecord,
    CircuitChange,
    EndedRequest,
    ListReport,
    ModelsChange,
    Observer,
    Outcome,
)
from proxy.telemetry.histogram import Histogram
from proxy.telemetry.tokens import Tokens

if TYPE_CHECKING:
    from proxy.telemetry.exposition import Row

OTHER = "other"
MAX_KEYS = 1000
"""Names of keys. These bounds together keep a scrape below 20,000 series with 10,000 keys and 50 providers."""
MAX_REQUESTS = 5000
"""Rows of routes, methods, statuses and keys."""
MAX_OUTCOMES = 4000
"""Rows of keys, providers and outcomes of calls."""
MAX_PAIRS = 2000
"""Rows of keys and providers, for tokens."""
MAX_MODELS = 400
_REST = 500
"""Further rows of `MAX_REQUESTS` without names of keys."""


class Counters(Observer):
    """Counts events. `values` returns the series."""

    def __init__(self, is_listed: Callable[[str], bool]) -> None:
        """`is_listed` returns whether a model is in the catalog: others, which clients can choose, are not labels."""
        self._is_listed = is_listed
        self._keys = {""}
        self._requests: dict[tuple[str, str, int, str], RequestRow] = {}
        self._request_seconds: dict[str, Histogram] = {}
        self._calls: dict[tuple[str, str], CallRow] = {}
        self._outcomes = 0
        self._providers: dict[str, ProviderRow] = {}
        self._models: dict[str, ModelRow] = {}
        self._attempts: Counter[tuple[str, Outcome]] = Counter()
        self._failovers: Counter[str] = Counter()
        self._waits: dict[str, Histogram] = {}
        self._transitions: Counter[tuple[str, str, str]] = Counter()
        self._fetches: Counter[tuple[str, str]] = Counter()
        self._fetch_seconds: dict[str, Histogram] = {}
        self._changes: Counter[tuple[str, str]] = Counter()

    # -- events --------------------------------------------------------------------------------------------------------

    def requests_ended(self, requests: Sequence[EndedRequest]) -> None:
        durations: dict[Histogram, list[float]] = {}
        for labels, seconds in requests:
            row = self._requests.get(labels) or self._requests_of(*labels)
            row.count += 1
            durations.setdefault(row.seconds, []).append(seconds)
        for histogram, observed in durations.items():
            histogram.observe_all(observed)

    def calls_ended(self, groups: Sequence[CallGroup]) -> None:
        by_provider: dict[str, list[CallGroup]] = {}
        for group in groups:
            self._count_calls(group)
            by_provider.setdefault(group.provider, []).append(group)
        for name, of_provider in by_provider.items():
            if name:
                row = self._providers.setdefault(name, ProviderRow())
                row.seconds.observe_all([seconds for group in of_provider for seconds in group.seconds])
                row.first_byte.observe_all([seconds for group in of_provider for seconds in group.first_bytes])

    def attempt_ended(
        self, call: CallRecord, provider: str, outcome: Outcome, first_byte: float | None, tokens: Tokens
    ) -> None:
        self._attempts[provider, outcome] += 1

    def queue_waited(self, provider: str, seconds: float) -> None:
        _observe(self._waits, provider, WAIT_BOUNDS, seconds)

    def circuit_changed(self, change: CircuitChange) -> None:
        scope = "provider" if change.model is None else "model" if change.key is None else "key"
        self._transitions[change.provider, scope, "closed" if change.after == "ok" else change.after] += 1

    def provider_reported(self, report: ListReport) -> None:
        self._fetches[report.name, report.error.kind if report.error else "ok"] += 1
        if report.fetch_seconds is not None:
            _observe(self._fetch_seconds, report.name, FETCH_BOUNDS, report.fetch_seconds)

    def models_changed(self, change: ModelsChange) -> None:
        for kind, ids in (("added", change.added), ("removed", change.removed)):
            if ids:
                self._changes[change.provider, kind] += len(ids)

    # -- counting ------------------------------------------------------------------------------------------------------

    def _count_calls(self, group: CallGroup) -> None:
        outcome = group.outcome
        row = self._calls.get((group.key, group.provider))
        if row is None or outcome not in row.outcomes:
            row = self._calls_of(group)
        row.outcomes[outcome] += group.calls
        if not group.provider:
            return
        if group.failovers:
            self._failovers[group.provider] += group.failovers
        model = self._models.get(group.model) or self._model_of(group)
        model.calls += group.calls
        row.input_tokens += group.input_tokens
        row.output_tokens += group.output_tokens
        model.input_tokens += group.input_tokens
        model.output_tokens += group.output_tokens

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _requests_of(self, route: str, method: str, status: int, key: str) -> RequestRow:
        """The row of a request; a new one, or one that several share."""
        labels = (route, method if method in METHODS else OTHER, status, self._key(key))
        row = self._requests.get(labels)
        if row is None and len(self._requests) >= MAX_REQUESTS:
            labels = (*labels[:3], OTHER)
            if labels not in self._requests and len(self._requests) >= MAX_REQUESTS + _REST:
                labels = (OTHER, OTHER, 0, OTHER)
            row = self._requests.get(labels)
        if row is None:
            seconds = self._request_seconds.setdefault(labels[0], Histogram(REQUEST_BOUNDS))
            row = self._requests[labels] = RequestRow(seconds)
        return row

    def _calls_of(self, group: CallGroup) -> CallRow:
        """The row of calls, with its outcome."""
        key = self._key(group.key)
        row = self._calls.get((key, group.provider))
        if row is not None and group.outcome in row.outcomes:  # true for most calls of further keys
            return row
        if self._outcomes >= MAX_OUTCOMES or (row is None and len(self._calls) >= MAX_PAIRS):
            key = OTHER
            row = self._calls.get((key, group.provider))
        if row is None:
            row = self._calls[key, group.provider] = CallRow()
        if group.outcome not in row.outcomes:
            row.outcomes[group.outcome] = 0
            self._outcomes += 1
        return row

    def _model_of(self, group: CallGroup) -> ModelRow:
        is_known = len(self._models) < MAX_MODELS and self._is_listed(group.model)
        return self._models.setdefault(group.model if is_known else OTHER, ModelRow())

    def _key(self, identity: str) -> str:
        """The label of a caller, or `other` if there are too many."""
        name = caller_label(identity)
        if name in self._keys:
            return name
        if len(self._keys) > MAX_KEYS:  # "" is one of them
            return OTHER
        self._keys.add(name)
        return name

    # -- values --------------------------------------------------------------------------------------------------------

    def retain(self, keys: Container[str], providers: Container[str]) -> None:
        """Remove the rows of keys and providers that are not in the configuration any more."""
        self.flush()
        for gone in [name for name in self._keys if name and name not in keys]:
            self._keys.discard(gone)
        kept = self._keys | {OTHER}
        self._requests = {labels: row for labels, row in self._requests.items() if labels[3] in kept}
        self._calls = {
            (key, provider): row
            for (key, provider), row in self._calls.items()
            if key in kept and (not provider or provider in providers)
        }
        self._outcomes = sum(len(row.outcomes) for row in self._calls.values())
        by_provider: tuple[dict[str, Any], ...] = (self._providers, self._failovers, self._waits, self._fetch_seconds)
        for values in by_provider:
            for gone in [name for name in values if name not in providers]:
                del values[gone]
        with_provider: tuple[dict[Any, int], ...] = (self._attempts, self._transitions, self._fetches, self._changes)
        for counts in with_provider:
            for labels in [labels for labels in counts if labels[0] not in providers]:
                del counts[labels]
        if len(self._models) >= MAX_MODELS:
            self._models = {name: of for name, of in self._models.items() if name == OTHER or self._is_listed(name)}

    @property
    def attempts(self) -> Mapping[tuple[str, Outcome], int]:
        """Provider and outcome -> attempts since the start."""
        return self._attempts

    @property
    def model_calls(self) -> Mapping[str, int]:
        """The listed models that were called -> how often."""
        self.flush()
        return {model: row.calls for model, row in self._models.items() if model != OTHER}

    def values(self) -> Iterator[tuple[str, Sequence[Row]]]:
        """Each metric with its series, which are read when it is its turn."""
        self.flush()
        yield (
            "models_proxy_requests_total",
            [
                ((route or OTHER, method, str(status or OTHER), key), row.count)
                for (route, method, status, key), row in self._requests.items()
            ],
        )
        yield "models_proxy_request_duration_seconds", _histograms(self._request_seconds)
        yield (
            "models_proxy_calls_total",
            [((*pair, outcome), count) for pair, row in self._calls.items() for outcome, count in row.outcomes.items()],
        )
        yield (
            "models_proxy_tokens_total",
            [
                ((*pair, direction), count)
                for pair, row in self._calls.items()
                for direction, count in (("input", row.input_tokens), ("output", row.output_tokens))
                if count
            ],
        )
        yield "models_proxy_model_calls_total", [((model,), row.calls) for model, row in self._models.items()]
        yield (
            "models_proxy_model_tokens_total",
            [
                ((model, direction), count)
                for model, row in self._models.items()
                for direction, count in (("input", row.input_tokens), ("output", row.output_tokens))
                if count
            ],
        )
        providers = self._providers.items()
        yield (
            "models_proxy_call_first_byte_seconds",
            [((name,), of.first_byte.buckets()) for name, of in providers],
        )
        yield "models_proxy_call_duration_seconds", [((name,), of.seconds.buckets()) for name, of in providers]
        yield "models_proxy_attempts_total", [*self._attempts.items()]
        yield "models_proxy_failovers_total", [((name,), count) for name, count in self._failovers.items()]
        yield "models_proxy_queue_wait_seconds", _histograms(self._waits)
        yield "models_proxy_circuit_changes_total", [*self._transitions.items()]
        yield "models_proxy_provider_fetches_total", [*self._fetches.items()]
        yield "models_proxy_provider_fetch_duration_seconds", _histograms(self._fetch_seconds)
        yield "models_proxy_provider_model_changes_total", [*self._changes.items()]


def _observe(histograms: dict[str, Histogram], name: str, bounds: Sequence[float], value: float) -> None:
    if name not in histograms:
        histograms[name] = Histogram(bounds)
    histograms[name].observe(value)


def _histograms(histograms: Mapping[str, Histogram]) -> Sequence[Row]:
    return [((name or OTHER,), histogram.buckets()) for name, histogram in histograms.items()]
