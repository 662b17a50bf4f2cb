"""config.yaml is a complete reference that works; the locks, the image and the gate are consistent with the project."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from proxy.config import Provider, parse, read
from proxy.config.custom import CustomList, CustomPaging
from proxy.config.defaults import Cache, Defaults
from proxy.config.keys import KeyEntry
from proxy.config.provider_settings import Iam, OAuth
from proxy.config.server import Server
from proxy.config.settings import Group, Merge, OwnerRule
from proxy.dialects import DIALECTS
from tests.certificates import with_certificates
from tests.paths import ROOT

EVERYTHING_SET = {
    **dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", (ROOT / "config.yaml").read_text()), "sk-fake-for-tests"),
    "ODDBALL_BASE_URL": "https://api.oddball.example",
    "PANGU_BASE_URL": "https://pangu.example.com/v1",
    "PANGU_WORKSPACE_ID": "w",
    "PANGU_MODEL_ID": "m",
    "HOOK_SECRET": "whsec_ZmFrZS1zZWNyZXQtb2YtYS13ZWJob29r",
}


def settings() -> set[str]:
    """The name of every setting."""
    models = (
        Server,
        Cache,
        Defaults,
        Merge,
        OwnerRule,
        Provider,
        Iam,
        OAuth,
        CustomList,
        CustomPaging,
        Group,
        KeyEntry,
    )
    names = {name for model in models for name in model.model_fields} - {"settings"}
    return names | {name for dialect in DIALECTS.values() for name in dialect.settings}


def uncommented(text: str) -> str:
    """The file with every commented setting enabled."""
    names = "|".join(sorted(settings() | {"owners", "routing", "keys", "groups", "notify"}))
    setting = re.compile(rf"^( *)# ( *(?:- {{|(?:{names}|staff):(?: |$)).*)$", re.MULTILINE)
    return setting.sub(r"\1\2", text)


def test_shipped_file_starts_without_an_account() -> None:
    config = read(ROOT / "config.yaml", environ={})
    assert [provider.name for provider in config.providers] == ["ollama", "openrouter", "example"]
    assert [skipped.name for skipped in config.skipped] == [
        *("openai", "aihubmix", "ctyun", "pangu", "deepseek"),
        *("anthropic", "gemini", "bedrock", "azure", "vertex", "cloudflare", "oddball"),
    ]
    assert config.is_open
    assert config.refuse_exposure("127.0.0.1") == ""
    assert "refusing to listen on 0.0.0.0" in config.refuse_exposure("0.0.0.0")  # noqa: S104 - it refuses


def test_container_starts_with_one_variable() -> None:
    config = read(ROOT / "config.yaml", environ={"MODELS_PROXY_OPEN": "true"})
    assert config.refuse_exposure("0.0.0.0") == ""  # noqa: S104 - what the variable allows


# Settings of kinds are not required here: a new dialect is one row and one payload.
@pytest.mark.parametrize("name", sorted(settings() - {name for row in DIALECTS.values() for name in row.settings}))
def test_shipped_file_contains_every_setting(name: str) -> None:
    assert re.search(rf"\b{name}:", (ROOT / "config.yaml").read_text()), f"{name} is not explained in config.yaml"


def test_commented_settings_are_valid_when_enabled(tmp_path: Path) -> None:
    text = with_certificates((ROOT / "config.yaml").read_text(), tmp_path)
    # A provider has one credential: where the file also shows a login, the login is tested.
    with_login = re.sub(r"    api_key: \$\{(?:PANGU|AZURE|BEDROCK)_\w+\}", "    #", uncommented(text))
    config = parse(with_login, environ=EVERYTHING_SET, is_installed=lambda library: True)
    assert [key.name for key in config.keys] == ["alice", "ci", "ops"]
    assert [rule.owner for rule in config.owners] == ["openai"]
    assert [(model.id, model.targets) for model in config.models] == [("smart", ("gpt-5", "claude-opus-5"))]
    assert [(rule.match, rule.strategy) for rule in config.routing] == [(("qwen*",), "least_busy")]
    providers = {provider.name: provider for provider in config.providers}
    assert providers["pangu"].iam is not None
    assert providers["azure"].oauth is not None
    assert providers["oddball"].dialect.price_per == 1_000_000
    assert "# " in with_login, "prose stays a comment"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-audit.lock"])
def test_lock_has_a_hash_for_each_package_and_no_index_url(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^--", text)
    blocks = re.findall(r"(?m)^\S.*(?:\n {4}.*)*", text)
    assert len(blocks) > 20
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-audit.lock"])
def test_direct_dependencies_are_locked_within_the_range_of_pyproject(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text()))
    direct, groups = project["project"]["dependencies"], project["dependency-groups"]
    wanted = {
        "requirements.lock": direct,
        "requirements-dev.lock": [*direct, *groups["dev"]],
        "requirements-audit.lock": groups["audit"],
    }[lock]
    for requirement in wanted:
        name, version = requirement.partition(";")[0].split("~=")
        name = re.sub(r"\[.*\]", "", name).lower().replace(".", "-")
        prefix = version.rsplit(".", 1)[0] + "."
        assert (name, locked[name].startswith(prefix)) == (name, True), f"{requirement} is locked at {locked[name]}"


def test_image_installs_from_the_lock_and_runs_without_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r /tmp/requirements.lock" in dockerfile
    assert re.search(r"(?m)^USER 10001", dockerfile)
    (probe,) = re.findall(r"(?ms)^HEALTHCHECK.*?CMD (\[.*?\])$", dockerfile)
    assert json.loads(probe)[1:] == ["-m", "proxy", "health", "--live", "--url", "http://127.0.0.1:8000"]


def test_the_wheel_and_the_image_contain_the_files_of_the_status_page() -> None:
    folder = ROOT / "proxy" / "api" / "status"
    data = {path.relative_to(ROOT).as_posix() for path in folder.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert {Path(name).suffix for name in data} == {".html", ".css", ".js", ".svg"}
    assert data <= {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert "\nCOPY proxy /app/proxy\n" in (ROOT / "Dockerfile").read_text()
    assert "!proxy\n" in (ROOT / ".dockerignore").read_text()


def test_gate_runs_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, begins in (("serve", "python3 -m venv .venv"), ("test", "python3 -m venv .venv")):
        assert re.search(rf"<!-- ci: {name} -->\n```sh\n{re.escape(begins)}[^\n]+\n```", readme)
        assert f"readme_block {name}" in (ROOT / ".ci" / "run").read_text()
