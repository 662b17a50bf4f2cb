"""Replicas behind `deploy/nginx.conf` are restarted one after the other, and no request fails."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from tests.deploy.reverse_proxies import nginx_of_replicas
from tests.processes import Process, free_port, models_proxy, until
from tests.providers.scripted import fake_provider
from tests.traffic import KEYS, Traffic, provider

pytestmark = pytest.mark.anyio


class Replicas:
    """Three replicas with one configuration. All are ended when the context exits."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._ended = ExitStack()
        self.ports = [free_port() for _ in range(3)]
        self._processes: dict[int, Process] = {}

    def __enter__(self) -> Replicas:
        for port in self.ports:
            self._start(port)
        for port in self.ports:
            self._wait(port)
        return self

    def __exit__(self, *args: object) -> None:
        self._ended.close()

    def restart_all(self) -> list[int]:
        """Restart one after the other, as documented. Returns their exit codes."""
        codes = []
        for port in self.ports:
            process = self._processes[port]
            process.send(signal.SIGTERM)
            codes.append(process.wait())
            self._start(port)
            self._wait(port)
        return codes

    def _start(self, port: int) -> None:
        command = ["serve", "--config", str(self._config), "--port", str(port)]
        self._processes[port] = self._ended.enter_context(models_proxy(*command))

    @staticmethod
    def _wait(port: int) -> None:
        arguments = ["health", "--url", f"http://127.0.0.1:{port}"]
        until(lambda: CliRunner().invoke(main, arguments).exit_code == 0)


DRAIN_DELAY = "2500ms"
"""Longer than nginx skips a replica that refused a connection, so that it is used again when the next one stops."""


def _configure(config: Path, provider_url: str) -> None:
    lab = f"providers: [{{name: lab, base_url: '{provider_url}/v1', models: [m]}}]"
    config.write_text(f"server: {{drain_delay: {DRAIN_DELAY}}}\n{lab}\n{KEYS}", encoding="utf-8")


async def test_a_rolling_restart_under_load_fails_no_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, traffic = tmp_path / "config.yaml", Traffic()
    async with fake_provider(provider) as lab:
        _configure(config, lab.url)
        with Replicas(config) as replicas:
            reverse_proxy = nginx_of_replicas([f"127.0.0.1:{port}" for port in replicas.ports], tmp_path)
            async with reverse_proxy.client() as client, traffic.flowing(client):
                codes = await asyncio.to_thread(replicas.restart_all)
                await asyncio.to_thread(until, lambda: traffic.sent > 50)
    with capsys.disabled():
        print(f" [{traffic.sent} requests] ", end="")
    assert (codes, traffic.failures) == ([0, 0, 0], [])
