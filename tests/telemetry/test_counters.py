"""The counters of `/metrics`: what each event adds, and how many rows there can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from proxy.errors import UpstreamError
from proxy.states import ListState
from proxy.telemetry import counters as bounds
from proxy.telemetry.counter_rows import CALL_BOUNDS, FETCH_BOUNDS, FIRST_BYTE_BOUNDS, REQUEST_BOUNDS, WAIT_BOUNDS
from proxy.telemetry.counters import MAX_KEYS, MAX_MODELS, MAX_REQUESTS, OTHER, Counters
from proxy.telemetry.events import CallRecord, CircuitChange, EndedRequest, ModelsChange, grouped
from proxy.telemetry.exposition import Row
from proxy.telemetry.histogram import Buckets
from proxy.telemetry.metrics import METRICS
from proxy.telemetry.tokens import Tokens

CHAT = "/v1/chat/completions"


class Report:
    """The report of a refresh."""

    state: ListState = "ok"
    models = 1
    failures = 0

    def __init__(self, name: str, error: UpstreamError | None, fetch_seconds: float | None) -> None:
        self.name, self.error, self.fetch_seconds = name, error, fetch_seconds


def new_counters(*listed: str) -> Counters:
    return Counters(frozenset(listed).__contains__)


def request(
    route: str = "/v1/models",
    method: str = "GET",
    status: int = 200,
    key: str = "alice",
    *,
    seconds: float = 0.1,
) -> EndedRequest:
    return (route, method, status, key), seconds


def call(key: str = "alice", provider: str = "a", model: str = "m", **fields: Any) -> CallRecord:
    return CallRecord("1", "POST", CHAT, "openai", key, "", b"", 0.0, model, provider=provider, **fields)


def buckets(bounds: Sequence[float], *values: float) -> Buckets:
    """The buckets of these values; each is a bound, or larger than all of them."""
    places = [bounds.index(value) if value in bounds else len(bounds) for value in values]
    return Buckets(bounds, tuple(places.count(place) for place in range(len(bounds) + 1)), sum(values))


def values(counters: Counters) -> Mapping[str, Sequence[Row]]:
    """Metric -> series, without metrics that have none."""
    return {name.removeprefix("models_proxy_"): [*rows] for name, rows in counters.values() if rows}


def test_requests_are_counted_by_route_method_status_and_key() -> None:
    counters = new_counters()
    counters.requests_ended([request(seconds=0.001)])
    counters.requests_ended([request(seconds=0.005)])
    counters.requests_ended([request(status=404, key="", seconds=1000.0)])
    counters.requests_ended([request("", "PROPFIND", 401, "", seconds=0.001)])

    assert values(counters) == {
        "requests_total": [
            (("/v1/models", "GET", "200", "alice"), 2),
            (("/v1/models", "GET", "404", ""), 1),
            ((OTHER, OTHER, "401", ""), 1),
        ],
        "request_duration_seconds": [
            (("/v1/models",), buckets(REQUEST_BOUNDS, 0.001, 0.005, 1000.0)),
            ((OTHER,), buckets(REQUEST_BOUNDS, 0.001)),
        ],
    }


def test_requests_of_several_keys_and_routes_are_counted_together() -> None:
    counters = new_counters()
    counters.requests_ended(
        [
            request(seconds=0.001),
            request(key="bob", seconds=0.005),
            request(CHAT, "POST", seconds=0.25),
            request(key="bob", seconds=0.001),
        ]
    )

    assert values(counters) == {
        "requests_total": [
            (("/v1/models", "GET", "200", "alice"), 1),
            (("/v1/models", "GET", "200", "bob"), 2),
            ((CHAT, "POST", "200", "alice"), 1),
        ],
        "request_duration_seconds": [
            (("/v1/models",), buckets(REQUEST_BOUNDS, 0.001, 0.005, 0.001)),
            ((CHAT,), buckets(REQUEST_BOUNDS, 0.25)),
        ],
    }


def test_calls_are_counted_by_key_provider_and_outcome_and_their_tokens_too() -> None:
    counters = new_counters("m", "n")
    counters.calls_ended(grouped([call(first_byte=0.25, seconds=2.5, input_tokens=3, output_tokens=40)]))
    counters.calls_ended(grouped([call(first_byte=0.5, seconds=5.0, input_tokens=4, failovers=2)]))
    counters.calls_ended(grouped([call(model="n", outcome="stream_broken", first_byte=60.0, seconds=600.0)]))
    counters.calls_ended(grouped([call("", "b", "invented", outcome="failed", seconds=0.1)]))

    assert values(counters) == {
        "calls_total": [(("alice", "a", "ok"), 2), (("alice", "a", "stream_broken"), 1), (("", "b", "failed"), 1)],
        "tokens_total": [(("alice", "a", "input"), 7), (("alice", "a", "output"), 40)],
        "model_calls_total": [(("m",), 2), (("n",), 1), ((OTHER,), 1)],
        "model_tokens_total": [(("m", "input"), 7), (("m", "output"), 40)],
        "call_first_byte_seconds": [
            (("a",), buckets(FIRST_BYTE_BOUNDS, 0.25, 0.5, 60.0)),
            (("b",), buckets(FIRST_BYTE_BOUNDS)),
        ],
        "call_duration_seconds": [
            (("a",), buckets(CALL_BOUNDS, 2.5, 5.0, 600.0)),
            (("b",), buckets(CALL_BOUNDS, 0.1)),
        ],
        "failovers_total": [(("a",), 2)],
    }


def test_a_call_without_a_provider_has_an_outcome_only() -> None:
    counters = new_counters("m")
    counters.calls_ended(grouped([call(provider="", outcome="rejected", seconds=0.1)]))

    assert values(counters) == {"calls_total": [(("alice", "", "rejected"), 1)]}


def test_events_of_providers_are_counted() -> None:
    counters = new_counters()
    counters.attempt_ended(call(), "a", "failed", None, Tokens())
    counters.attempt_ended(call(), "a", "ok", 0.1, Tokens())
    counters.attempt_ended(call(), "a", "ok", 0.2, Tokens())
    counters.queue_waited("a", 0.25)
    counters.circuit_changed(CircuitChange("a", None, None, "ok", "open"))
    counters.circuit_changed(CircuitChange("a", "m", None, "open", "half_open"))
    counters.circuit_changed(CircuitChange("a", "m", "alice", "half_open", "ok"))
    counters.provider_reported(Report("a", None, 0.5))
    counters.provider_reported(Report("a", UpstreamError("timeout", "timed out"), 10.0))
    counters.provider_reported(Report("b", UpstreamError("dns", "DNS lookup failed"), None))
    counters.models_changed(ModelsChange("a", ("x", "y"), ()))
    counters.models_changed(ModelsChange("a", ("z",), ("x",)))

    assert values(counters) == {
        "attempts_total": [(("a", "failed"), 1), (("a", "ok"), 2)],
        "queue_wait_seconds": [(("a",), buckets(WAIT_BOUNDS, 0.25))],
        "circuit_changes_total": [
            (("a", "provider", "open"), 1),
            (("a", "model", "half_open"), 1),
            (("a", "key", "closed"), 1),
        ],
        "provider_fetches_total": [(("a", "ok"), 1), (("a", "timeout"), 1), (("b", "dns"), 1)],
        "provider_fetch_duration_seconds": [(("a",), buckets(FETCH_BOUNDS, 0.5, 10.0))],
        "provider_model_changes_total": [(("a", "added"), 3), (("a", "removed"), 1)],
    }


def test_every_series_belongs_to_a_metric_with_its_labels() -> None:
    counters = new_counters("m")
    counters.requests_ended([request(seconds=0.1)])
    counters.calls_ended(grouped([call(input_tokens=1, failovers=1)]))
    counters.attempt_ended(call(), "a", "ok", 0.1, Tokens())
    counters.queue_waited("a", 0.1)
    counters.circuit_changed(CircuitChange("a", None, None, "ok", "open"))
    counters.provider_reported(Report("a", None, 0.5))
    counters.models_changed(ModelsChange("a", ("x",), ()))

    assert {name: {len(labels) for labels, _ in rows} for name, rows in counters.values()} == {
        name: {len(METRICS[name].labels)} for name, _ in counters.values()
    }


def test_keys_beyond_the_limit_are_counted_as_other() -> None:
    counters = new_counters()
    for number in range(MAX_KEYS + 5):
        counters.requests_ended([request(key=f"key-{number}", seconds=0.1)])
    counters.requests_ended([request(key="key-0", seconds=0.1)])
    rows = dict(dict(counters.values())["models_proxy_requests_total"])

    assert len(rows) == MAX_KEYS + 1
    assert rows["/v1/models", "GET", "200", "key-0"] == 2
    assert rows["/v1/models", "GET", "200", OTHER] == 5


def test_ids_that_clients_invent_are_never_labels() -> None:
    counters = new_counters()
    for number in range(1000):
        counters.calls_ended(grouped([call(model=f"invented-{number}")]))

    assert dict(counters.values())["models_proxy_model_calls_total"] == [((OTHER,), 1000)]


def test_models_beyond_the_limit_are_counted_as_other() -> None:
    listed = [f"m-{number}" for number in range(MAX_MODELS + 7)]
    counters = new_counters(*listed)
    for model in listed:
        counters.calls_ended(grouped([call(model=model)]))
    rows = dict(dict(counters.values())["models_proxy_model_calls_total"])

    assert (len(rows), rows[(OTHER,)]) == (MAX_MODELS + 1, 7)
    assert [*counters.model_calls] == listed[:MAX_MODELS]


def test_series_are_bounded_whatever_keys_providers_and_statuses_there_are() -> None:
    counters = new_counters(*(f"m-{number}" for number in range(5000)))
    total = 0
    for number in range(60_000):
        key, status = f"key-{number % 10_000}", 400 + number % 199
        counters.requests_ended([request(f"/v1/{number % 97}", "POST", status, key, seconds=0.1)])
        outcome = ("ok", "failed", "timeout", "rejected")[number // 7 % 4]
        counters.calls_ended(
            grouped(
                [call(key, f"p-{number % 20}", f"m-{number % 5000}", outcome=outcome, input_tokens=1, output_tokens=1)]
            )
        )
        total += 1
    rows = dict(counters.values())
    series = sum(
        len(value.counts) + 2 if isinstance(value, Buckets) else 1 for each in rows.values() for _, value in each
    )

    assert series < 18_500
    for name in ("requests_total", "calls_total", "model_calls_total"):
        assert sum(value for _, value in rows[f"models_proxy_{name}"] if not isinstance(value, Buckets)) == total


def test_requests_share_one_row_when_even_those_without_keys_are_too_many() -> None:
    counters = new_counters()
    for number in range(MAX_REQUESTS + bounds._REST + 3):
        counters.requests_ended([request(f"/{number}", key="", seconds=0.1)])
    rows = dict(dict(counters.values())["models_proxy_requests_total"])

    assert rows[OTHER, OTHER, OTHER, OTHER] == 3


def test_rows_of_removed_keys_and_providers_end_and_make_room() -> None:
    counters = new_counters("m")
    for number in range(MAX_KEYS):
        counters.requests_ended([request(key=f"key-{number}", seconds=0.1)])
    counters.calls_ended(grouped([call("key-0", "a")]))
    counters.calls_ended(grouped([call("key-0", "gone", failovers=1)]))
    counters.calls_ended(grouped([call("key-1", "a")]))
    counters.attempt_ended(call(), "gone", "ok", 0.1, Tokens())
    counters.queue_waited("gone", 0.1)
    counters.circuit_changed(CircuitChange("gone", None, None, "ok", "open"))
    counters.provider_reported(Report("gone", None, 0.5))
    counters.models_changed(ModelsChange("gone", ("x",), ()))
    counters.retain({"key-0", "new"}, {"a"})
    counters.requests_ended([request(key="new", seconds=0.1)])
    now = values(counters)

    assert now["requests_total"] == [
        (("/v1/models", "GET", "200", "key-0"), 1),
        (("/v1/models", "GET", "200", "new"), 1),
    ]
    assert now["calls_total"] == [(("key-0", "a", "ok"), 1)]
    assert now.keys() == {
        "requests_total", "request_duration_seconds", "calls_total", "model_calls_total", "call_first_byte_seconds",
        "call_duration_seconds",
    }  # fmt: skip


@pytest.mark.parametrize("before", [1, MAX_MODELS])
def test_models_that_are_not_listed_any_more_make_room_when_there_is_none(before: int) -> None:
    listed = {f"m-{number}" for number in range(before)}
    counters = Counters(listed.__contains__)
    for model in sorted(listed):
        counters.calls_ended(grouped([call(model=model)]))
    assert [*counters.model_calls] == sorted(listed)
    listed.clear()
    listed.add("new")
    counters.retain((), {"a"})
    counters.calls_ended(grouped([call(model="new")]))

    assert [*counters.model_calls] == (["m-0", "new"] if before == 1 else ["new"])
