"""Reads the values of all metrics: at the time of a scrape, from the state that exists anyway, and from counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, get_args

from proxy.api.listed import Listed
from proxy.config import Config, Provider
from proxy.cooperative import Cooperative
from proxy.limits.limiter import LimitReport
from proxy.states import Calls, CallState, ListState
from proxy.store import Report, Store
from proxy.telemetry.callers import caller_label
from proxy.telemetry.counters import OTHER, Counters
from proxy.telemetry.exposition import Family, Metric, Row, encode, without_labels
from proxy.telemetry.merging import Values, merged, pack, packed_rows, unpack
from proxy.telemetry.metrics import METRICS, PRIVATE_LABELS

LIST_STATES: Sequence[ListState] = get_args(ListState)
CALL_STATES: Sequence[CallState] = get_args(CallState)


class ProcessValues(Protocol):
    """What does not depend on the deployment."""

    counters: Counters
    limits: Callable[[], LimitReport]
    """Returns how the limits of callers are counted."""
    before: Callable[[], bytes]
    """Returns the counters of earlier processes (`merging.counters_of`), b"" without any."""

    def values(self) -> Values: ...


class Collector:
    """Reads the values of one deployment and of the process."""

    def __init__(
        self,
        config: Config,
        store: Store,
        calls: Callable[[str], Calls],
        is_ready: Callable[[], bool],
        body_memory: Callable[[], int],
        listed: Listed,
        of_process: ProcessValues,
    ) -> None:
        """`calls` returns the state of a provider's calls; `is_ready` the state at `/readyz`; `body_memory` the bytes
        of request bodies in memory."""
        self._config = config
        self._store = store
        self._calls = calls
        self._is_ready = is_ready
        self._body_memory = body_memory
        self._listed = listed
        self._of_process = of_process
        callers = [*(key.name for key in config.keys), *(login.source for login in config.auth.logins)]
        self._keys = frozenset(map(caller_label, callers))
        self._providers = frozenset(provider.name for provider in config.providers)
        self._names = self._providers | {skipped.name for skipped in config.skipped}

    def values(self) -> Cooperative[Values]:
        """The metrics of this process."""
        self._of_process.counters.retain(self._keys, self._providers)
        yield
        values: dict[str, Sequence[Row]] = {}
        for name, rows in self._values():  # the series of one metric are read at once
            values[name] = rows
            yield
        return values

    @property
    def before(self) -> bytes:
        """The counters of earlier processes, b"" without any."""
        return self._of_process.before()

    def packed(self) -> Cooperative[bytes]:
        """The metrics of this process, for another one."""
        values = yield from self.values()
        packed: dict[str, bytes] = {}
        for name, rows in values.items():
            packed[name] = packed_rows(rows)
            yield
        return pack(packed)

    def merged(self, parts: Iterable[bytes]) -> Cooperative[Values]:
        """The metrics of all processes, of which each has `packed` its own."""
        packed = [unpack(part) for part in parts]
        values: dict[str, Sequence[Row]] = {}
        for name, metric in METRICS.items():
            rows = merged(name, [each[name] for each in packed if name in each])
            values[name] = [row for row in rows if self._is_current(metric, row)]
            yield
        return values

    def _is_current(self, metric: Metric, row: Row) -> bool:
        """Whether a series is about what is in the configuration: processes that have ended knew others, too."""
        for label, value in zip(metric.labels, row[0], strict=True):
            if label == "key" and value not in self._keys and value not in ("", OTHER):
                return False
            if label == "provider" and value and value not in self._names:
                return False
        return True

    @staticmethod
    def encoded(values: Values, *, openmetrics: bool, shows_names: bool) -> Cooperative[bytes]:
        """Metrics as text. `shows_names`: of keys, providers and models."""
        hidden = frozenset() if shows_names else PRIVATE_LABELS
        families: list[Family] = []
        for name, metric in METRICS.items():
            families.append(without_labels((metric, values.get(name, ())), hidden))
            yield
        return (yield from encode(families, openmetrics=openmetrics))

    def _values(self) -> Iterator[tuple[str, Sequence[Row]]]:
        yield from self._of_process.counters.values()
        yield from self._of_process.values().items()
        yield from self._of_lists(self._store.reports())
        yield from _of_calls([(provider, self._calls(provider.name)) for provider in self._config.providers])
        yield "models_proxy_ready", [((), int(self._is_ready()))]
        yield "models_proxy_body_memory_bytes", [((), self._body_memory())]
        yield "models_proxy_body_memory_limit_bytes", [((), self._config.server.limits.body_memory)]
        yield from self._of_catalog()

    def _of_lists(self, reports: Sequence[Report]) -> Iterator[tuple[str, Sequence[Row]]]:
        states: list[tuple[str, str]] = [(report.name, report.state) for report in reports]
        states += [(skipped.name, skipped.state) for skipped in self._config.skipped]
        yield "models_proxy_provider_list_state", [*_of_states(states, LIST_STATES)]
        yield "models_proxy_provider_models", [((report.name,), report.models) for report in reports]
        yield (
            "models_proxy_provider_list_age_seconds",
            [((report.name,), report.age) for report in reports if report.age is not None],
        )
        yield (
            "models_proxy_provider_list_held",
            [((report.name,), int(report.is_held)) for report in reports],
        )
        yield (
            "models_proxy_provider_list_restored",
            [((report.name,), int(report.origin == "restored")) for report in reports],
        )
        yield "models_proxy_provider_fetch_failures", [((report.name,), report.failures) for report in reports]
        yield (
            "models_proxy_provider_dropped_entries",
            [((report.name,), sum(report.result.dropped.values())) for report in reports if report.result],
        )

    def _of_catalog(self) -> Iterator[tuple[str, Sequence[Row]]]:
        catalog = self._listed.current
        yield "models_proxy_catalog_models", [((), len(catalog.ids))]
        yield "models_proxy_catalog_info", [((catalog.version,), 1)]
        dates = catalog.shutdown_dates
        used = {model: calls for model, calls in self._of_process.counters.model_calls.items() if model in dates}
        yield "models_proxy_model_shutdown_timestamp_seconds", [((model,), dates[model]) for model in used]
        yield "models_proxy_retiring_model_calls_total", [((model,), calls) for model, calls in used.items()]


def _of_calls(calls: Sequence[tuple[Provider, Calls]]) -> Iterator[tuple[str, Sequence[Row]]]:
    states = [(provider.name, of.state) for provider, of in calls]
    yield "models_proxy_circuit_state", [*_of_states(states, CALL_STATES)]
    called = [(provider, of) for provider, of in calls if of.state != "not_callable"]
    yield "models_proxy_account_rejected", [((provider.name,), int(of.account_rejected)) for provider, of in called]
    yield (
        "models_proxy_open_model_circuits",
        [((provider.name,), len(of.open_circuits)) for provider, of in called],
    )
    yield "models_proxy_in_flight_calls", [((provider.name,), of.in_flight) for provider, of in called]
    yield "models_proxy_max_in_flight_calls", [((provider.name,), provider.max_in_flight) for provider, _ in called]
    yield "models_proxy_queued_calls", [((provider.name,), of.queued) for provider, of in called]


def _of_states(current: Iterable[tuple[str, str]], states: Sequence[str]) -> Iterator[Row]:
    """A series for each state, so that a rule can select one by name."""
    for name, state in current:
        for each in states:
            yield (name, each), int(each == state)
