"""`models-proxy models`: the list of a running server, filtered and sorted, and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from tests.processes import serving
from tests.providers.lists import lists
from tests.providers.scripted import FakeProvider, FakeProviders, Script, replies

KEY = "sk-canary-client"
MODELS: list[dict[str, object]] = [
    {
        "id": "claude-3-opus",
        "object": "model",
        "created": 1709164800,
        "owned_by": "anthropic",
        "context_length": 200000,
    },
    {"id": "gpt-4o", "object": "model", "created": 1715367049, "owned_by": "openai"},
    {"id": "gpt-4o-preview", "object": "model", "created": 0, "owned_by": "openai"},
    {"id": "测试模型名称1", "object": "model", "created": 1600000000, "owned_by": "ctyun"},
]


@pytest.fixture
def server(upstreams: FakeProviders) -> FakeProvider:
    """A server that returns all of them to every caller."""
    return upstreams.open(lists(*MODELS))


def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Result:
    environ = {"MODELS_PROXY_URL": None, "MODELS_PROXY_KEY": None, **(env or {})}
    return CliRunner().invoke(main, ["models", *arguments], env=environ, input=stdin)


def ids(*arguments: str) -> Sequence[str]:
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return [model["id"] for model in json.loads(result.stdout)["data"]]


def refusal(reply: Script, upstreams: FakeProviders, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr without the address."""
    upstream = upstreams.open(reply)
    result = run("--url", upstream.url, *arguments)
    return result.exit_code, result.stdout, result.stderr.replace(f"{upstream.url}/v1/models", "URL")


def test_the_list_of_a_real_server_is_shown_to_the_key_in_the_environment(tmp_path: Path) -> None:
    text = """
providers: [{name: lab, kind: static, models: [{id: our-own-13b, owned_by: lab, created: 1700000000}, {id: other}]}]
keys: [{name: k, key: "${CLIENT_KEY}", models: ["our-*"]}]
"""
    with serving(tmp_path / "config.yaml", text, env={"CLIENT_KEY": KEY}) as process:
        result = run(env={"MODELS_PROXY_URL": process.url, "MODELS_PROXY_KEY": KEY})
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "id           owner  created\nour-own-13b  lab    2023-11-14\n"
        refused = run(env={"MODELS_PROXY_URL": process.url, "MODELS_PROXY_KEY": "sk-canary-wrong"})
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "API key rejected (401): it is invalid or has expired" in refused.stderr
        assert "canary" not in refused.stderr


def test_the_table_has_one_line_per_model_for_ids_of_any_width(server: FakeProvider) -> None:
    assert run("--url", server.url).stdout == (
        "id              owner      created\n"
        "claude-3-opus   anthropic  2024-02-29\n"
        "gpt-4o          openai     2024-05-10\n"
        "gpt-4o-preview  openai     -\n"
        "测试模型名称1   ctyun      2020-09-13\n"
    )


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        pytest.param(["gpt-*"], ["gpt-4o", "gpt-4o-preview"], id="ids"),
        pytest.param(["owner:openai"], ["gpt-4o", "gpt-4o-preview"], id="an owner"),
        pytest.param(["gpt-4o", "测试*"], ["gpt-4o", "测试模型名称1"], id="several"),
        pytest.param(["gpt-*", "!*-preview"], ["gpt-4o"], id="with an exclusion"),
        pytest.param(["!owner:openai"], ["claude-3-opus", "测试模型名称1"], id="only an exclusion"),
        pytest.param(["gpt-4[o]", "claude-*", "GPT-*"], ["claude-3-opus"], id="brackets and case are literal"),
        pytest.param(["!GPT-*"], ["claude-3-opus", "测试模型名称1"], id="only an exclusion, in any case"),
        pytest.param(["type:chat"], ["claude-3-opus", "gpt-4o", "gpt-4o-preview"], id="a type"),
    ],
)
def test_patterns_filter_like_access_rules(patterns: list[str], expected: list[str], server: FakeProvider) -> None:
    assert ids("--url", server.url, *patterns) == expected


