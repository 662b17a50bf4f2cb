"""`models-proxy explain`: from a file, whose providers are contacted, and from a running server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from tests.fakes import digest
from tests.processes import serving
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders, replies

ADMIN, USER = "sk-canary-admin-0123456789", "sk-canary-user-0123456789"
UPSTREAM = "sk-canary-upstream-0123456789"
KEYS = f"""
keys:
  - {{name: admin, hash: "{digest(ADMIN)}", models: ["*"], admin: true}}
  - {{name: user, hash: "{digest(USER)}", models: ["*", "!m"]}}
"""


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments], env={"MODELS_PROXY_KEY": None, **(env or {})})


@pytest.fixture
def text(upstreams: FakeProviders) -> str:
    """A configuration with one provider that responds, and one that rejects its key."""
    listing, failing = upstreams.open(lists("m")), upstreams.open(replies({"error": "no"}, 401))
    return f"""providers:
  - {{name: a, base_url: "{listing.url}", api_key: "${{UPSTREAM_KEY}}"}}
  - {{name: b, base_url: "{failing.url}", api_key: "${{UPSTREAM_KEY}}", retries: 0}}
{KEYS}"""


def test_a_file_is_explained_with_the_lists_of_its_providers(config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")
    result = run("m", "--key", "user", "--config", str(config), env={"UPSTREAM_KEY": UPSTREAM})

    assert (result.exit_code, result.stdout.replace(str(config), "config.yaml")) == (
        0,
        """\
'm' exists, but is not available for key user: rule '!m' of key user denies it.

Providers
  a (ok) has it
    listed as 'm': public id 'm'
      owner a: the name of the provider: it reports no owner, and the id 'm' names no known one
  b (failing) is not known to have it: authentication failed (401: no): check the provider's api_key

Access of key user
  '*' allows it at a (config.yaml:7)
  '!m' denies it at a (config.yaml:7)

Offers, in the order of the file; the first that is allowed gives the fields
  a as 'm': not used, owner a, created -; rule '!m' of key user denies it (config.yaml:7)
""",
    )


def test_a_running_server_prints_the_same_text_and_json_as_its_file(config: Path, upstreams: FakeProviders) -> None:
    listing = upstreams.open(lists("m", {"id": "n", "created": 1700000000, "context_length": 4096}))
    text = f'providers: [{{name: a, base_url: "{listing.url}", api_key: "${{UPSTREAM_KEY}}"}}]\n{KEYS}'
    environ = {"UPSTREAM_KEY": UPSTREAM, "MODELS_PROXY_KEY": ADMIN}
    with serving(config, text, env=environ) as process:
        for arguments in (["m", "--key", "user"], ["n"], ["M", "--key", "user"], ["m", "--no-key"]):
            of_server = run(*arguments, "--url", f"{process.url}/v1", env=environ)
            of_file = run(*arguments, "--config", str(config), env=environ)
            assert (of_server.exit_code, of_server.stderr) == (0, "")
            assert of_server.stdout == of_file.stdout
            assert json.loads(run(*arguments, "--url", process.url, "--json", env=environ).stdout) == json.loads(
                run(*arguments, "--config", str(config), "--json", env=environ).stdout
            )
            assert "canary" not in of_server.output + of_file.output


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param(USER, "This API key is not an admin key (`admin: true`). (403)", id="no admin key"),
        pytest.param("sk-canary-wrong", "API key rejected (401): it is invalid or has expired", id="a wrong key"),
    ],
)
def test_a_server_explains_to_admin_keys_only(key: str, message: str, config: Path, text: str) -> None:
    with serving(config, text, env={"UPSTREAM_KEY": UPSTREAM}) as process:
        result = run("m", "--url", process.url, env={"MODELS_PROXY_KEY": key})

    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_an_unknown_key_is_reported_without_repeating_it(config: Path, text: str) -> None:
    environ = {"UPSTREAM_KEY": UPSTREAM, "MODELS_PROXY_KEY": ADMIN}
    with serving(config, text, env=environ) as process:
        of_server = run("m", "--key", USER, "--url", process.url, env=environ)
    of_file = run("m", "--key", USER, "--config", str(config), env=environ)

    assert (of_server.exit_code, of_file.exit_code) == (1, 2)
    assert "No key in the configuration has the name in `key_name`" in of_server.stderr
    assert "no such key" in of_file.stderr
    assert USER not in of_server.output + of_file.output


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([""], id="an empty name"),
        pytest.param(["m" * 1001], id="a long name"),
        pytest.param(["\udcff"], id="bytes that are not UTF-8"),
        pytest.param(["m", "--key", "k", "--no-key"], id="a key, and no key"),
    ],
)
def test_wrong_usage_is_reported_before_a_provider_is_contacted(arguments: list[str], config: Path) -> None:
    result = run(*arguments, "--config", str(config))

    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [["--key-file", "-"], ["--admin-key", "sk-canary-admin"]])
@pytest.mark.parametrize(("command", "option"), [(["explain", "m"], "--url"), (["check"], "--against")])
def test_an_admin_key_without_a_server_is_a_usage_error(
    command: list[str], option: str, arguments: list[str], config: Path
) -> None:
    result = CliRunner().invoke(main, [*command, *arguments, "--config", str(config)], input="sk-canary-admin")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"Error: {arguments[0]} is used with {option} only.\n")
