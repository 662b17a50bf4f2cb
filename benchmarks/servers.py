"""The servers that are measured: ours, a bare ASGI application, nginx."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import LOAD_CORE, PATIENCE, SERVER_CORE, free_port, process, python, tool, wait_for
from tests.providers.bulk_lists import base_url

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off; default_type application/json; sendfile on; tcp_nodelay on; gzip_static on;
  keepalive_requests 100000000; server_tokens off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} backlog=512; root {folder}; }}
}}
"""


@dataclass(frozen=True)
class Server:
    """One that runs."""

    process: subprocess.Popen[bytes]
    port: int
    listening_at: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def url(self, path: str = "/v1/models") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str = "/v1/models", headers: Mapping[str, str] | None = None) -> Reply:
        return self._ask(urllib.request.Request(self.url(path), headers=dict(headers or {})))  # noqa: S310  # ours

    def call(self, model: str) -> Reply:
        """One chat call."""
        body = json.dumps({"model": model, "messages": []}).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self.url("/v1/chat/completions"), body, headers))  # noqa: S310  # ours

    def _ask(self, request: urllib.request.Request) -> Reply:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                return Reply(answer.status, answer.headers.items(), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers.items(), error.read())


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for given, value in self.headers if given.lower() == name), "")


def providers(port: int, count: int, edition: int = 0, way: str = "v") -> list[str]:
    """Lines of a configuration: providers of one `tests.providers.bulk_lists`."""
    return [f"  - {{name: p{n}, base_url: '{base_url(port, n, edition, way)}'}}" for n in range(count)]


def config_text(lines: Sequence[str], more: str = "groups: {default: {models: ['*']}}") -> str:
    return "providers:\n" + "\n".join(lines) + "\n" + more + "\n"


@contextmanager
def upstreams(models: int, delay: float = 0.0) -> Iterator[int]:
    """The port of a process that plays providers, on the core of the load."""
    port = free_port()
    with process(python("-m", "tests.providers.bulk_lists", str(port), str(models), str(delay)), LOAD_CORE) as running:
        wait_for(port, running)
        yield port


@contextmanager
def ours(folder: Path, text: str) -> Iterator[Server]:
    """`models-proxy serve` with this configuration."""
    port = free_port()
    path = folder / f"{port}.yaml"
    path.write_text(text)
    with process(python("-m", "proxy", "serve", "--config", str(path), "--port", str(port)), SERVER_CORE) as running:
        yield Server(running, port, wait_for(port, running))


@contextmanager
def bare(folder: Path, answers: Mapping[str, Reply]) -> Iterator[Server]:
    """A bare ASGI application that sends these very answers, by path, on the same server with the same settings."""
    port = free_port()
    for name, reply in answers.items():
        (folder / name).write_bytes(reply.body)
        (folder / f"{name}.json").write_text(json.dumps({"status": reply.status, "headers": list(reply.headers)}))
    with process(python("-m", "benchmarks.bare", str(port), str(folder), *answers), SERVER_CORE) as running:
        yield Server(running, port, wait_for(port, running))


@contextmanager
def nginx(folder: Path, plain: bytes, packed: bytes) -> Iterator[Server | None]:
    """nginx serving the list as a file, and its packed form; None where nginx is not installed."""
    program = tool("nginx", "the columns of nginx stay empty")
    if program is None:
        yield None
        return
    port = free_port()
    (folder / "models").write_bytes(plain)
    (folder / "models.gz").write_bytes(packed)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    with process([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)], SERVER_CORE) as running:
        yield Server(running, port, wait_for(port, running))


def wait_until_listed(server: Server, models: int, headers: Mapping[str, str] | None = None) -> None:
    """Returns when the server lists so many models."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        reply = server.get(headers=headers)
        if reply.status == 200 and reply.body.count(b'"object":"model"') >= models:
            return
        time.sleep(0.05)
    raise SystemExit(f"the server does not list {models} models")
