"""Modules that a server does not import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# pytest installs Pygments, which httpx imports if it is there. Installations of the server do not have it.
LOADED = """
import sys
sys.modules["pygments"] = None
import proxy.cli.main, proxy.cli.serve
print(*(name for name in {names} if sys.modules.get(name)))
"""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("httpx._main", "rich"), id="the command line of httpx"),
        pytest.param(("difflib", "html"), id="what only error messages use"),
        pytest.param(("backports.zstd", "compression.zstd"), id="what only compressed bodies use"),
        pytest.param(("proxy.cli.check", "proxy.cli.demo.command"), id="other commands"),
        pytest.param(("proxy.api.collector", "proxy.telemetry.exposition"), id="what only scrapes of metrics use"),
        pytest.param(
            ("jinja2", "markupsafe", "proxy.api.status.views", "proxy.api.status.report", "proxy.api.status.live"),
            id="what only the status page uses",
        ),
        pytest.param(("redis", "proxy.sharing.valkey"), id="what only a shared store uses"),
        pytest.param(("starlette",), id="the framework of the demo"),
        pytest.param(("uvicorn.protocols.http.h11_impl", "wsproto", "websockets"), id="unused protocols"),
    ],
)
def test_server_does_not_import(names: tuple[str, ...]) -> None:
    code = LOADED.format(names=names)
    # The measurement of coverage imports modules itself.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, env=env)  # noqa: S603  # our command

    assert output.stdout.split() == []


def test_httpx_works_without_its_command_line() -> None:
    """Its command prints this hint instead of failing at import."""
    code = "import proxy.cli.main, httpx; httpx.main()"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)  # noqa: S603  # our command

    assert output.returncode == 1
    assert "pip install 'httpx[cli]'" in output.stdout


def test_server_loads_only_the_cas_of_providers() -> None:
    code = """
import ssl
from proxy.config import parse
from proxy.server.run import skip_system_cas
from proxy.upstream.tls import context_of
skip_system_cas()
config = parse("{providers: [{name: p, base_url: 'https://p.example/v1'}], groups: {default: {models: ['*']}}}")
print(len(ssl.create_default_context().get_ca_certs()), len(context_of(config.providers[0]).get_ca_certs()) > 50)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)  # noqa: S603  # our command

    assert output.stdout.split() == ["0", "True"]


def test_server_does_not_load_the_cpp_library() -> None:
    code = """
import sys
from proxy.server.process_setup import skip_cpp_library
skip_cpp_library()
import aiohttp
print(*(name for name in ("frozenlist", "frozenlist._frozenlist") if name in sys.modules))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)  # noqa: S603  # our command

    assert output.stdout.split() == ["frozenlist"]
