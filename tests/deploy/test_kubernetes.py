"""The base of deploy/kubernetes: valid objects that fit each other, and the server that they run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli.serve import serve
from proxy.config import Config, parse
from proxy.server.run import LAST_SECONDS
from proxy.store.directory import STOP_SECONDS
from tests.fakes import FakeClock, FakeFetch, config_of, reply_to, started
from tests.paths import ROOT

BASE = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.28", "1.37")
"""Of Kubernetes: the oldest that is still offered by the large clouds, and the newest."""
LABELS = {"app.kubernetes.io/name": "models-proxy"}


def rendered(base: Path = BASE) -> str:
    """The objects as kubectl applies them."""
    return subprocess.run(["kubectl", "kustomize", str(base)], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607  # our own command


def objects_in(text: str) -> dict[str, dict[str, Any]]:
    """Kind -> the object of this kind."""
    loaded = list(yaml.safe_load_all(text))
    assert len({each["kind"] for each in loaded}) == len(loaded)
    return {each["kind"]: each for each in loaded}


@pytest.fixture(scope="module")
def text() -> str:
    return rendered()


@pytest.fixture(scope="module")
def objects(text: str) -> Mapping[str, dict[str, Any]]:
    return objects_in(text)


@pytest.fixture(scope="module")
def pod(objects: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def config(objects: Mapping[str, dict[str, Any]]) -> Config:
    return parse(objects["ConfigMap"]["data"]["config.yaml"], "config.yaml")


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid(version: str, text: str, tmp_path: Path) -> None:
    """The ServiceMonitor is of the Prometheus operator: its schema is not among those of Kubernetes."""
    file = tmp_path / "rendered.yaml"
    file.write_text(text, encoding="utf-8")
    command = ["kubernetes-validate", "--strict", "-k", version, str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    lines = (result.stdout + result.stderr).splitlines()
    others = [line for line in lines if " passed for resource " not in line]
    assert result.returncode == 0, lines
    assert len(lines) - len(others) == len(objects_in(text)) - 1
    assert len(others) == 1
    assert "Couldn't find schema for kind ServiceMonitor" in others[0]


def test_an_invalid_object_would_be_reported(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(text.replace("readinessProbe:", "readynessProbe:"), encoding="utf-8")
    result = subprocess.run(["kubernetes-validate", "--strict", str(file)], capture_output=True, check=False)  # noqa: S603, S607  # our own command
    assert result.returncode != 0


def test_pod_meets_the_restricted_standard(pod: dict[str, Any], objects: Mapping[str, dict[str, Any]]) -> None:
    (container,) = pod["containers"]
    assert objects["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {name for volume in pod["volumes"] for name in volume} == {"name", "configMap", "secret"}
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_pod_is_killed_when_the_longest_shutdown_is_over(pod: dict[str, Any], config: Config) -> None:
    server = config.server
    assert pod["terminationGracePeriodSeconds"] == server.drain_delay + server.shutdown_timeout + 5
    assert LAST_SECONDS + STOP_SECONDS <= 5, "what is kept is written at the end"


def test_pod_is_not_ready_for_shorter_than_drain_delay_before_it_is_removed(
    pod: dict[str, Any], config: Config
) -> None:
    probe = pod["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < config.server.drain_delay


@pytest.mark.anyio
async def test_probes_are_those_of_the_server(pod: dict[str, Any], fetch: FakeFetch, clock: FakeClock) -> None:
    (container,) = pod["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    async with started(config_of("providers: [{name: lab, kind: static, models: [m]}]"), fetch, clock) as app:
        assert {(await reply_to(app, path)).status for path in paths.values()} == {200}


def test_arguments_are_those_of_the_command(pod: dict[str, Any]) -> None:
    command, *arguments = pod["containers"][0]["args"]
    options = serve.make_context("serve", arguments).params
    assert (command, options["host"], options["port"]) == ("serve", "0.0.0.0", 8000)  # noqa: S104
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert options["path"] == Path("/etc/models-proxy/config/config.yaml")
    assert str(options["path"].parent) in mounts


def test_changed_configuration_restarts_no_pod(objects: Mapping[str, dict[str, Any]], tmp_path: Path) -> None:
    base = tmp_path / "kubernetes"
    shutil.copytree(BASE, base)
    with (base / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("x-note: changed\n")
    after = objects_in(rendered(base))
    assert after["ConfigMap"] != objects["ConfigMap"]
    assert after["Deployment"] == objects["Deployment"]


def test_files_are_replaced_in_running_pods(pod: dict[str, Any], objects: Mapping[str, dict[str, Any]]) -> None:
    assert all("subPath" not in mount for mount in pod["containers"][0]["volumeMounts"])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    assert volumes["secrets"]["secret"]["secretName"] == objects["Secret"]["metadata"]["name"]
    assert "immutable" not in {**objects["ConfigMap"], **objects["Secret"]}


def test_secrets_of_the_configuration_are_in_the_secret(config: Config, objects: Mapping[str, dict[str, Any]]) -> None:
    text = objects["ConfigMap"]["data"]["config.yaml"]
    named = {name for name in objects["Secret"]["stringData"] if f"/etc/models-proxy/secrets/{name}" in text}
    assert named == {"openai"}
    authorization = objects["ServiceMonitor"]["spec"]["endpoints"][0]["authorization"]
    assert authorization["credentials"]["key"] in objects["Secret"]["stringData"]
    assert authorization["credentials"]["name"] == objects["Secret"]["metadata"]["name"]
    assert set(objects["Secret"]["stringData"].values()) == {"replace-me"}
    assert [(key.name, key.admin, key.rules) for key in config.keys] == [
        ("ops", True, ("*",)),
        ("prometheus", True, ()),
    ]


def test_objects_select_the_pods(objects: Mapping[str, dict[str, Any]]) -> None:
    assert objects["Deployment"]["spec"]["template"]["metadata"]["labels"] == LABELS
    assert objects["Service"]["spec"]["selector"] == LABELS
    assert objects["Service"]["metadata"]["labels"] == LABELS
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS
    for kind in ("Deployment", "PodDisruptionBudget", "ServiceMonitor"):
        assert objects[kind]["spec"]["selector"]["matchLabels"] == LABELS
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])
    assert "replicas" not in objects["Deployment"]["spec"]
    assert {each["metadata"].get("namespace") for each in objects.values() if each["kind"] != "Namespace"} == {
        "models-proxy"
    }


def test_ports_have_one_name(pod: dict[str, Any], objects: Mapping[str, dict[str, Any]]) -> None:
    assert pod["containers"][0]["ports"] == [{"name": "http", "containerPort": 8000}]
    (port,) = objects["Service"]["spec"]["ports"]
    (ingress,) = objects["NetworkPolicy"]["spec"]["ingress"]
    (endpoint,) = objects["ServiceMonitor"]["spec"]["endpoints"]
    assert [port["name"], port["targetPort"], ingress["ports"][0]["port"], endpoint["port"]] == ["http"] * 4
