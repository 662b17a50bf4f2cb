"""Prometheus scrapes the proxy with the shipped configuration, and accepts its metrics, alerts and queries."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests import processes
from tests.fakes import FakeClock, FakeFetch
from tests.listening import Served
from tests.paths import ROOT
from tests.scrapes import KEY, busy_proxy

pytestmark = pytest.mark.anyio

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "models-proxy.json"


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False)  # noqa: S603, S607  # our own command


def test_the_alerts_are_valid() -> None:
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", str(PROMETHEUS / "alerts.yaml"))
    assert (result.returncode, result.stderr) == (0, "")


def test_alerts_fire_when_they_should_and_only_then() -> None:
    result = promtool("test", "rules", str(ROOT / "tests" / "deploy" / "alerts.test.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    queries = re.findall(r'"expr": (".*")', DASHBOARD.read_text())
    rules = [{"record": f"q{number}", "expr": json.loads(query)} for number, query in enumerate(queries)]
    for rule in rules:
        rule["expr"] = rule["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    result = promtool("check", "rules", "--lint=none", str(tmp_path / "queries.yaml"))
    assert result.returncode == 0, result.stderr
    assert f"{len(rules)} rules found" in result.stdout


async def test_the_metrics_follow_the_conventions_of_prometheus(fetch: FakeFetch, clock: FakeClock) -> None:
    async with busy_proxy(fetch, clock) as served:
        text = (await served.client.get("/metrics")).text
    result = promtool("check", "metrics", given=text)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


async def test_prometheus_scrapes_the_proxy_with_the_shipped_configuration(
    tmp_path: Path, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with busy_proxy(fetch, clock) as served:
        port = processes.free_port()
        server = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={_configuration(tmp_path, served)}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=30
            ) as client:
                target = await _target(client)
                (provider,) = await _query(client, 'models_proxy_calls_total{outcome="ok"}')
                rules = (await client.get("/rules")).json()["data"]["groups"]
        finally:
            server.terminate()
            await server.wait()

    assert (target["health"], target["lastError"]) == ("up", "")
    assert provider["metric"] == {
        "__name__": "models_proxy_calls_total", "instance": f"127.0.0.1:{served.port}", "job": "models-proxy",
        "key": "admin", "outcome": "ok", "provider": "b",
    }  # fmt: skip
    assert provider["value"][1] == "6"
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    assert len(rules) == 4


def _configuration(directory: Path, served: Served) -> Path:
    """The shipped files with the address and the key of this proxy."""
    (directory / "key").write_text(KEY)
    (directory / "alerts.yaml").write_text((PROMETHEUS / "alerts.yaml").read_text())
    text = (PROMETHEUS / "prometheus.yaml").read_text()
    for old, new in (
        ("/etc/prometheus/models-proxy.key", str(directory / "key")),
        ("models-proxy:8000", f"127.0.0.1:{served.port}"),
        ("scrape_interval: 15s", "scrape_interval: 1s\n    scrape_timeout: 1s"),
    ):
        assert old in text
        text = text.replace(old, new)
    file = directory / "prometheus.yaml"
    file.write_text(text)
    return file


async def _target(client: httpx.AsyncClient) -> dict[str, Any]:
    """The target, as soon as it was scraped."""
    for _ in range(300):
        try:
            response = await client.get("/targets")
        except httpx.HTTPError:  # it does not listen yet
            targets: list[dict[str, Any]] = []
        else:
            # While Prometheus starts, it responds with 503 and text.
            targets = response.json()["data"]["activeTargets"] if response.is_success else []
        if targets and targets[0]["health"] != "unknown":
            found: dict[str, Any] = targets[0]
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("Prometheus has not scraped the proxy")


async def _query(client: httpx.AsyncClient, expression: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = (await client.get("/query", params={"query": expression})).json()["data"]["result"]
    return result