def test_a_rule_over_an_unknown_fact_is_an_error(server: FakeProvider) -> None:
    result = run("--url", server.url, "context>=128k")

    assert result.exit_code == 2
    assert "context>=128k: must be a number of tokens, like context>=128000" in result.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], ["claude-3-opus", "gpt-4o", "gpt-4o-preview", "测试模型名称1"], id="by id"),
        pytest.param(["--reverse"], ["测试模型名称1", "gpt-4o-preview", "gpt-4o", "claude-3-opus"], id="reverse"),
        pytest.param(
            ["--sort", "owner"], ["claude-3-opus", "测试模型名称1", "gpt-4o", "gpt-4o-preview"], id="by owner, then id"
        ),
        pytest.param(
            ["--sort", "created", "--reverse"],
            ["gpt-4o", "claude-3-opus", "测试模型名称1", "gpt-4o-preview"],
            id="newest first",
        ),
    ],
)
def test_the_list_is_sorted_by_the_options(options: list[str], expected: list[str], server: FakeProvider) -> None:
    assert ids("--url", server.url, *options) == expected


def test_json_contains_every_field_that_the_server_returned(server: FakeProvider) -> None:
    result = run("--url", server.url, "--json")
    assert json.loads(result.stdout) == {"object": "list", "data": MODELS}


def test_missing_stale_and_incomplete_models_are_warnings_on_stderr(upstreams: FakeProviders) -> None:
    headers = {"X-Models-Missing": "a, b", "X-Models-Stale": "3", "X-Models-Incomplete": "c"}
    result = run("--url", upstreams.open(replies({"data": MODELS}, headers=headers)).url, "--json")
    assert len(json.loads(result.stdout)["data"]) == 4
    assert result.stderr == (
        "warning: 3 providers are failing; their models come from a stale cache\n"
        "warning: 2 providers are failing (a, b); their models are missing from this list\n"
        "warning: 1 provider returned an incomplete list (c); models may be missing\n"
    )


@pytest.mark.parametrize(
    ("header", "failing"),
    [
        pytest.param("1", "1 provider is failing", id="a number"),
        pytest.param("a", "1 provider is failing (a)", id="a name"),
    ],
)
def test_one_stale_provider_is_named_in_the_singular(header: str, failing: str, upstreams: FakeProviders) -> None:
    upstream = upstreams.open(replies({"data": MODELS}, headers={"X-Models-Stale": header}))
    assert run("--url", upstream.url).stderr == f"warning: {failing}; its models come from a stale cache\n"


def test_untrusted_text_cannot_control_the_terminal(upstreams: FakeProviders) -> None:
    url = upstreams.open(lists({"id": "m\x1b[2J\u202e[bold]x", "created": 0, "owned_by": "o"})).url
    assert run("--url", url).stdout.splitlines()[1] == "m\\x1b[2J\\u202e[bold]x  o      -"


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        pytest.param(["llama-*"], "no models match\n", id="filtered"),
        pytest.param([], "the list is empty: no access to any model\n", id="empty"),
    ],
)
def test_an_empty_result_is_reported_on_stderr(patterns: list[str], message: str, upstreams: FakeProviders) -> None:
    result = run("--url", upstreams.open(lists()).url, *patterns)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", message)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(
            replies(b"<html>", 200, {"Content-Type": "text/html"}),
            "URL: invalid response: not a model list (text/html); is this the URL of a models-proxy server?",
            id="HTML",
        ),
        *(
            pytest.param(
                replies(body),
                "URL: invalid response: not a model list (application/json); is this the URL of a models-proxy server?",
                id=name,
            )
            for name, body in (
                ("no JSON", b'{"data": [nan'),
                ("no UTF-8", b'{"data":[{"id":"\xff","created":1,"owned_by":""}]}'),
                ("no list", {"data": None}),
                ("an array", []),
                ("entries that are no models", {"data": [{"id": 7}]}),
                ("too deep", b'{"data":' + b"[" * 100_000),
            )
        ),
    ],
)
def test_a_response_that_is_not_a_model_list_is_an_error_of_one_line(
    reply: Script, expected: str, upstreams: FakeProviders
) -> None:
    assert refusal(reply, upstreams) == (1, "", f"Error: {expected}\n")


def test_patterns_over_providers_are_a_usage_error(server: FakeProvider) -> None:
    result = run("--url", server.url, "!provider:a")
    assert (result.exit_code, result.stdout, server.requests) == (2, "", [])
    assert "`provider:` is not supported here" in result.stderr
