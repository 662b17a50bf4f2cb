"""deploy/compose.yaml is valid, and its services fit the configurations of nginx and the proxy."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from proxy.config import Config, parse
from tests.deploy.reverse_proxies import REPLICAS
from tests.paths import ROOT

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    """Validate a file with the schema of the Compose specification, which the tool contains."""
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def config() -> Config:
    text = (DEPLOY / "compose" / "config.yaml").read_text(encoding="utf-8")
    return parse(text, read_secret=lambda path: f"fake-{path}", is_installed=lambda library: True)


def test_the_file_is_valid() -> None:
    result = validated(FILE)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_unknown_setting_would_be_reported(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(FILE.read_text(encoding="utf-8").replace("cap_drop:", "cap_drops:"), encoding="utf-8")
    assert validated(file).returncode == 1


def test_nginx_has_the_replicas_as_servers(compose: dict[str, Any]) -> None:
    replicas = {name: service for name, service in compose["services"].items() if name.startswith("proxy")}
    assert [f"{name}:8000" for name in replicas] == [*REPLICAS]
    assert set(compose["services"]["nginx"]["depends_on"]) == set(replicas)
    assert len({str(service) for service in replicas.values()}) == 1
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in compose["services"]["nginx"]["volumes"]
    assert "listen 8080;" in (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert compose["services"]["nginx"]["ports"] == ["127.0.0.1:8000:8080"]


def test_containers_are_killed_when_the_longest_shutdown_is_over(compose: dict[str, Any], config: Config) -> None:
    seconds = config.server.drain_delay + config.server.shutdown_timeout + 5
    assert compose["services"]["proxy1"]["stop_grace_period"] == f"{seconds:g}s"


def test_secrets_of_the_configuration_are_those_of_the_replicas(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose" / "config.yaml").read_text(encoding="utf-8")
    secrets = compose["services"]["proxy1"]["secrets"]
    assert {name for name in secrets if f"/run/secrets/{name}" in text} == set(secrets)
    assert set(secrets) <= set(compose["secrets"])


def test_replicas_share_lists_through_valkey(compose: dict[str, Any], config: Config) -> None:
    assert config.store.valkey is not None
    address = urlsplit(config.store.valkey.get_secret_value())
    assert (address.scheme, address.port, config.store.namespace) == ("redis", 6379, "compose")
    assert address.hostname in compose["services"]
    password = f"/run/secrets/{compose['services']['valkey']['secrets'][0]}"
    assert password in compose["services"]["valkey"]["command"][-1]
    assert password in (DEPLOY / "compose" / "config.yaml").read_text(encoding="utf-8")
    assert compose["services"]["proxy1"]["depends_on"] == {"valkey": {"condition": "service_healthy"}}


def test_image_contains_the_locked_client_of_valkey() -> None:
    (command,) = re.findall(r"awk '.*?'", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lock = str(ROOT / "requirements-dev.lock")
    result = subprocess.run(["bash", "-c", f"{command} {lock}"], capture_output=True, text=True, check=True)  # noqa: S603, S607  # our own file
    first, *hashes = result.stdout.splitlines()
    assert re.fullmatch(r"redis==[0-9.]+ \\", first)
    assert hashes
    assert all(line.startswith("    --hash=sha256:") for line in hashes)


def test_containers_have_no_privileges(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service["user"].startswith("0")
