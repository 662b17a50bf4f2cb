"""The section `notify`."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from proxy.config import Config, ConfigError, parse
from tests.fakes import config_of

SECRET = "whsec_" + base64.b64encode(b"fake-secret-of-a-webhook").decode()
PROVIDERS = "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]\n"
CANARY = "canary-of-the-url"


def configured(settings: str, more: str = "") -> Config:
    return config_of(f"notify: [{{{settings}}}]\n{more}{PROVIDERS}")


def problems(settings: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        configured(settings)
    return [str(problem).partition(": ")[2] for problem in raised.value.problems]


def test_a_webhook_gets_all_events_by_default() -> None:
    (webhook,) = configured(f"webhook: 'https://hooks.example/p?token={CANARY}', secret: {SECRET}").notify

    assert webhook.webhook.get_secret_value() == f"https://hooks.example/p?token={CANARY}"
    assert webhook.signing_key == b"fake-secret-of-a-webhook"
    assert webhook.events == (
        "model_added",
        "model_removed",
        "model_changed",
        "provider_failing",
        "provider_recovered",
    )
    assert CANARY not in repr(webhook)
    assert SECRET not in repr(webhook)


def test_proxy_and_authorities_are_those_of_the_defaults() -> None:
    settings = f"webhook: 'https://hooks.example', secret: {SECRET}"
    (inherited,) = configured(settings, "defaults: {proxy: 'http://egress:3128'}\n").notify
    (own,) = configured(f"{settings}, proxy: 'http://own:3128'", "defaults: {proxy: 'http://egress:3128'}\n").notify

    assert inherited.proxy
    assert own.proxy
    assert inherited.proxy.get_secret_value() == "http://egress:3128"
    assert own.proxy.get_secret_value() == "http://own:3128"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/p", "http://[::1]/p", "http://10.1.2.3", "http://192.168.1.1/", "http://localhost/p"]
)
def test_http_is_allowed_to_loopback_and_private_addresses(url: str) -> None:
    assert configured(f"webhook: '{url}', secret: {SECRET}").notify


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://hooks.example/p", "must begin with https://, unless its host is a loopback or private address"),
        ("http://8.8.8.8/p", "must begin with https://, unless its host is a loopback or private address"),
        ("https://user:x@hooks.example", "must not contain a user or password"),
        ("https://hooks.example/p#x", "must be a URL like https://hooks.example.com/path"),
        ("ftp://hooks.example", "must be a URL like https://hooks.example.com/path"),
        ("https://", "must be a URL like https://hooks.example.com/path"),
    ],
)
def test_other_urls_are_problems_that_do_not_repeat_them(url: str, message: str) -> None:
    assert problems(f"webhook: '{url}', secret: {SECRET}") == [f"notify[0].webhook: {message}"]


@pytest.mark.parametrize(
    "secret", ["plain", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64", SECRET.removeprefix("whsec_")]
)
def test_other_secrets_are_problems(secret: str) -> None:
    assert problems(f"webhook: 'https://hooks.example', secret: '{secret}'") == [
        "notify[0].secret: must be `whsec_` and the base64 of 24 to 64 random bytes"
    ]


def test_a_secret_is_required_once() -> None:
    url = "webhook: 'https://hooks.example'"
    assert problems(url) == [
        "notify[0].secret_file: is missing; requests are signed with it: `whsec_` and the base64 of 24 bytes"
    ]
    assert problems(f"{url}, secret: {SECRET}, secret_file: /run/secrets/hook") == [
        "notify[0].secret_file: conflicts with secret; set only one"
    ]


def test_unknown_events_are_problems() -> None:
    expected = "must be a list of model_added, model_removed, model_changed, provider_failing and provider_recovered"
    settings = f"webhook: 'https://hooks.example', secret: {SECRET}, events"

    assert problems(f"{settings}: [model_add]") == [f"notify[0].events: {expected}; did you mean 'model_added'?"]
    assert problems(f"{settings}: []") == [f"notify[0].events: {expected}"]
    assert problems(f"{settings}: model_added") == [f"notify[0].events: {expected}; found 'model_added'"]


def test_the_secret_is_read_from_its_file_and_again_when_that_changes(tmp_path: Path) -> None:
    file = tmp_path / "hook"
    file.write_text(f"{SECRET}\n")
    (webhook,) = configured(f"webhook: 'https://hooks.example', secret_file: '{file}'").notify
    assert webhook.signing_key == b"fake-secret-of-a-webhook"

    file.write_text("whsec_" + base64.b64encode(b"another-secret-of-a-hook").decode())
    (secret,) = webhook.secret_files
    secret.reload()
    assert webhook.signing_key == b"another-secret-of-a-hook"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff", "is not a UTF-8 text file"),
        (b"wrong", "its content must be `whsec_` and the base64 of 24 to 64 random bytes"),
    ],
)
def test_a_file_without_a_secret_is_a_problem(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "hook"
    if content is not None:
        file.write_bytes(content)

    assert problems(f"webhook: 'https://hooks.example', secret_file: '{file}'") == [f"notify[0].secret_file: {message}"]


def test_a_missing_file_and_variable_are_warnings_offline() -> None:
    text = "notify: [{webhook: 'https://hooks.example', secret_file: /missing}, {webhook: '${HOOK}', secret: '${S}'}]\n"
    config = parse(text + PROVIDERS, environ={}, offline=True)

    assert len(config.warnings) == 3


def test_secrets_do_not_change_the_generation() -> None:
    one = configured(f"webhook: 'https://hooks.example/1', secret: {SECRET}")
    other = configured(f"webhook: 'https://hooks.example/2', secret: {SECRET}")

    assert one.generation == other.generation != config_of(PROVIDERS).generation
    assert one != other
