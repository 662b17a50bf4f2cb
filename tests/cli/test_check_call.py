"""`check --call`: one small call to each provider of a model, through the rules of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.checks import CANARIES, checked, run, without_times
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, FakeProvider, FakeProviders, Script, replies

REFUSED = replies({"error": {"message": "no such key", "code": "invalid_api_key"}}, 401)


def providing(*models: object, call: Script) -> Script:
    """A provider with these models, whose calls get a response of `call`."""
    listed = replies({"object": "list", "data": [each if isinstance(each, dict) else {"id": each} for each in models]})

    async def script(exchange: Exchange) -> None:
        await (listed if exchange.request.method == "GET" else call)(exchange)

    return script


def body_of(provider: FakeProvider) -> Any:
    """The body of the last call."""
    return msgspec.json.decode(provider.requests[-1].body)


def results(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls without their durations."""
    return [{name: value for name, value in call.items() if name != "seconds"} for call in document["calls"]]


def test_every_provider_of_a_model_is_called_with_its_id_key_and_parameters(
    config: Path, upstreams: FakeProviders
) -> None:
    fine, broken = (
        upstreams.open(providing(own, call=call))
        for own, call in (("vendor/m", replies(completion("vendor/m"))), ("m", REFUSED))
    )
    text = f"""
providers:
  - {{name: fine, base_url: "{fine.url}/v1", api_key: "${{UPSTREAM_KEY}}", aliases: {{m: vendor/m}}}}
  - {{name: broken, base_url: "{broken.url}/v1", include: [m], api_key: "${{UPSTREAM_KEY}}"}}
  - {{name: listed, kind: static, models: [{{id: m}}]}}
keys: [{{name: alice, key: "${{CLIENT_KEY}}", models: ["provider:fine"]}}]
"""
    both = run(config, text, "--call", "m", env=CANARIES)
    document = checked(config, text, "--call", "m", env=CANARIES)
    of_alice = checked(config, text, "--call", "m", "--key", "alice", env=CANARIES)

    assert both.exit_code == 1
    assert "Calling m at 3 providers (timeout 30 s); this may cost money" in both.stderr
    assert both.stderr.endswith("Error: calls failed: broken\n")
    lines = without_times(both.stdout).partition("Calls of m\n")[2].split("\n")
    assert [" ".join(line.split()) for line in lines if line] == [
        "state provider id status time path",
        "ok fine as vendor/m 200 0.0 s /v1/chat/completions 3 + 5 tokens",
        "failing broken as m 502 0.0 s /v1/chat/completions provider_auth: The provider of this model rejected the "
        "proxy's credential (status 401); contact the proxy's administrator.",
        "not_callable listed as m",
    ]
    assert fine.requests[-1].headers["authorization"] == f"Bearer {CANARIES['UPSTREAM_KEY']}"
    question = [{"role": "user", "content": "Hi"}]
    assert body_of(fine) == {"model": "vendor/m", "messages": question, "max_tokens": 1}
    assert (document["ok"], document["against"]) == (False, None)
    first = {
        "provider": "fine",
        "id": "vendor/m",
        "target": None,
        "state": "ok",
        "path": "/v1/chat/completions",
        "status": 200,
        "tokens": {"input": 3, "output": 5},
        "error": None,
    }
    assert (results(document)[0], results(of_alice), of_alice["ok"]) == (first, [first], True)
    assert "canary" not in both.output + str(document)


def test_a_model_that_rejects_max_tokens_gets_the_other_parameter(config: Path, upstreams: FakeProviders) -> None:
    async def call(exchange: Exchange) -> None:
        is_accepted = "max_completion_tokens" in msgspec.json.decode(exchange.request.body)
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        await (replies(completion("m")) if is_accepted else replies({"error": {"message": message}}, 400))(exchange)

    provider = upstreams.open(providing("m", call=call))
    document = checked(config, f'providers: [{{name: a, base_url: "{provider.url}/v1"}}]', "--call", "m")

    assert [call["state"] for call in document["calls"]] == ["ok"]
    assert body_of(provider)["max_completion_tokens"] == 16


