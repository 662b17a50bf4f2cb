"""Providers: inherited settings, skipped providers, and every mistake in a provider."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.config import ConfigError, parse, read
from proxy.config.settings import Skipped
from tests.config.outcomes import BEARER, CANARY, PROVIDER, QUOTES, parsed, problems_of, provider_of


@pytest.mark.parametrize(
    ("cache", "defaults", "own", "ttl"),
    [
        pytest.param("", "", "", 300, id="built in"),
        pytest.param("ttl: 1s", "", "", 1, id="cache"),
        pytest.param("ttl: 1s", "ttl: 2s", "", 2, id="defaults before cache"),
        pytest.param("ttl: 1s", "ttl: 2s", "    ttl: 3s\n", 3, id="the provider first"),
    ],
)
def test_most_specific_setting_is_used(cache: str, defaults: str, own: str, ttl: float) -> None:
    assert provider_of(f"cache: {{{cache}}}\ndefaults: {{{defaults}}}\n{PROVIDER}{own}").ttl == ttl


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://h", "http://h/v1"),
        ("http://h/", "http://h/v1"),
        ("http://h:8080", "http://h:8080/v1"),
        ("http://h/v1", "http://h/v1"),
        ("http://h/v1/", "http://h/v1"),
        ("http://h/v1/models", "http://h/v1"),
        ("http://h/v1/models/", "http://h/v1"),
        ("http://h/api", "http://h/api"),
        ("http://h/models", "http://h"),
        ("http://h/my-models", "http://h/my-models"),
        ("http://h/models/v1", "http://h/models/v1"),
    ],
)
def test_base_url_gets_a_path_only_if_it_has_none(written: str, expected: str) -> None:
    assert provider_of(PROVIDER.replace("http://h", written)).base_url == expected


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param("    api_key: ${NOPE}\n", "NOPE not set or empty", id="one variable"),
        pytest.param(
            "    api_key: ${NOPE}\n    prefix: '${NONE}${NOPE}'\n    headers: {X: '${NEVER}'}\n",
            "NOPE, NONE, NEVER not set or empty",
            id="several",
        ),
        pytest.param(
            "    ca_file: ${NOPE}\n    api_key_file: ${NOPE}\n", "NOPE not set or empty", id="in names of files"
        ),
        pytest.param("    models: [{id: '${NOPE}'}]\n", "NOPE not set or empty", id="in a declared model"),
        pytest.param("    kind: ${NOPE}\n", "NOPE not set or empty", id="for the kind"),
        pytest.param(
            "    api_key_file: /run/sk-canary\n", "api_key_file (config.yaml:5) does not exist", id="no file with a key"
        ),
        pytest.param(
            "    api_key_file: /nope\n    prefix: ${NOPE}\n", "NOPE not set or empty", id="no variable and no file"
        ),
    ],
)
def test_optional_provider_without_its_variables_or_files_is_skipped_with_the_reason(more: str, reason: str) -> None:
    config = parsed(f"{PROVIDER}    optional: true\n{more}  - {{name: b, base_url: 'http://b'}}\n")
    assert config.skipped == (Skipped("a", reason),)
    assert [provider.name for provider in config.providers] == ["b"]


@pytest.mark.parametrize("yes", ["true", "yes", "'true'", "${YES:-1}"])
def test_optional_accepts_every_spelling_of_true(yes: str) -> None:
    assert parsed(f"{PROVIDER}    api_key: ${{NOPE}}\n    optional: {yes}\n").skipped == (
        Skipped("a", "NOPE not set or empty"),
    )


def test_file_is_valid_if_all_providers_are_skipped() -> None:
    assert parsed(f"{PROVIDER}    optional: true\n    api_key: ${{NOPE}}\n").providers == ()


def test_optional_provider_with_its_variables_is_used() -> None:
    provider = provider_of(f"{PROVIDER}    optional: true\n    api_key: ${{API_KEY}}\n")
    assert provider.api_key == SecretStr(CANARY)


def test_skipped_provider_is_validated_except_for_its_files() -> None:
    text = f"{PROVIDER}    optional: true\n    api_key: ${{NOPE}}\n    tll: 5m\n    retries: '${{NOPE}}'\n"
    text += "    ca_file: /nowhere/to/be/found\n"
    assert problems_of(text) == ["config.yaml:6: providers[0].tll: unknown setting; did you mean 'ttl'?"]


def test_names_of_skipped_providers_are_unique_too() -> None:
    text = f"{PROVIDER}    optional: true\n    api_key: ${{NOPE}}\n  - {{name: a, base_url: 'http://b'}}\n"
    assert problems_of(text) == [
        "config.yaml:6: providers[1].name: duplicate name 'a', also at config.yaml:2; names must be unique"
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "its content is empty; set a value or remove it"),
        ("\n", "its content is empty; set a value or remove it"),
        (
            f"{CANARY}é",
            "its content must be printable ASCII without leading or trailing spaces, because it is sent in a header",
        ),
        (f"Bearer {CANARY}", f"its content {BEARER}"),
        (f"'{CANARY}'", f"its content {QUOTES}"),
        (
            f"{CANARY}\nb",
            "its content must be printable ASCII without leading or trailing spaces, because it is sent in a header",
        ),
    ],
)
def test_api_key_from_a_file_is_validated(content: str, problem: str) -> None:
    text = f"{PROVIDER}    api_key_file: f\n"
    assert problems_of(text, files={"f": content}) == [f"config.yaml:4: providers[0].api_key_file: {problem}"]


def test_whitespace_around_an_api_key_in_a_file_is_removed() -> None:
    assert provider_of(f"{PROVIDER}    api_key_file: f\n", files={"f": f"\n {CANARY}\n"}).api_key == SecretStr(CANARY)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        pytest.param(PermissionError(13, "Permission denied"), "cannot be read: Permission denied", id="no permission"),
        pytest.param(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "is not a UTF-8 text file", id="not UTF-8"),
    ],
)
def test_unreadable_api_key_file_is_a_problem_even_if_optional(error: Exception, why: str) -> None:
    def read_secret(path: str) -> str:
        raise error

    with pytest.raises(ConfigError) as rejected:
        parse(f"{PROVIDER}    optional: true\n    api_key_file: {CANARY}\n", read_secret=read_secret)
    assert [str(problem) for problem in rejected.value.problems] == [f"config.yaml:5: providers[0].api_key_file: {why}"]


def test_api_keys_keep_their_order() -> None:
    text = f'{PROVIDER}    api_keys: ["${{API_KEY}}", sk-second]\n'
    provider = provider_of(text)
    assert (provider.all_api_keys, provider.key_strategy) == ((SecretStr(CANARY), SecretStr("sk-second")), "order")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param("api_keys: [sk-1, '${NOPE}']", "NOPE not set or empty", id="a variable"),
        pytest.param("api_keys_files: [f, none]", "api_keys_files[1] (config.yaml:5) does not exist", id="a file"),
        pytest.param(
            "oauth: {url: 'https://l', id: i, secret_file: none}",
            "oauth.secret_file (config.yaml:5) does not exist",
            id="a file of a login",
        ),
    ],
)
def test_optional_provider_without_one_of_its_secrets_is_skipped(settings: str, reason: str) -> None:
    config = parsed(f"{PROVIDER}    optional: true\n    {settings}\n", files={"f": CANARY})
    assert (config.providers, config.skipped) == ((), (Skipped("a", reason),))


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "secret: is missing; add `secret: ...`"),
        ("secret: s, secret_file: f", "secret_file: conflicts with secret; set only one"),
        ("secret_file: none", "secret_file: cannot be read: No such file or directory"),
        (
            "secret_file: empty",
            "secret_file: its content is empty; set a value or remove it",
        ),
    ],
)
def test_mistakes_in_the_secret_of_a_login_are_problems(secret: str, problem: str) -> None:
    text = f"{PROVIDER}    oauth: {{url: 'https://l', id: i, {secret}}}\n"
    assert problems_of(text, files={"f": CANARY, "empty": "\n"}) == [f"config.yaml:4: providers[0].oauth.{problem}"]


def test_secrets_of_logins_are_read_from_files() -> None:
    text = f"""\
{PROVIDER}    oauth: {{url: 'https://l', id: i, secret_file: f}}
  - {{name: p, kind: pangu, base_url: 'http://h', workspace_id: w, model_ids: [m],
     iam: {{url: 'https://i', domain: d, user: u, password_file: g, project: p}}}}
