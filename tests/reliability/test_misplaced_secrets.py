"""Secrets in wrong places of config.yaml, and keys of clients that can be guessed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from proxy.config import Config, ConfigError
from proxy.config.misplaced import looks_secret, masked
from tests.config.outcomes import PROVIDER, outcome, problems_of
from tests.config.test_loader import EVERYTHING
from tests.fakes import digest

SECRETS = (
    "sk-canary-1234567890",
    "q8ZcanaryB4xT0pWm2Lk9",
    "mp-canary_5d1XbN7w0aQm3PzR",
    "hf_canary0123456789",
    "0c9a5e52-cafe-4c1e-9d2b-6f0e8a1b2c3d",
)
ENVIRON = dict.fromkeys(("A", "B", "C", "D", "E"), "sk-fake-of-the-environment")


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from places(inner, (*path, name))


def replaced(document: Any, path: tuple[str | int, ...], secret: str, *, as_name: bool) -> str:
    """The document with a secret in place of one value, or of the name of one setting."""
    changed = copy.deepcopy(document)
    parent = changed
    for part in path[:-1]:
        parent = parent[part]
    if as_name:
        parent[secret] = parent.pop(path[-1])
    else:
        parent[path[-1]] = secret
    return json.dumps(changed, default=str)  # is YAML


def shown(result: Config | ConfigError) -> str:
    """Everything that operators see of a file before it is served."""
    if isinstance(result, ConfigError):
        return f"{result} {result!r} {result.problems}"
    return f"{result.warnings} {[skipped.reason for skipped in result.skipped]}"


@pytest.mark.parametrize("secret", SECRETS[:2])
def test_a_secret_in_place_of_any_value_is_not_repeated(secret: str) -> None:
    document = yaml.safe_load(EVERYTHING)
    repeated = [
        path
        for path in places(document)
        if secret in shown(outcome(replaced(document, path, secret, as_name=False), ENVIRON))
    ]
    assert repeated == []


@pytest.mark.parametrize("secret", SECRETS[:1])
def test_a_secret_in_place_of_the_name_of_any_setting_is_not_repeated(secret: str) -> None:
    document = yaml.safe_load(EVERYTHING)
    named = [path for path in places(document) if isinstance(path[-1], str)]
    repeated = [
        path for path in named if secret in shown(outcome(replaced(document, path, secret, as_name=True), ENVIRON))
    ]
    assert repeated == []


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "line",
    [
        "    api_key: {}: x", "    api_key:{}", "    api_key: '{}", "    {}", "  {}: [", "    api_key: \"{}\\q\"",
        "    api_key: !{} x", "    api_key: *{}", "    api_key: &{} x: y", "\tapi_key: {}", "    api_key: @{}",
        "    ? {}",
        "    api_key: %{}", "    api_key: {}\n    api_key: {}", "    api_key: [{}, {}", "    <<: {}", "--- {}",
        "    base_url: {}", "    base_url: http://{}@h", "    base_url: http://h/?{}", "    kind: {}", "    ttl: {}",
    ],
)  # fmt: skip
def test_a_secret_on_an_invalid_line_is_not_repeated(line: str, secret: str) -> None:
    text = PROVIDER + line.replace("{}", secret) + "\n"
    error = outcome(text)
    assert isinstance(error, ConfigError)
    assert secret not in shown(error)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("providers: [{name: SECRET, base_url: 'http://h'}]", "providers[0].name", id="provider"),
        pytest.param(PROVIDER + "server: {host: SECRET}", "server.host", id="host"),
        pytest.param(
            PROVIDER + f"keys: [{{name: SECRET, hash: '{digest('sk-fake-k')}', models: ['*']}}]", "keys[0].name",
            id="key",
        ),
    ],
)  # fmt: skip
def test_names_that_look_like_a_secret_are_rejected_because_they_are_shown(text: str, where: str, secret: str) -> None:
    (problem,) = problems_of(text.replace("SECRET", secret))
    assert problem.split(": ")[1] == where
    assert "looks like an API key; it would be shown in logs and responses, so use another value" in problem


@pytest.mark.parametrize(
    "text",
    [
        "sk-telecom", "gpt-4o-mini-2024-07-18", "Qwen3-235B-A22B-Instruct-2507", "my-provider-eu-west-1", "aihubmix",
        "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "deepseek-r1-distill-qwen-32b", "claude-opus-5[1m]",
        "a" * 64,
    ],
)  # fmt: skip
def test_names_and_ids_do_not_look_like_secrets(text: str) -> None:
    assert not looks_secret(text)


def test_digests_are_shown() -> None:
    text = f'is a plaintext secret; write hash: "{digest("sk-fake")}" instead'
    assert masked(text) == text


@pytest.mark.parametrize("key", ["", "x", "7", " "])
def test_a_digest_of_a_key_of_at_most_one_character_is_rejected(key: str) -> None:
    text = PROVIDER + f"keys: [{{name: k, hash: '{digest(key)}', models: ['*']}}]"
    assert problems_of(text) == [
        "config.yaml:4: keys[0].hash: is the digest of a key of at most one character; it can be guessed: generate "
        "one with "
        "`models-proxy keygen`"
    ]


@pytest.mark.parametrize("key", ["x", "secret", "7654321"])
def test_a_short_key_is_rejected(key: str) -> None:
    text = PROVIDER + "keys: [{name: k, key: '${K}', models: ['*']}]"
    assert problems_of(text, {"K": key}) == [
        "config.yaml:4: keys[0].key: is a key of fewer than 8 characters; it can be guessed: generate one with "
        "`models-proxy keygen`"
    ]
