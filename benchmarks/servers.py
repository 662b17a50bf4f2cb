"""The measured servers: the proxy, a bare ASGI application, nginx."""

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

from benchmarks.harness import LOAD_CORE, ROOT, SERVER_CORE, TIMEOUT, free_port, process, python, tool, wait_for
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


_COMMAND = """
import runpy, sys
sys.modules["pygments"] = None
runpy.run_module("proxy", run_name="__main__", alter_sys=True)
"""
"""`python -m proxy` without Pygments, which pytest installs: httpx imports it if it is there, and it needs 1 MiB."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    listening_at: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def url(self, path: str = "/v1/models") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str = "/v1/models", headers: Mapping[str, str] | None = None) -> Reply:
        return self._send(urllib.request.Request(self.url(path), headers=dict(headers or {})))  # noqa: S310  # loopback

    def call(self, model: str) -> Reply:
        """Send a chat completion request."""
        body = json.dumps({"model": model, "messages": []}).encode()
        headers = {"Content-Type": "application/json"}
        return self._send(urllib.request.Request(self.url("/v1/chat/completions"), body, headers))  # noqa: S310  # loopback

    def _send(self, request: urllib.request.Request) -> Reply:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT) as response:
                return Reply(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers.items(), error.read())


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for given, value in self.headers if given.lower() == name), "")


def providers(port: int, count: int, edition: int = 0, mode: str = "v") -> list[str]:
    """Lines of a configuration with the providers of one `tests.providers.bulk_lists`."""
    return [f"  - {{name: p{n}, base_url: '{base_url(port, n, edition, mode)}'}}" for n in range(count)]


def config_text(lines: Sequence[str], more: str = "groups: {default: {models: ['*']}}") -> str:
    return "providers:\n" + "\n".join(lines) + "\n" + more + "\n"


@contextmanager
def upstreams(models: int, delay: float = 0.0) -> Iterator[int]:
    """Run fake providers on the core of the load generator. Yields their port."""
    port = free_port()
    with process(python("-m", "tests.providers.bulk_lists", str(port), str(models), str(delay)), LOAD_CORE) as running:
        wait_for(port, running)
        yield port


@contextmanager
def ours(
    folder: Path,
    text: str,
    env: Mapping[str, str] | None = None,
    version: Path | None = None,
    tool: Sequence[str] = (),
) -> Iterator[Server]:
    """Run `models-proxy serve` with this configuration.

    `version`: the root of an earlier version with its own `.venv`, instead of this one; `tool`: a command that runs it.
    """
    port = free_port()
    path = folder / f"{port}.yaml"
    path.write_text(text)
    interpreter = [str(version / ".venv/bin/python")] if version else python()
    command = [*tool, *interpreter, "-c", _COMMAND, "serve", "--config", str(path), "--port", str(port)]
    with process(command, SERVER_CORE, env, version or ROOT) as running:
        yield Server(running, port, wait_for(port, running))


@contextmanager
def bare(folder: Path, responses: Mapping[str, Reply]) -> Iterator[Server]:
    """Run a bare ASGI application that sends these responses by path, on uvicorn with the settings of the proxy."""
    port = free_port()
    for name, reply in responses.items():
        (folder / name).write_bytes(reply.body)
        (folder / f"{name}.json").write_text(json.dumps({"status": reply.status, "headers": list(reply.headers)}))
    with process(python("-m", "benchmarks.bare", str(port), str(folder), *responses), SERVER_CORE) as running:
        yield Server(running, port, wait_for(port, running))


@contextmanager
def nginx(folder: Path, plain: bytes, compressed: bytes) -> Iterator[Server | None]:
    """Run nginx that serves the list as a file, plain and compressed. Yields None if nginx is not installed."""
    program = tool("nginx", "its columns are empty")
    if program is None:
        yield None
        return
    port = free_port()
    (folder / "models").write_bytes(plain)
    (folder / "models.gz").write_bytes(compressed)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    with process([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)], SERVER_CORE) as running:
        yield Server(running, port, wait_for(port, running))


def wait_until_listed(server: Server, models: int, headers: Mapping[str, str] | None = None) -> None:
    """Wait until the server lists this number of models."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        reply = server.get(headers=headers)
        if reply.status == 200 and reply.body.count(b'"object":"model"') >= models:
            return
        time.sleep(0.05)
    raise SystemExit(f"the server does not list {models} models")