"""
    first, second = parsed(text, files={"f": f"{CANARY}\n", "g": "pass wörd\n"}).providers
    assert (first.oauth and first.oauth.secret, second.iam and second.iam.password) == (
        SecretStr(CANARY),
        SecretStr("pass wörd"),
    )


def test_files_are_read(tmp_path: Path, corp_pem: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{CANARY}\n")
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + f"{PROVIDER}    api_key_file: {secret}\n    ca_file: {corp_pem}\n".encode())
    (provider,) = read(file, {}).providers
    assert (provider.api_key, provider.ca_file) == (SecretStr(CANARY), corp_pem)


def test_invalid_certificate_and_key_files_are_problems(tmp_path: Path) -> None:
    empty, nowhere = tmp_path / "empty", tmp_path / "nowhere"
    empty.touch()
    text = f"""\
defaults: {{ca_file: {empty}}}
{PROVIDER}  - {{name: b, base_url: 'http://b', ca_file: {nowhere}, api_key_file: {nowhere}}}
  - {{name: c, base_url: 'http://c', ca_file: "\\0", api_key_file: "a\\0b"}}
  - {{name: d, base_url: 'http://d', api_key_file: {tmp_path}}}
"""
    with pytest.raises(ConfigError) as rejected:
        parse(text)
    assert [str(problem) for problem in rejected.value.problems] == [
        "config.yaml:1: defaults.ca_file: contains no PEM certificate",
        "config.yaml:5: providers[1].api_key_file: cannot be read: No such file or directory",
        "config.yaml:5: providers[1].ca_file: cannot be read: No such file or directory",
        "config.yaml:6: providers[2].api_key_file: must not contain control characters",
        "config.yaml:6: providers[2].ca_file: must not contain control characters; found '\\x00'",
        "config.yaml:7: providers[3].api_key_file: cannot be read: Is a directory",
    ]


def test_internal_fields_are_not_settings() -> None:
    (problem,) = problems_of(f"{PROVIDER}    settings: {{workspace_id: w}}\n")
    assert problem.startswith(
        "config.yaml:4: providers[0].settings: unknown setting; valid settings: ttl, max_stale, confirm_empty"
    )


def test_missing_name_does_not_reserve_a_name() -> None:
    text = "providers:\n  - {base_url: 'http://h'}\n  - {name: None, base_url: 'http://h'}\n"
    assert problems_of(text) == ["config.yaml:2: providers[0].name: is missing; add `name: ...`"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"http://h/v1{endpoint}", f"must not end with an endpoint; remove `{endpoint}`: the proxy adds it")
        for endpoint in ("/chat/completions", "/completions", "/responses", "/messages", "/embeddings")
    ]
    + [
        (
            "http://h/v1/chat/completions/",
            "must not end with an endpoint; remove `/chat/completions`: the proxy adds it",
        ),
        ("http://h/v1/v1", "ends with the same version twice, like `/v1/v1`; remove one"),
        ("http://h/api/v1beta/v1beta/", "ends with the same version twice, like `/v1/v1`; remove one"),
    ],
)
def test_base_url_with_an_endpoint_or_a_doubled_version_is_a_problem(url: str, problem: str) -> None:
    assert problems_of(PROVIDER.replace("http://h", url)) == [f"config.yaml:3: providers[0].base_url: {problem}"]


@pytest.mark.parametrize("url", ["http://h/v1/v2", "http://v1/v1", "http://h/messages/v1", "http://h/x/v1/1"])
def test_base_url_with_similar_paths_is_valid(url: str) -> None:
    assert provider_of(PROVIDER.replace("http://h", url)).base_url == url


def test_durations_without_a_unit_are_a_warning() -> None:
    text = f"cache: {{ttl: 300}}\ndefaults:\n  timeout: 6000\n{PROVIDER}    initial_wait: ${{WAIT}}\n"
    text += "  - {name: b, base_url: 'http://h', retries: 1, idle_timeout: 90s}\n"
    why = "has no unit and is read as seconds; add a unit, like 250ms, 6s or 5m"
    config = parsed(text, {"WAIT": "4"})
    assert config.warnings == (
        f"config.yaml:1: cache.ttl: 300 {why}",
        f"config.yaml:3: defaults.timeout: 6000 {why}",
        f"config.yaml:7: providers[0].initial_wait: ${{WAIT}} {why}",
    )
    assert [provider.timeout for provider in config.providers] == [6000, 6000]


def test_a_merged_template_fills_in_providers() -> None:
    text = """\
x-common: &common
  headers: {X-Team: platform}
  api_key: ${NOPE}
  timeout: 30s
providers:
  - {<<: *common, name: a, base_url: "http://h", api_key: "${API_KEY}"}
  - {<<: *common, name: b, base_url: "http://h", optional: true}
"""
    config = parsed(text)
    assert [(provider.name, provider.timeout, provider.api_key) for provider in config.providers] == [
        ("a", 30, SecretStr(CANARY))
    ]
    assert config.skipped == (Skipped("b", "NOPE not set or empty"),)
