"""The metrics of the real process: its memory, and a configuration that is changed while it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests import processes
from tests.fakes import digest
from tests.processes import Process, kibibytes, serving

KEY = "sk-fake-admin-for-tests"
CONFIG = f"""
providers: [{{name: lab, kind: static, models: [{{id: m}}]}}]
keys: [{{name: admin, hash: '{digest(KEY)}', models: ['*'], admin: true}}]
"""


def scraped(process: Process) -> Mapping[str, float]:
    response = httpx.get(
        f"{process.url}/metrics", headers={"authorization": f"Bearer {KEY}"}, trust_env=False, timeout=30
    )
    assert response.status_code == 200
    lines = [line.rpartition(" ") for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.usefixtures("own_protocol")
def test_process_metrics_are_those_of_the_process(tmp_path: Path) -> None:
    with serving(tmp_path / "config.yaml", CONFIG) as process:
        values = scraped(process)
        resident = kibibytes(process.pid, "VmRSS") * 1024

    assert 0.8 * resident < values["process_resident_memory_bytes"] < 1.2 * resident
    assert values["process_virtual_memory_bytes"] > values["process_resident_memory_bytes"]
    assert values["process_open_fds"] < values["process_max_fds"]
    assert values["models_proxy_connections"] == 1
    assert values["models_proxy_ready"] == 1


def test_problems_of_a_changed_file_are_counted_until_it_is_right(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"

    def info(values: Mapping[str, float]) -> str:
        (name,) = [name for name in values if name.startswith("models_proxy_config_info")]
        return re.sub(r'.*generation="(\w+)".*', r"\1", name)

    with serving(config, CONFIG) as process:
        first = scraped(process)
        config.write_text(CONFIG.replace("kind: static", "kind: statik"))
        processes.until(lambda: scraped(process)["models_proxy_config_problems"] == 1)
        bad = scraped(process)
        config.write_text(CONFIG.replace("id: m", "id: n"))
        processes.until(lambda: scraped(process)["models_proxy_config_problems"] == 0)
        good = scraped(process)

    success, failure = (f"models_proxy_config_last_reload_{name}_timestamp_seconds" for name in ("success", "failure"))
    assert failure not in first
    assert (info(bad), bad[success]) == (info(first), first[success])
    assert info(good) != info(first)
    assert good[success] >= bad[failure] > first[success]
    key = 'models_proxy_requests_total{route="/metrics",method="GET",status="200",key="admin"}'
    assert good[key] > bad[key] > 0
