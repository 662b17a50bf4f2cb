"""Runs nginx and Caddy with the configurations of docs/operations.md."""

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

HOST = "llm.example.com"
"""The host name of the documented configurations."""

_NGINX = """
daemon off;
master_process off;  # one process as this user: a worker of another user could not read the files of a test
pid {directory}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {server}
}}
"""


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
                base_url=url, headers={"Host": HOST}, verify=self.verify, trust_env=False, timeout=10
            ) as client:
                yield client
        finally:
            process.terminate()
            await process.wait()

    @property
    def _environ(self) -> Mapping[str, str]:
        return {**os.environ, **self.environ}


def nginx(backend: str, directory: Path) -> ReverseProxy:
    """nginx with the documented server; its port, its certificate and the address of the backend are replaced."""
    (server,) = [block for block in blocks(DOCS / "operations.md", "nginx") if "listen" in block]
    authority, port = trustme.CA(), processes.free_port()
    certificate = authority.issue_cert(HOST, "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(directory / "llm.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "llm.key"))
    server = _replaced(
        server, {"443": f"127.0.0.1:{port}", "/etc/ssl": str(directory), "http://127.0.0.1:8000": backend}
    )
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, server=server), encoding="utf-8")
    command = ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(config)]
    verify = ssl.create_default_context()
    authority.configure_trust(verify)
    return ReverseProxy([*command, "-t"], command, port, "https", verify)


def nginx_of_two(ports: Sequence[str], directory: Path) -> ReverseProxy:
    """nginx with the documented server in front of the documented two instances, whose ports are replaced.

    With a master process: only then `nginx -s reload` closes the idle connections of clients.
    """
    (upstream,) = [block for block in blocks(DOCS / "operations.md", "nginx") if block.startswith("upstream")]
    configured = nginx("http://models_proxy", directory)
    config = directory / "nginx.conf"
    upstream = _replaced(upstream, {"8001": ports[0], "8002": ports[1]})
    text = config.read_text(encoding="utf-8").replace("master_process off;", "user root;" * (not os.getuid()))
    config.write_text(_replaced(text, {"    server {": f"{upstream}    server {{"}))
    return configured


def caddy(backend: str, directory: Path) -> ReverseProxy:
    """Caddy with the documented site on plain HTTP, because its automatic certificates need a public host name.

    The configuration is validated as documented.
    """
    (site,) = [block for block in blocks(DOCS / "operations.md", "text") if "reverse_proxy" in block]
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
