"""`models-proxy check`: previews the model list of a file, and shows no secret."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.config import ConfigError, parse
from tests.cli.checks import CANARIES, checked, run, three
from tests.fakes import digest
from tests.paths import ROOT
from tests.processes import free_port, serving
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders, replies


def test_the_list_of_a_key_equals_the_list_that_the_server_returns_to_it(
    config: Path, upstreams: FakeProviders
) -> None:
    text = three(upstreams)
    expected = checked(config, text, "--key", "alice", env=CANARIES)["models"]
    with serving(config, text, env=CANARIES) as process:
        environ = {"MODELS_PROXY_URL": process.url, "MODELS_PROXY_KEY": CANARIES["CLIENT_KEY"]}
        listed = json.loads(CliRunner().invoke(main, ["models", "--json"], env=environ).stdout)["data"]
    shown = [{name: model[name] for name in ("id", "owned_by", "created")} for model in listed]
    assert shown == [{name: model[name] for name in ("id", "owned_by", "created")} for model in expected]


def test_the_shipped_file_can_be_checked_without_a_network(config: Path) -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    ollama = f"http://127.0.0.1:{free_port()}"
    document = checked(config, text, env={"OLLAMA_BASE_URL": ollama})
    errors = {
        provider["name"]: provider["error"] for provider in document["providers"] if provider["state"] == "failing"
    }
    assert errors["openrouter"] == {"kind": "dns", "reason": "DNS lookup failed"}
    assert errors["ollama"] == {"kind": "connection_refused", "reason": "connection refused"}
    assert [model["id"] for model in document["models"]] == ["example-model"]


def test_a_file_that_can_be_read_only_once_can_be_checked(tmp_path: Path) -> None:
    """As in `--config <(sops decrypt config.yaml)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with ThreadPoolExecutor() as threads:
        threads.submit(pipe.write_text, "providers: [{name: lab, kind: static, models: [{id: m}]}]")
        result = CliRunner().invoke(main, ["check", "--config", str(pipe)])
    assert (result.exit_code, result.stderr) == (0, "")


# -- exit codes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param("", 1, id="a required provider"),
        pytest.param(", optional: true", 0, id="an optional one"),
    ],
)
def test_a_failed_provider_exits_with_1_unless_it_is_optional(more: str, code: int, config: Path) -> None:
    text = f"""
providers:
  - {{name: gone, base_url: "http://127.0.0.1:{free_port()}", retries: 0{more}}}
  - {{name: lab, kind: static, models: [{{id: m}}]}}
"""
    result = run(config, text)
    assert (result.exit_code, "Error: 1 provider failed: gone" in result.stderr) == (code, code == 1)
    assert checked(config, text)["ok"] is (code == 0)


def test_strict_also_fails_for_failed_optional_skipped_and_empty_providers(
    config: Path, upstreams: FakeProviders
) -> None:
    text = f"""
providers:
  - {{name: gone, base_url: "http://127.0.0.1:{free_port()}", optional: true}}
  - {{name: paid, base_url: "http://127.0.0.1:9", api_key: "${{NO_SUCH_VARIABLE}}", optional: true}}
  - {{name: empty, base_url: "{upstreams.open(lists()).url}"}}
  - {{name: filtered, base_url: "{upstreams.open(lists("n")).url}", include: ["m"]}}
  - {{name: lab, kind: static, models: [{{id: m}}]}}
"""
    assert (run(config, text).exit_code, checked(config, text)["ok"]) == (0, True)
    result = run(config, text, "--strict")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        "Error: 1 provider failed: gone; fix the errors above; 1 provider skipped: paid (--strict); "
        "2 providers without models: empty, filtered (--strict)",
    )
    assert checked(config, text, "--strict")["ok"] is False


def test_strict_passes_if_every_provider_has_models(config: Path) -> None:
    text = "providers: [{name: lab, kind: static, models: [{id: m}]}]"
    result = run(config, text, "--strict")
    assert (result.exit_code, result.stderr, checked(config, text, "--strict")["ok"]) == (0, "", True)


def test_findings_and_warnings_alone_exit_with_0(config: Path) -> None:
    text = f"""
providers: [{{name: lab, kind: static, models: [{{id: m}}]}}]
keys: [{{name: k, hash: "{digest("sk-fake-k")}", models: ["!m"]}}]
"""
    result = run(config, text)
    problem = 'key k has only deny rules (`!`), so it allows no model; add "*" to allow the rest'
    warning = f"{config}:3: keys[0].models: {problem}"
    assert (result.exit_code, result.stderr) == (0, f"warning: {warning}\n")
    assert checked(config, text)["warnings"] == [warning]


def test_a_default_group_that_remains_after_the_first_key_is_a_warning(config: Path) -> None:
    text = f"""
providers: [{{name: lab, kind: static, models: [{{id: m}}]}}]
groups: {{default: {{models: ["*"]}}}}
keys: [{{name: k, hash: "{digest("sk-fake-k")}", models: ["m"]}}]
"""
    warning = (
        "requests without a key can still list the models of this group; remove it, or add `call: false` to keep it"
    )
    for options in ((), ("--offline",)):
        assert run(config, text, *options).stderr == f"warning: {config}:3: groups.default: {warning}\n"


def test_a_pattern_with_brackets_that_hides_nothing_exits_with_1(config: Path, upstreams: FakeProviders) -> None:
    address = upstreams.open(lists("o3-mini", "claude-opus-5[1m]")).url
    text = f"""
providers: [{{name: lab, base_url: "{address}", exclude: ["o[0-9]*"]}}]
groups: {{default: {{models: ["*", "!claude-opus-5[1m]"]}}}}
"""
    result = run(config, text)
    literal = "`[` is matched literally"
    error = f"provider lab: exclude 'o[0-9]*' matches none of its models; {literal}"
    assert (result.exit_code, f"Error: {error}" in result.stderr) == (1, True)
    assert result.stderr.count(f"{literal}; character classes like [0-9] are not supported") == 2
    assert checked(config, text)["ok"] is False
    assert run(config, text.replace("o[0-9]*", "o3*")).exit_code == 0


def test_all_problems_of_the_file_are_reported_and_no_provider_is_contacted(
    config: Path, upstreams: FakeProviders
) -> None:
    upstream = upstreams.open(lists("m"))
    text = f"""
server: {{prot: 8000}}
providers:
  - {{name: a, base_url: "{upstream.url}"}}
  - {{name: b, base_url: "ftp://127.0.0.1"}}
keys:
  - {{name: k, key: sk-canary-in-plain-text, models: ["*"]}}
"""
    with pytest.raises(ConfigError) as error:
        parse(text, str(config))
    result = run(config, text)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {error.value}\n")
    document = checked(config, text)
    assert document["ok"] is False
    assert document["problems"] == [
        {"file": str(config), "line": problem.line, "setting": problem.setting, "text": problem.text}
        for problem in error.value.problems
    ]
    assert (len(document["problems"]), document["providers"], document["models"]) == (3, [], [])
    assert "canary" not in result.output
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        pytest.param("alise", "no such key; did you mean 'alice'?", id="similar"),
        pytest.param("sk-canary-a-key-itself", "no such key; available: alice, old", id="the key itself"),
    ],
)
def test_an_unknown_key_name_is_a_usage_error_and_is_not_repeated(
    typed: str, hint: str, config: Path, upstreams: FakeProviders
) -> None:
    result = run(config, three(upstreams), "--key", typed, env=CANARIES)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for '--key': {hint}"
    assert typed not in result.stderr


def test_a_key_name_for_a_file_without_keys_is_a_usage_error(config: Path) -> None:
    result = run(config, "providers: [{name: lab, kind: static, models: [{id: m}]}]", "--key", "k")
    assert (result.exit_code, "no such key; none is configured" in result.stderr) == (2, True)


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_is_shown_even_if_a_provider_returns_it(
    as_json: bool, config: Path, upstreams: FakeProviders
) -> None:
    echo = replies({"error": {"message": f"bad key {CANARIES['UPSTREAM_KEY']}"}}, 401)
    text = three(upstreams).replace(
        "providers:\n",
        f"""providers:
  - {{name: echo, base_url: "{upstreams.open(echo).url}", api_key: "${{UPSTREAM_KEY}}"}}
  - {{name: egress, base_url: "http://127.0.0.1/v1", proxy: "${{EGRESS}}", retries: 0}}
""",
    )
    result = run(config, text, *(["--json"] if as_json else []), env=CANARIES)
    assert "bad key ***" in result.stdout
    assert "egress" in result.stdout
    assert "canary" not in result.output


def test_virtual_models_are_shown_with_their_targets_and_not_as_merged(config: Path) -> None:
    call = 'call: {base_url: "http://127.0.0.1:9/v1"}'
    text = f"""
providers:
  - {{name: a, kind: static, {call}, models: [m]}}
  - {{name: b, kind: static, {call}, models: [n, m]}}
models: [{{id: smart, targets: [m, n]}}, {{id: gone, targets: [unknown]}}]
"""
    output = run(config, text).stdout

    assert "Merged: 1 model from several providers\nm: a, then b; owners differ: a, b\n" in output
    assert "1 virtual model\nsmart: m at a, then m at b, then n at b\n" in output
    assert "- virtual model gone: target 'unknown' is not listed by any provider" in output
    document = checked(config, text)
    assert document["merged"] == ["m"]
    assert [model["offers"] for model in document["models"] if model["id"] == "smart"] == [
        [{"provider": "a", "id": "m"}, {"provider": "b", "id": "m"}, {"provider": "b", "id": "n"}]
    ]
