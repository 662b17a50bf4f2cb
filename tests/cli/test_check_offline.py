"""`models-proxy check --offline`: the file alone is validated, without its secrets and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config import parse
from proxy.config.server import Server
from tests.cli.checks import checked, run
from tests.fakes import digest
from tests.paths import ROOT
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders

SECRETS = """
server: {port: "${NO_SUCH_PORT}"}
providers:
  - {name: paid, base_url: "${NO_SUCH_URL}", api_key_file: /nonexistent/sk-canary}
  - {name: local, base_url: "http://127.0.0.1:9", ca_file: /nonexistent/ca.pem}
keys:
  - {name: alice, key: "${NO_SUCH_KEY}", models: ["provider:paid"]}
"""


def test_a_valid_file_is_reported_without_contacting_a_provider(config: Path, upstreams: FakeProviders) -> None:
    upstream = upstreams.open(lists("m"))
    result = run(config, f'providers: [{{name: a, base_url: "{upstream.url}"}}]', "--offline")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{config} is valid; no provider was contacted\n"
    assert upstream.requests == []


def test_variables_and_files_that_are_not_available_are_warnings(config: Path) -> None:
    result = run(config, SECRETS, "--offline")
    assert (result.exit_code, result.stdout) == (0, f"{config} is valid; no provider was contacted\n")
    assert [line.removeprefix(f"warning: {config.parent}/") for line in result.stderr.splitlines()] == [
        "config.yaml:4: providers[0].api_key_file: cannot be read: No such file or directory; this value was not "
        "checked",
        "config.yaml:5: providers[1].ca_file: cannot be read: No such file or directory; this value was not checked",
        "config.yaml:2: server.port: environment variable NO_SUCH_PORT is not set or empty; this value was not checked",
        "config.yaml:4: providers[0].base_url: environment variable NO_SUCH_URL is not set or empty; this value was "
        "not "
        "checked",
        "config.yaml:7: keys[0].key: environment variable NO_SUCH_KEY is not set or empty; this value was not checked",
    ]


def test_the_same_file_has_problems_without_the_option(config: Path) -> None:
    result = run(config, SECRETS)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, f"Error: {config} has 5 problems:")


def test_rules_of_a_key_whose_secret_is_not_available_are_checked(config: Path) -> None:
    result = run(config, SECRETS.replace("provider:paid", "provider:piad"), "--offline")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "config.yaml:7: keys[0].models[0]: no such provider; did you mean 'paid'?" in result.stderr


def test_the_shipped_file_is_valid_without_any_variable(config: Path) -> None:
    result = run(config, (ROOT / "config.yaml").read_text(encoding="utf-8"), "--offline")
    assert (result.exit_code, result.stdout) == (0, f"{config} is valid; no provider was contacted\n")


def test_json_contains_only_the_warnings(config: Path) -> None:
    text = SECRETS.replace('["provider:paid"]', '["!x"]')
    document = checked(config, text, "--offline")
    assert document.pop("warnings")[-1].endswith("this value was not checked")
    assert document == {
        "ok": True, "problems": [], "providers": [], "key": None, "models": [], "merged": [], "duplicates": None,
        "other_duplicates": [], "findings": [], "against": None, "calls": None,
    }  # fmt: skip


DECIDED = f"""
providers:
  - {{name: remote, base_url: "http://127.0.0.1:9"}}
  - {{name: lab, kind: static, models: [{{id: m}}], exclude: [x]}}
  - {{name: unused, kind: static, models: [{{id: n}}]}}
groups: {{staff: {{models: ["provider:remote", "provider:lab"], group_limits: {{tokens: 5/month}}}}}}
keys:
  - {{name: alice, hash: "{digest("alice")}", group: staff, expires: 2020-01-31}}
  - {{name: bob, hash: "{digest("bob")}", group: staff}}
  - {{name: eve, hash: "{digest("eve")}", models: []}}
"""
NOT_KEPT = (
    "group_limits per day or month start again at 0 after every restart; "
    "set store.directory or store.valkey to keep them"
)
INACCESSIBLE = "none of its models is accessible, neither with a valid key nor without a key"
OF_FILE = [
    ("expired", "key alice", "expired on 2020-01-31; requests with it get 401"),
    ("no_access", "key eve", "no access to any model: the list of rules is empty"),
    ("matches_nothing", "provider lab", "exclude 'x' matches none of its models"),
    ("inaccessible", "provider unused", INACCESSIBLE),
    ("not_kept", "group staff", NOT_KEPT),
]


def findings(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["who"], each["text"]) for each in document["findings"]]


def test_findings_that_need_no_list_are_those_of_a_check_whose_providers_fail(config: Path) -> None:
    assert findings(checked(config, DECIDED, "--offline")) == OF_FILE
    assert findings(checked(config, DECIDED)) == OF_FILE


def test_findings_are_printed_after_the_result(config: Path) -> None:
    result = run(config, DECIDED.replace("unused", "lab-2").replace("models: []", 'models: ["*"]'), "--offline")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == f"""\
{config} is valid; no provider was contacted

3 findings
- key alice: expired on 2020-01-31; requests with it get 401
- provider lab: exclude 'x' matches none of its models
- group staff: {NOT_KEPT}
"""
    )


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        pytest.param('tracing: {endpoint: "${UNSET}"}', ["expired", "no_access", "not_kept"], id="any value"),
        pytest.param('store: {directory: "${UNSET}"}', ["expired", "no_access"], id="the store"),
        pytest.param('store: {valkey: "${UNSET}", namespace: prod}', ["expired", "no_access"], id="the shared store"),
    ],
)
def test_a_missing_value_causes_no_finding(missing: str, found: list[str], config: Path) -> None:
    document = checked(config, DECIDED + missing, "--offline")
    assert [kind for kind, _, _ in findings(document)] == found


def test_models_of_a_provider_whose_secret_is_missing_are_not_missed(config: Path) -> None:
    text = """
providers: [{name: paid, base_url: "http://127.0.0.1:9", api_key: "${UNSET}", optional: true}]
groups: {default: {models: ["provider:paid"]}}
"""
    assert findings(checked(config, text, "--offline")) == []


def test_a_pattern_that_hides_none_of_the_declared_models_is_an_error(config: Path) -> None:
    result = run(config, 'providers: [{name: lab, kind: static, models: [{id: m}], exclude: ["x[0-9]"]}]', "--offline")
    expected = "provider lab: exclude 'x[0-9]' matches none of its models; `[` is matched literally; write one pattern"
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, f"Error: {expected} per character")


@pytest.mark.parametrize("option", ["--strict", "--key=alice", "--retries=1"])
def test_options_for_providers_are_a_usage_error(option: str, config: Path) -> None:
    result = run(config, SECRETS, "--offline", option)
    assert (result.exit_code, result.stdout) == (2, "")
    name = option.partition("=")[0]
    assert result.stderr.endswith(f"Error: --offline and {name} are mutually exclusive.\n")


def test_a_configuration_read_offline_contains_neither_entries_nor_sections_with_unset_variables() -> None:
    config = parse(SECRETS, offline=True)
    assert (config.server, [provider.name for provider in config.providers], config.keys) == (Server(), ["local"], ())
