"""The files beside the code keep what they promise: config.yaml is a reference that works, the locks are locks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import trustme

from proxy.config import Provider, parse, read
from proxy.config.custom import CustomList, CustomPaging
from proxy.config.keys import KeyEntry
from proxy.config.settings import Cache, Defaults, Group, Iam, Merge, OAuth, OwnerRule, Server
from proxy.dialects import DIALECTS
from tests.paths import ROOT

EVERYTHING_SET = {
    **dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", (ROOT / "config.yaml").read_text()), "sk-fake-for-tests"),
    "ODDBALL_BASE_URL": "https://api.oddball.example",
    "PANGU_BASE_URL": "https://pangu.example.com/v1",
    "PANGU_WORKSPACE_ID": "w",
    "PANGU_MODEL_ID": "m",
}


def settings() -> set[str]:
    """Every name that may stand in a configuration file."""
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
    """The file with every commented setting switched on."""
    names = "|".join(sorted(settings() | {"owners", "keys", "groups"}))
    setting = re.compile(rf"^( *)# ( *(?:- {{|(?:{names}|staff):(?: |$)).*)$", re.MULTILINE)
    return setting.sub(r"\1\2", text)


def test_the_shipped_file_starts_without_an_account() -> None:
    config = read(ROOT / "config.yaml", environ={})
    assert [provider.name for provider in config.providers] == ["ollama", "openrouter", "example"]
    assert [skipped.name for skipped in config.skipped] == [
        *("openai", "aihubmix", "ctyun", "pangu", "deepseek"),
        *("anthropic", "gemini", "azure", "vertex", "cloudflare", "oddball"),
    ]
    assert config.is_open
    assert config.refuse_exposure("127.0.0.1") == ""
    assert "refuses to listen on 0.0.0.0" in config.refuse_exposure("0.0.0.0")  # noqa: S104 - it refuses


def test_the_container_can_be_tried_with_one_variable() -> None:
    config = read(ROOT / "config.yaml", environ={"MODELS_PROXY_OPEN": "true"})
    assert config.refuse_exposure("0.0.0.0") == ""  # noqa: S104 - what is asked for


# A kind's own settings stand in its row, and need not stand here: a new dialect is one row and one payload.
@pytest.mark.parametrize("name", sorted(settings() - {name for row in DIALECTS.values() for name in row.settings}))
def test_every_setting_stands_in_the_shipped_file(name: str) -> None:
    assert re.search(rf"\b{name}:", (ROOT / "config.yaml").read_text()), f"{name} is not explained in config.yaml"


def test_every_commented_setting_is_valid_when_it_is_switched_on(tmp_path: Path) -> None:
    authority = tmp_path / "corp.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    text = (ROOT / "config.yaml").read_text().replace("/etc/ssl/corp.pem", str(authority))
    with_login = uncommented(text)
    for key in ("PANGU_TOKEN", "AZURE_API_KEY"):  # a provider has one credential: here the login that stands beside it
        with_login = with_login.replace(f"    api_key: ${{{key}}}", "    #")
    config = parse(with_login, environ=EVERYTHING_SET)
    assert [key.name for key in config.keys] == ["alice", "ci", "ops"]
    assert [rule.owner for rule in config.owners] == ["openai"]
    providers = {provider.name: provider for provider in config.providers}
    assert providers["pangu"].iam is not None
    assert providers["azure"].oauth is not None
    assert providers["oddball"].dialect.price_per == 1_000_000
    assert "# " in with_login, "prose stays a comment"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_a_hash_for_everything_and_no_index_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^--", text)
    blocks = re.findall(r"(?m)^\S.*(?:\n {4}.*)*", text)
    assert len(blocks) > 20
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_direct_dependency_is_locked_at_what_pyproject_asks_for(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text()))
    wanted = project["project"]["dependencies"]
    wanted += project["dependency-groups"]["dev"] if lock == "requirements-dev.lock" else []
    for requirement in wanted:
        name, version = re.split(r"~=", requirement)
        name = re.sub(r"\[.*\]", "", name).lower()
        prefix = version.rsplit(".", 1)[0] + "."
        assert (name, locked[name].startswith(prefix)) == (name, True), f"{requirement} is locked at {locked[name]}"


def test_the_image_installs_from_the_lock_and_runs_without_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r /tmp/requirements.lock" in dockerfile
    assert re.search(r"(?m)^USER 10001", dockerfile)
    assert re.search(r"(?m)^HEALTHCHECK", dockerfile)
    assert "/livez" in dockerfile


def test_the_gate_runs_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, begins in (("serve", "python3 -m venv .venv"), ("test", "python3 -m venv .venv")):
        assert re.search(rf"<!-- ci: {name} -->\n```sh\n{re.escape(begins)}[^\n]+\n```", readme)
        assert f"readme_block {name}" in (ROOT / ".ci" / "run").read_text()


def readme_providers() -> tuple[list[list[str]], list[str]]:
    """The rows of the README's table of providers, and the snippets below it."""
    section = (ROOT / "README.md").read_text().partition("\n## Providers\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]
    return rows, section.partition("```yaml\n")[2].partition("\n```")[0].splitlines()


def test_the_readmes_table_of_providers_is_long_and_names_each_once() -> None:
    rows, _ = readme_providers()
    assert len({row[1] for row in rows}) >= 15
    assert len({row[0] for row in rows}) == len(rows) >= 40


@pytest.mark.parametrize(
    ("row", "snippet"), list(zip(*readme_providers(), strict=True)), ids=lambda value: str(value)[:40]
)
def test_each_snippet_of_the_readme_can_be_pasted(row: list[str], snippet: str) -> None:
    variables = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", snippet), "sk-fake-for-tests")
    variables |= {name: "https://login.example.com/token" for name in variables if name.endswith("_URL")}
    (provider,) = parse(f"providers:\n  {snippet}\n", environ=variables).providers
    assert (provider.kind, provider.base_url) == (row[1], row[2])
    if variables:
        assert parse(f"providers:\n  {snippet}\n", environ={}).skipped, "without its variables it is left out"


def test_the_snippets_of_the_readme_can_be_pasted_all_together() -> None:
    rows, snippets = readme_providers()
    text = "providers:\n" + "\n".join(f"  {snippet}" for snippet in snippets)
    variables = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", text), "https://fake.example.com")
    assert len(parse(text, environ=variables).providers) == len(rows)
