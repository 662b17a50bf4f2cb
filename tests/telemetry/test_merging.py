"""Metrics of several processes as one."""

from __future__ import annotations

from proxy.telemetry.exposition import Row
from proxy.telemetry.histogram import Buckets
from proxy.telemetry.merging import counters_of, merged, pack, packed_rows, unpack


def of_all(name: str, *processes: list[Row]) -> list[Row]:
    return [*merged(name, [packed_rows(rows) for rows in processes])]


def test_counters_are_added_by_their_labels() -> None:
    one: list[Row] = [(("a", "ok"), 3), (("b", "ok"), 1)]
    other: list[Row] = [(("a", "ok"), 2), (("a", "failed"), 1)]
    assert of_all("models_proxy_attempts_total", one, other) == [
        (("a", "ok"), 5),
        (("b", "ok"), 1),
        (("a", "failed"), 1),
    ]


def test_histograms_are_added() -> None:
    one: list[Row] = [((), Buckets((0.1, 1.0), (1, 0, 2), 5.0))]
    assert of_all("models_proxy_event_loop_lag_seconds", one, one) == [((), Buckets([0.1, 1.0], [2, 0, 4], 10.0))]


def test_gauges_of_which_each_process_has_a_part_are_added() -> None:
    assert of_all("models_proxy_in_flight_calls", [(("a",), 3)], [(("a",), 2)]) == [(("a",), 5)]


def test_of_other_gauges_the_highest_counts() -> None:
    assert of_all("models_proxy_provider_models", [(("a",), 3)], [(("a",), 2)]) == [(("a",), 3)]


def test_one_process_that_is_ready_is_enough() -> None:
    assert of_all("models_proxy_ready", [((), 1)], [((), 0)]) == [((), 1)]


def test_infos_that_differ_are_all_shown() -> None:
    rows = of_all("models_proxy_config_info", [(("one",), 1)], [(("one",), 1)], [(("other",), 1)])
    assert rows == [(("one",), 1), (("other",), 1)]


def test_counters_of_processes_that_have_ended_are_kept_and_nothing_else() -> None:
    process = pack(
        {
            "models_proxy_attempts_total": packed_rows([(("a", "ok"), 3)]),
            "models_proxy_in_flight_calls": packed_rows([(("a",), 3)]),
        }
    )
    kept = unpack(counters_of([process, process]))
    assert merged("models_proxy_attempts_total", [kept["models_proxy_attempts_total"]]) == [(("a", "ok"), 6)]
    assert "models_proxy_in_flight_calls" not in kept