@pytest.mark.parametrize(
    ("settings", "model", "path"),
    [
        ("speaks: [anthropic]", "m", "/v1/messages"),
        ("speaks: [gemini]", "m", "/v1beta/models/m:generateContent"),
        ("speaks: [gemini]", {"id": "m", "type": "embedding"}, "/v1beta/models/m:embedContent"),
        ("speaks: [ollama]", "m", "/api/chat"),
        ("speaks: [ollama]", {"id": "m", "type": "embedding"}, "/api/embed"),
        ("", {"id": "m", "type": "embedding"}, "/v1/embeddings"),
        ("accept: [m]", "other", "/v1/chat/completions"),
        ("aliases: {m: other}", "other", "/v1/chat/completions"),
    ],
)
def test_calls_use_the_api_and_the_names_of_the_provider(
    settings: str, model: object, path: str, config: Path, upstreams: FakeProviders
) -> None:
    provider = upstreams.open(providing(model, call=replies({"usage": {"input_tokens": 3}})))
    text = f'providers: [{{name: a, base_url: "{provider.url}/v1", {settings}}}]'
    document = checked(config, text, "--call", "m")

    assert [(call["path"], call["state"]) for call in document["calls"]] == [(path, "ok")]
    assert provider.requests[-1].target == path


@pytest.mark.parametrize(
    ("api", "response", "tokens"),
    [
        ("gemini", {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5}}, {"input": 3, "output": 5}),
        ("ollama", {"prompt_eval_count": 3, "eval_count": 5}, {"input": 3, "output": 5}),
        ("ollama", {}, None),
    ],
)
def test_the_tokens_of_native_calls_are_shown(
    api: str, response: object, tokens: object, config: Path, upstreams: FakeProviders
) -> None:
    provider = upstreams.open(providing("m", call=replies(response)))
    text = f'providers: [{{name: a, base_url: "{provider.url}/v1", speaks: [{api}]}}]'
    document = checked(config, text, "--call", "m")

    assert [(call["state"], call["tokens"]) for call in document["calls"]] == [("ok", tokens)]


def test_the_message_of_a_failed_native_call_is_shown(config: Path, upstreams: FakeProviders) -> None:
    provider = upstreams.open(providing("m", call=replies({"error": "model is broken"}, 400)))
    text = f'providers: [{{name: a, base_url: "{provider.url}/v1", speaks: [ollama]}}]'
    document = checked(config, text, "--call", "m")

    assert [call["error"]["message"] for call in document["calls"]] == ["model is broken"]


def test_each_target_of_a_virtual_model_is_called(config: Path, upstreams: FakeProviders) -> None:
    limited = replies({"error": {"message": "slow down"}}, 429)
    first, second = (upstreams.open(providing("m", "n", call=call)) for call in (replies(completion("m")), limited))
    text = f"""
providers: [{{name: a, base_url: "{first.url}/v1"}}, {{name: b, base_url: "{second.url}/v1"}}]
models: [{{id: smart, targets: [n, m]}}]
"""
    document = checked(config, text, "--call", "smart")

    assert [(call["provider"], call["target"], call["id"], call["state"]) for call in document["calls"]] == [
        ("a", "n", "n", "ok"), ("b", "n", "n", "limited"), ("a", "m", "m", "ok"), ("b", "m", "m", "limited"),
    ]  # fmt: skip
    assert sorted(body["model"] for body in map(msgspec.json.decode, _bodies(first))) == ["m", "n"]


def _bodies(provider: FakeProvider) -> list[bytes]:
    return [request.body for request in provider.requests if request.method == "POST"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--call", "gpt-5"], "Error: model gpt-5 is not listed; did you mean gpt-4o?\n"),
        (["--call", "gpt-4o", "--key", "none"], "Error: model gpt-4o is not listed to key none\n"),
        (["--call", "gpt-4o"], "Error: no provider of gpt-4o can be called\n"),
    ],
)
def test_a_model_that_cannot_be_called_is_an_error(arguments: list[str], message: str, config: Path) -> None:
    text = """
providers: [{name: lab, kind: static, models: [{id: gpt-4o}]}]
keys: [{name: none, key: "${CLIENT_KEY}", models: ["provider:lab", "!gpt*"]}]
"""
    result = run(config, text, *arguments, env=CANARIES)

    assert (result.exit_code, result.stderr[-len(message) :]) == (1, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--call", "m", "--offline"], "--offline and --call are mutually exclusive."),
        (["--against", "http://127.0.0.1:9", "--offline"], "--offline and --against are mutually exclusive."),
        (["--against", "http://127.0.0.1:9", "--call", "m"], "--against and --call are mutually exclusive."),
    ],
)
def test_options_that_exclude_each_other_are_a_usage_error(arguments: list[str], message: str, config: Path) -> None:
    result = run(config, "providers: [{name: lab, kind: static, models: [{id: m}]}]", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
