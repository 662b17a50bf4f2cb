"""The text formats of metrics, compared with those of prometheus-client, and read by its parsers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as OtherMetric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from proxy.cooperative import run_now
from proxy.printable import printable
from proxy.telemetry.exposition import MAX_LABEL, Family, Metric, encode, escaped, without_labels
from proxy.telemetry.histogram import Buckets, Histogram

REQUESTS = Metric("requests_total", "counter", "Requests.", ("route", "key"))
AGES = Metric("age_seconds", "gauge", "Ages.", ("provider",), "max")
DATES = Metric("date_seconds", "gauge", "Dates.", ("model",), "min")
SECONDS = Metric("duration_seconds", "histogram", "Durations.", ("route", "provider"))
BUILD = Metric("build_info", "info", "The version.", ("version",))
FAMILIES: Sequence[Family] = (
    (REQUESTS, [(("/v1/models", "alice"), 3), (("/v1/models", "bob"), 4), (("/health", "alice"), 1)]),
    (AGES, [(("a",), 0.25), (("b",), 1.5)]),
    (DATES, [(("m",), 1_800_000_000), (("n",), 1_700_000_000)]),
    (SECONDS, [(("/v1/models", "a"), Buckets((0.1, 1.0), (1, 0, 2), 7.5)),
               (("/v1/models", "b"), Buckets((0.1, 1.0), (1, 1, 1), 2.5))]),
    (BUILD, [(("1.0",), 1)]),
    (Metric("empty", "gauge", "Nothing."), []),
)  # fmt: skip

TEXT = """\
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{route="/v1/models",key="alice"} 3
requests_total{route="/v1/models",key="bob"} 4
requests_total{route="/health",key="alice"} 1
# HELP age_seconds Ages.
# TYPE age_seconds gauge
age_seconds{provider="a"} 0.25
age_seconds{provider="b"} 1.5
# HELP date_seconds Dates.
# TYPE date_seconds gauge
date_seconds{model="m"} 1800000000
date_seconds{model="n"} 1700000000
# HELP duration_seconds Durations.
# TYPE duration_seconds histogram
duration_seconds_bucket{route="/v1/models",provider="a",le="0.1"} 1
duration_seconds_bucket{route="/v1/models",provider="a",le="1.0"} 1
duration_seconds_bucket{route="/v1/models",provider="a",le="+Inf"} 3
duration_seconds_count{route="/v1/models",provider="a"} 3
duration_seconds_sum{route="/v1/models",provider="a"} 7.5
duration_seconds_bucket{route="/v1/models",provider="b",le="0.1"} 1
duration_seconds_bucket{route="/v1/models",provider="b",le="1.0"} 2
duration_seconds_bucket{route="/v1/models",provider="b",le="+Inf"} 3
duration_seconds_count{route="/v1/models",provider="b"} 3
duration_seconds_sum{route="/v1/models",provider="b"} 2.5
# HELP build_info The version.
# TYPE build_info gauge
build_info{version="1.0"} 1
# HELP empty Nothing.
# TYPE empty gauge
"""


class OfLibrary(Collector):
    """The same metrics for prometheus-client."""

    def collect(self) -> Iterator[OtherMetric]:
        requests = CounterMetricFamily("requests", "Requests.", labels=("route", "key"))
        requests.add_metric(["/v1/models", "alice"], 3)
        requests.add_metric(["/v1/models", "bob"], 4)
        requests.add_metric(["/health", "alice"], 1)
        yield requests
        ages = GaugeMetricFamily("age_seconds", "Ages.", labels=("provider",))
        ages.add_metric(["a"], 0.25)
        ages.add_metric(["b"], 1.5)
        yield ages
        dates = GaugeMetricFamily("date_seconds", "Dates.", labels=("model",))
        dates.add_metric(["m"], 1_800_000_000)
        dates.add_metric(["n"], 1_700_000_000)
        yield dates
        seconds = HistogramMetricFamily("duration_seconds", "Durations.", labels=("route", "provider"))
        seconds.add_metric(["/v1/models", "a"], [("0.1", 1), ("1.0", 1), ("+Inf", 3)], 7.5)
        seconds.add_metric(["/v1/models", "b"], [("0.1", 1), ("1.0", 2), ("+Inf", 3)], 2.5)
        yield seconds
        yield InfoMetricFamily("build", "The version.", {"version": "1.0"})
        yield GaugeMetricFamily("empty", "Nothing.")


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(OfLibrary())
    return registry


def text_of(families: Sequence[Family], *, openmetrics: bool = False) -> str:
    return run_now(encode(families, openmetrics=openmetrics)).decode()


def test_the_text_format_has_a_line_per_series() -> None:
    assert text_of(FAMILIES) == TEXT


def test_openmetrics_names_the_families_of_counters_and_infos_and_ends_with_eof() -> None:
    expected = TEXT.replace("HELP requests_total", "HELP requests").replace("TYPE requests_total", "TYPE requests")
    expected = expected.replace("HELP build_info", "HELP build").replace("TYPE build_info gauge", "TYPE build info")
    assert text_of(FAMILIES, openmetrics=True) == expected + "# EOF\n"


def test_prometheus_client_reads_the_text_format_as_its_own(registry: CollectorRegistry) -> None:
    assert [*parse_text(text_of(FAMILIES))] == [*parse_text(generate_latest(registry).decode())]


def test_prometheus_client_reads_openmetrics_as_its_own(registry: CollectorRegistry) -> None:
    own, other = text_of(FAMILIES, openmetrics=True), openmetrics.generate_latest(registry).decode()
    assert [*parse_openmetrics(own)] == [*parse_openmetrics(other)]


def test_series_that_differ_only_in_labels_that_are_left_out_become_one() -> None:
    hidden = frozenset({"key", "provider", "model"})
    assert [without_labels(family, hidden) for family in FAMILIES] == [
        (REQUESTS._replace(labels=("route",)), [(("/v1/models",), 7), (("/health",), 1)]),
        (AGES._replace(labels=()), [((), 1.5)]),
        (DATES._replace(labels=()), [((), 1_700_000_000)]),
        (SECONDS._replace(labels=("route",)), [(("/v1/models",), Buckets((0.1, 1.0), [2, 1, 3], 10.0))]),
        *FAMILIES[4:],
    ]


def test_a_histogram_counts_each_value_in_the_first_bucket_that_is_large_enough() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.0, 0.1, 0.5, 1.0, 2.0):
        histogram.observe(value)

    assert histogram.buckets() == Buckets((0.1, 1.0), (2, 2, 1), 3.6)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("gpt-5", "gpt-5"),
        ("中文", "中文"),
        ('a"b', r"a\"b"),
        ("a\\b", r"a\\b"),
        ("a\nb", r"a\\nb~7e18f737"),
        ("\x1b[31m", r"\\x1b[31m~83a73878"),
        ("\ud800", r"\\ud800~91a681b9"),
        ("x" * MAX_LABEL, "x" * MAX_LABEL),
        ("x" * 10_000, f"{'x' * 191}~e4ee97ec"),
    ],
)
def test_label_values_are_escaped_made_printable_and_cut(value: str, written: str) -> None:
    assert escaped(value) == written


ANY_TEXT = st.text(st.characters(), max_size=2 * MAX_LABEL)


@given(st.lists(ANY_TEXT, unique=True, max_size=20))
def test_different_label_values_stay_different_and_parsers_read_them(values: Sequence[str]) -> None:
    family = (Metric("m", "gauge", "M.", ("model",)), [((value,), 1) for value in values])
    for text, parse in ((text_of([family]), parse_text), (text_of([family], openmetrics=True), parse_openmetrics)):
        (read,) = parse(text)
        labels = [sample.labels["model"] for sample in read.samples]
        assert len(set(labels)) == len(labels) == len(values)
        assert [label for label in labels if len(label) > MAX_LABEL or printable(label) != label] == []
