"""The page of metrics, the dashboard and the alerts name metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import pytest
import yaml

from proxy.telemetry.metrics import METRICS
from tests.docs.pages import DOCS, blocks
from tests.fakes import FakeClock, FakeFetch
from tests.paths import ROOT
from tests.scrapes import busy_proxy, labels_in

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "models-proxy.json").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds."""


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS)
    yield from (target["expr"] for panel in PANELS for target in panel.get("targets", ()))
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])
    yield from (v["definition"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query")


def queried(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The series in an expression, and the labels of each."""
    for name, matchers in re.findall(r"\b((?:models_proxy|process)_\w+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', matchers))


def test_the_scrape_configuration_is_the_shipped_one() -> None:
    (text,) = [block for block in blocks(DOCS / "metrics.md", "yaml") if "scrape_configs" in block]
    shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    assert yaml.safe_load(text)["scrape_configs"] == shipped["scrape_configs"]


@pytest.fixture
async def scraped(fetch: FakeFetch, clock: FakeClock) -> Mapping[str, set[str]]:
    async with busy_proxy(fetch, clock) as served:
        return labels_in((await served.client.get("/metrics")).text)


@pytest.mark.anyio
async def test_every_metric_has_the_documented_labels_in_a_scrape(scraped: Mapping[str, set[str]]) -> None:
    documented: dict[str, set[str]] = {}
    for metric in METRICS.values():
        names = [metric.name]
        if metric.type == "histogram":
            names = [f"{metric.name}_count", f"{metric.name}_sum"]
            documented[f"{metric.name}_bucket"] = {*metric.labels, "le"}
        documented.update({key: set(metric.labels) for key in names})
    assert scraped == documented


@pytest.mark.anyio
async def test_every_series_in_the_dashboard_and_the_alerts_exists(scraped: Mapping[str, set[str]]) -> None:
    named = [(name, labels) for expression in expressions() for name, labels in queried(expression)]
    assert [name for name, _ in named if name not in scraped] == []
    assert [(name, labels) for name, labels in named if not labels <= scraped[name] | OF_PROMETHEUS] == []
    assert len(named) > 100


@pytest.mark.anyio
async def test_every_label_in_an_aggregation_exists(scraped: Mapping[str, set[str]]) -> None:
    for expression in expressions():
        labels = set.union(*(scraped[name] for name, _ in queried(expression)), OF_PROMETHEUS)
        used = {label for by in re.findall(r"by \((.*?)\)", expression) for label in by.split(", ")}
        assert used <= labels, expression


def test_every_label_in_a_text_is_one_of_the_alert() -> None:
    for rule in ALERTS:
        aggregated = re.findall(r"by \((.*?)\)", rule["expr"])
        names = [METRICS[re.sub("_bucket$", "", name)] for name, _ in queried(rule["expr"])]
        own = {label for metric in names for label in metric.labels}
        labels = set(aggregated[0].split(", ")) if aggregated else own | OF_PROMETHEUS
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert used <= labels, rule["alert"]


def test_legends_show_labels_that_the_expression_keeps() -> None:
    for panel in PANELS:
        for target in panel.get("targets", ()):
            aggregated = re.findall(r"by \((.*?)\)", target["expr"])
            kept = set(aggregated[0].split(", ")) if aggregated else OF_PROMETHEUS
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_every_metric_of_the_proxy_is_in_the_dashboard() -> None:
    names = {re.sub("_bucket$", "", name) for expression in expressions() for name, _ in queried(expression)}
    assert {metric for metric in METRICS if metric not in names} == {"process_virtual_memory_bytes"}


def test_panels_have_an_id_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    assert [(a, b) for a, b in combinations(places, 2) if _overlap(a, b)] == []


def _overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_panels_use_the_data_source_that_is_selected() -> None:
    sources = [panel["datasource"] for panel in PANELS if panel["type"] != "row"]
    sources += [target["datasource"] for panel in PANELS for target in panel.get("targets", ())]
    sources += [each["datasource"] for each in DASHBOARD["annotations"]["list"]]
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    sources += [each["datasource"] for each in variables.values() if each["type"] == "query"]
    assert {(source["type"], source["uid"]) for source in sources} == {("prometheus", "${datasource}")}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")


def test_every_variable_in_an_expression_is_defined() -> None:
    defined = {each["name"] for each in DASHBOARD["templating"]["list"]} | {"__rate_interval", "__range"}
    assert {name for each in expressions() for name in re.findall(r"\$(\w+)", each)} <= defined


def test_each_alert_has_a_severity_and_a_summary() -> None:
    assert [rule["alert"] for rule in ALERTS if "summary" not in rule["annotations"]] == []
    assert {rule["labels"]["severity"] for rule in ALERTS} == {"critical", "warning", "info"}


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((ROOT / "tests" / "deploy" / "alerts.test.yaml").read_text())["tests"]
    tested = [
        (case["alert_rule_test"][0]["alertname"], bool(case["alert_rule_test"][0]["exp_alerts"])) for case in cases
    ]
    assert sorted(tested) == sorted((rule["alert"], fires) for rule in ALERTS for fires in (True, False))
