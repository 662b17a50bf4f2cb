"""Two instances behind nginx are restarted one after the other, and no request fails."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.deploy.reverse_proxies import nginx_of_two
from tests.docs.pages import DOCS, blocks
from tests.paths import ROOT
from tests.processes import accepts_connections, free_port, until
from tests.providers.scripted import fake_provider
from tests.traffic import KEYS, Traffic, provider

pytestmark = pytest.mark.anyio

NGINX = shutil.which("nginx")

# As `systemctl restart`: waits for the end of the old process, and not until the new one is ready.
SYSTEMCTL = """#!/bin/bash -eu
port="${{2#models-proxy@}}"
kill -TERM "$(cat {directory}/$port.pid)"
while [ -e "/proc/$(cat {directory}/$port.pid)" ]; do sleep 0.05; done
exec {python} -c {start} "$port"
"""
START = """
import subprocess, sys
command = [sys.executable, "-m", "proxy", "serve", "--config", {config!r}, "--port", sys.argv[1]]
log = open({directory!r} + "/" + sys.argv[1] + ".log", "a")
process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
open({directory!r} + "/" + sys.argv[1] + ".pid", "w").write(str(process.pid))
"""


class Instances:
    """Two instances that commands in a shell start, and stop as `systemctl` does."""

    def __init__(self, directory: Path, config: Path) -> None:
        self._directory = directory
        self._start = START.format(config=str(config), directory=str(directory))
        self.ports = [str(free_port()), str(free_port())]
        commands = directory / "bin"
        commands.mkdir()
        self._script(
            commands / "systemctl",
            SYSTEMCTL.format(directory=directory, python=sys.executable, start=shlex.quote(self._start)),
        )
        self._script(
            commands / "nginx", f'#!/bin/sh\nexec {NGINX} -p {directory} -e stderr -c {directory}/nginx.conf "$@"\n'
        )
        self._environ = {**os.environ, "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"}

    @staticmethod
    def _script(path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def __enter__(self) -> Instances:
        for port in self.ports:
            subprocess.run([sys.executable, "-c", self._start, port], check=True, cwd=ROOT)  # noqa: S603  # our own command
        for port in self.ports:
            until(lambda: accepts_connections(("127.0.0.1", int(port))))  # noqa: B023  # called at once
        return self

    def __exit__(self, *args: object) -> None:
        for port in self.ports:
            with suppress(ProcessLookupError):
                os.kill(self.pid(port), signal.SIGKILL)

    def pid(self, port: str) -> int:
        return int((self._directory / f"{port}.pid").read_text(encoding="utf-8"))

    def run(self, commands: str) -> None:
        """Run documented commands. All must succeed."""
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        subprocess.run(shell, cwd=ROOT, env=self._environ, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own documentation


async def test_a_rolling_restart_under_load_fails_no_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, traffic = tmp_path / "config.yaml", Traffic()
    (commands,) = [block for block in blocks(DOCS / "operations.md", "sh") if "nginx -s reload" in block]
    async with fake_provider(provider) as lab:
        config.write_text(
            f"server: {{drain_delay: 500ms}}\nproviders: [{{name: lab, base_url: '{lab.url}/v1', models: [m]}}]\n{KEYS}"
        )
        with Instances(tmp_path, config) as instances:
            before = [instances.pid(port) for port in instances.ports]
            for old, new in zip(("8001", "8002"), instances.ports, strict=True):
                commands = commands.replace(old, new)
            commands = commands.replace("/etc/nginx/conf.d/models-proxy.conf", str(tmp_path / "nginx.conf"))
            async with nginx_of_two(instances.ports, tmp_path).client() as client:
                client.headers["connection"] = "close"  # `nginx -s reload` closes idle connections, also in use again
                async with traffic.flowing(client):
                    await asyncio.to_thread(instances.run, commands)
            after = [instances.pid(port) for port in instances.ports]
    with capsys.disabled():
        print(f" [{traffic.sent} requests] ", end="")
    assert set(before) & set(after) == set()
    assert traffic.failures == []
    assert traffic.sent > 50
