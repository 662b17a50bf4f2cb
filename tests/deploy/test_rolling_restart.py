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
from itertools import count
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.deploy.reverse_proxies import nginx_of_two
from tests.docs.pages import DOCS, blocks
from tests.fakes import digest
from tests.paths import ROOT
from tests.processes import accepts_connections, free_port, until
from tests.providers.calls import DONE, chunk_event, completion
from tests.providers.scripted import Exchange, fake_provider

pytestmark = pytest.mark.anyio

STREAM_SECONDS = 1.0
CALL = "/v1/chat/completions"
KEY = "sk-fake-of-a-client"
NGINX = shutil.which("nginx")


async def _provider(exchange: Exchange) -> None:
    if b'"stream"' not in exchange.request.body:
        await exchange.reply(msgspec.json.encode(completion("m")))
        return
    await exchange.stream()
    for _ in range(5):
        await exchange.chunk(chunk_event("m", "a"))
        await asyncio.sleep(STREAM_SECONDS / 5)
    await exchange.chunk(DONE)
    await exchange.end()


async def _request(client: httpx.AsyncClient, kind: str) -> str:
    """Send one request. Returns what went wrong, "" if nothing did."""
    try:
        match kind:
            case "list":
                response = await client.get("/v1/models")
            case "call":
                response = await client.post(CALL, json={"model": "m", "messages": []})
            case _:
                response = await client.post(CALL, json={"model": "m", "messages": [], "stream": True})
    except httpx.HTTPError as error:
        return repr(error)
    if response.status_code != 200:
        return f"{response.request.method} {response.status_code} {response.text[:200]}"
    return "a stream without an end" if kind == "stream" and "[DONE]" not in response.text else ""


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
    config, sent, failures, done = tmp_path / "config.yaml", count(), list[str](), asyncio.Event()
    (commands,) = [block for block in blocks(DOCS / "operations.md", "sh") if "nginx -s reload" in block]
    async with fake_provider(_provider) as provider:
        config.write_text(
            "server: {drain_delay: 500ms}\n"
            f"providers: [{{name: lab, base_url: '{provider.url}/v1', models: [m]}}]\n"
            f"keys: [{{name: k, hash: '{digest(KEY)}', models: ['*']}}]\n"
        )
        with Instances(tmp_path, config) as instances:
            before = [instances.pid(port) for port in instances.ports]
            for old, new in zip(("8001", "8002"), instances.ports, strict=True):
                commands = commands.replace(old, new)
            commands = commands.replace("/etc/nginx/conf.d/models-proxy.conf", str(tmp_path / "nginx.conf"))
            async with nginx_of_two(instances.ports, tmp_path).client() as client:
                client.headers["authorization"] = f"Bearer {KEY}"
                client.headers["connection"] = "close"  # `nginx -s reload` closes idle connections, also in use again

                async def load(kind: str) -> None:
                    while not done.is_set():
                        next(sent)
                        if failure := await _request(client, kind):
                            failures.append(failure)

                clients = [asyncio.create_task(load(kind)) for kind in ("list", "call", "stream") * 2]
                await asyncio.to_thread(instances.run, commands)
                done.set()
                await asyncio.gather(*clients)
            after = [instances.pid(port) for port in instances.ports]
    total = next(sent)
    with capsys.disabled():
        print(f" [{total} requests] ", end="")
    assert set(before) & set(after) == set()
    assert failures == []
    assert total > 50
