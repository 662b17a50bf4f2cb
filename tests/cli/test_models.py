"""`models-proxy models`: the list of a running server, filtered and sorted, and clear words where there is none."""

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
    """A server that lists all of them, whoever asks."""
    return upstreams.open(lists(*MODELS))


def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Result:
    environ = {"MODELS_PROXY_URL": None, "MODELS_PROXY_KEY": None, **(env or {})}
    return CliRunner().invoke(main, ["models", *arguments], env=environ, input=stdin)


def ids(*arguments: str) -> Sequence[str]:
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return [model["id"] for model in json.loads(result.stdout)["data"]]


def refusal(reply: Script, upstreams: FakeProviders, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr with the address taken out."""
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
        assert "does not know this key" in refused.stderr
        assert "canary" not in refused.stderr


def test_a_table_has_a_line_for_each_model_however_wide_its_id(server: FakeProvider) -> None:
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
        pytest.param(["gpt-*", "!*-preview"], ["gpt-4o"], id="less some"),
        pytest.param(["!owner:openai"], ["claude-3-opus", "测试模型名称1"], id="all but some"),
        pytest.param(["gpt-4[o]", "claude-*", "GPT-*"], ["claude-3-opus"], id="brackets and case are literal"),
        pytest.param(["!GPT-*"], ["claude-3-opus", "测试模型名称1"], id="all but some, in any case"),
    ],
)
def test_patterns_filter_as_rules_in_the_file_do(
    patterns: list[str], expected: list[str], server: FakeProvider
) -> None:
    assert ids("--url", server.url, *patterns) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], ["claude-3-opus", "gpt-4o", "gpt-4o-preview", "测试模型名称1"], id="by id"),
        pytest.param(["--reverse"], ["测试模型名称1", "gpt-4o-preview", "gpt-4o", "claude-3-opus"], id="backwards"),
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
def test_the_list_is_sorted_as_asked_for(options: list[str], expected: list[str], server: FakeProvider) -> None:
    assert ids("--url", server.url, *options) == expected


def test_json_is_the_models_with_every_field_as_the_server_sent_them(server: FakeProvider) -> None:
    result = run("--url", server.url, "--json")
    assert json.loads(result.stdout) == {"object": "list", "data": MODELS}


def test_what_is_missing_or_old_is_said_on_stderr(upstreams: FakeProviders) -> None:
    headers = {"X-Models-Missing": "a, b", "X-Models-Stale": "3"}
    result = run("--url", upstreams.open(replies({"data": MODELS}, headers=headers)).url, "--json")
    assert len(json.loads(result.stdout)["data"]) == 4
    assert result.stderr == (
        "note: models of 3 providers are old, because their provider fails\n"
        "note: models of a, b are missing at the moment\n"
    )


def test_foreign_text_cannot_command_the_terminal(upstreams: FakeProviders) -> None:
    url = upstreams.open(lists({"id": "m\x1b[2J\u202e[bold]x", "created": 0, "owned_by": "o"})).url
    assert run("--url", url).stdout.splitlines()[1] == "m\\x1b[2J\\u202e[bold]x  o      -"


@pytest.mark.parametrize(
    ("patterns", "says_so"),
    [
        pytest.param(["llama-*"], "no model matches\n", id="filtered"),
        pytest.param([], "the list is empty: this key may see nothing\n", id="empty"),
    ],
)
def test_nothing_to_show_is_said_on_stderr(patterns: list[str], says_so: str, upstreams: FakeProviders) -> None:
    result = run("--url", upstreams.open(lists()).url, *patterns)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", says_so)


# -- no list -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(
            replies(b"<html>", 200, {"Content-Type": "text/html"}),
            "URL answers with something that is no list of models (text/html); is this a models-proxy?",
            id="HTML",
        ),
        *(
            pytest.param(
                replies(body),
                "URL answers with something that is no list of models (application/json); is this a models-proxy?",
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
def test_an_answer_that_is_no_list_is_said_in_one_line(reply: Script, expected: str, upstreams: FakeProviders) -> None:
    assert refusal(reply, upstreams) == (1, "", f"Error: {expected}\n")


def test_rules_over_providers_are_a_usage_error_because_lists_do_not_tell_them(server: FakeProvider) -> None:
    result = run("--url", server.url, "!provider:a")
    assert (result.exit_code, result.stdout, server.requests) == (2, "", [])
    assert "a list does not say which provider" in result.stderr
