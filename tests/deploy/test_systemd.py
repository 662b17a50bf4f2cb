"""The units of deploy/systemd are valid, and the server works with the socket that systemd's own tool passes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from proxy.config.server import Server
from proxy.server.run import LAST_SECONDS
from tests.docs.pages import DOCS, blocks
from tests.paths import ROOT
from tests.processes import accepts_connections, free_port, until

SOCKET, SERVICE = (
    (ROOT / "deploy" / "systemd" / f"models-proxy.{kind}").read_text(encoding="utf-8") for kind in ("socket", "service")
)


def verified(socket: str, service: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Verify units, with the commands of this environment. systemd reports unknown settings on stderr only."""
    files = [directory / "models-proxy.socket", directory / "models-proxy.service"]
    files[0].write_text(socket, encoding="utf-8")
    files[1].write_text(service.replace("/opt/models-proxy/bin", str(Path(sys.executable).parent)), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command


def test_the_units_are_valid(tmp_path: Path) -> None:
    result = verified(SOCKET, SERVICE, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(("setting", "other"), [("PrivateTmp=", "PrivateTemp="), ("ListenStream=", "ListenStreams=")])
def test_an_unknown_setting_would_be_reported(setting: str, other: str, tmp_path: Path) -> None:
    result = verified(SOCKET.replace(setting, other), SERVICE.replace(setting, other), tmp_path)
    assert f"Unknown key '{other[:-1]}' in section" in result.stderr


def test_the_service_waits_for_the_end_of_a_shutdown() -> None:
    (seconds,) = re.findall(r"\nTimeoutStopSec=(\d+)\n", SERVICE)
    assert int(seconds) > Server().drain_delay + Server().shutdown_timeout + LAST_SECONDS


def test_the_documented_files_are_those_of_the_service() -> None:
    (commands,) = [block for block in blocks(DOCS / "deployment.md", "sh") if "systemctl enable" in block]
    files = re.findall(r"-D (\S+) (/etc/models-proxy/\S+)", commands)
    assert [name for name, _ in files] == ["openai.key", "config.yaml"]
    assert [path in SERVICE for _, path in files] == [True, True]


def test_the_server_is_started_by_the_first_connection(tmp_path: Path) -> None:
    port, config = free_port(), tmp_path / "config.yaml"
    config.write_text("providers: [{name: lab, kind: static, models: [m]}]", encoding="utf-8")
    serve = [sys.executable, "-m", "proxy", "serve", "--config", str(config), "--port", "1"]
    activate = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", "--fdname=http", *serve]
    process = subprocess.Popen(activate, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  # our own command
    try:
        until(lambda: accepts_connections(("127.0.0.1", port)))
        response = httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=20, trust_env=False)
        process.send_signal(signal.SIGINT)
        assert ([model["id"] for model in response.json()["data"]], process.wait(10)) == (["m"], 0)
    finally:
        process.kill()
        process.wait()
