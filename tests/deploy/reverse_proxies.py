"""Runs nginx with `deploy/nginx.conf`, and Caddy with the configuration of docs/deployment.md."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trustme

from tests import processes
from tests.docs.pages import DOCS, blocks
from tests.paths import ROOT

HOST = "llm.example.com"
"""The host name of the documented configurations."""

REPLICAS = ("proxy1:8000", "proxy2:8000", "proxy3:8000")
"""The replicas in `deploy/nginx.conf`."""


@dataclass(frozen=True)
class ReverseProxy:
    """A configured reverse proxy."""

    validate: Sequence[str]
    run: Sequence[str]
    port: int
    scheme: str
    verify: ssl.SSLContext | bool = True
    environ: Mapping[str, str] = field(default_factory=dict)

    def validation(self) -> subprocess.CompletedProcess[str]:
        """Validate the configuration with the command of the reverse proxy."""
        return subprocess.run(self.validate, capture_output=True, text=True, check=False, env=self._environ)  # noqa: S603  # our own command

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Start it, and yield a client of it that sends requests to `HOST`."""
        process = await asyncio.create_subprocess_exec(*self.run, env=self._environ)
        try:
            await asyncio.to_thread(processes.until, lambda: processes.accepts_connections(("127.0.0.1", self.port)))
            url = f"{self.scheme}://127.0.0.1:{self.port}"
            async with httpx.AsyncClient(
                base_url=url, headers={"Host": HOST}, verify=self.verify, trust_env=False, timeout=30
            ) as client:
                yield client
        finally:
            process.terminate()
            await process.wait()

    @property
    def _environ(self) -> Mapping[str, str]:
        return {**os.environ, **self.environ}


def nginx(backend: str, directory: Path) -> ReverseProxy:
    """nginx with TLS as documented, in front of one replica."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(directory / "llm.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "llm.key"))
    (tls,) = [block for block in blocks(DOCS / "deployment.md", "nginx") if "listen" in block]
    port = processes.free_port()
    listen = _replaced(tls, {"443": f"127.0.0.1:{port}", "/etc/ssl": str(directory)})
    command = _nginx_command([backend.removeprefix("http://")] * len(REPLICAS), directory, {"listen 8080;": listen})
    verify = ssl.create_default_context()
    authority.configure_trust(verify)
    return ReverseProxy([*command, "-t"], command, port, "https", verify)


def nginx_of_replicas(replicas: Sequence[str], directory: Path) -> ReverseProxy:
    """nginx without TLS, in front of several replicas."""
    port = processes.free_port()
    command = _nginx_command(replicas, directory, {"listen 8080;": f"listen 127.0.0.1:{port};"})
    return ReverseProxy([*command, "-t"], command, port, "http")


def _nginx_command(replicas: Sequence[str], directory: Path, replacements: Mapping[str, str]) -> list[str]:
    """The command that runs `deploy/nginx.conf`, with other replicas and files in the directory of a test."""
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    text = _replaced(text, {"/tmp/": f"{directory}/", **dict(zip(REPLICAS, replicas, strict=True)), **replacements})  # noqa: S108  # replaced
    config = directory / "nginx.conf"
    config.write_text(text, encoding="utf-8")
    # A worker of another user could not read the files of a test.
    settings = "daemon off; user root;" if os.getuid() == 0 else "daemon off;"
    return ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(config), "-g", settings]


def caddy(backend: str, directory: Path) -> ReverseProxy:
    """Caddy with the documented site on plain HTTP, because its automatic certificates need a public host name.

    The configuration is validated as documented.
    """
    (site,) = [block for block in blocks(DOCS / "deployment.md", "text") if "reverse_proxy" in block]
    port = processes.free_port()
    documented, config = directory / "Caddyfile", directory / "Caddyfile.http"
    documented.write_text(site, encoding="utf-8")
    address = backend.removeprefix("http://")
    site = _replaced(site, {HOST: f"http://{HOST}:{port}", "127.0.0.1:8000": address})
    config.write_text(f"{{\n\tadmin off\n}}\n{site}", encoding="utf-8")
    home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    options = ["--adapter", "caddyfile", "--config"]
    return ReverseProxy(
        ["caddy", "validate", *options, str(documented)], ["caddy", "run", *options, str(config)], port, "http",
        environ=home,
    )  # fmt: skip


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, f"the documentation does not contain {old}"
        text = text.replace(old, new)
    return text
