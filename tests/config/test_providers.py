"""Providers: inherited settings, skipped providers, and every mistake in a provider."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.config import ConfigError, parse, read
from proxy.config.settings import Skipped
from proxy.dialects import DIALECTS
from tests.config.outcomes import CANARY, LIST, NO_VALUE, PAIRS, PROVIDER, STRING, parsed, problems_of, provider_of

BEARER = "must not begin with `Bearer `; remove it: the proxy adds it"
QUOTES = "must not begin or end with a quote; remove the quotes: they are part of the value"


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
    ("settings", "problems"),
    [
        pytest.param("api_keys: []", ["config.yaml:4: providers[0].api_keys: must not be empty"], id="no key"),
        pytest.param("api_keys: sk-canary", [f"config.yaml:4: providers[0].api_keys: {LIST}"], id="a string"),
        pytest.param("api_keys: [1]", [f"config.yaml:4: providers[0].api_keys[0]: {STRING}"], id="a number"),
        pytest.param(
            "api_keys: [Bearer sk-canary, sk-canary-2]",
            [f"config.yaml:4: providers[0].api_keys[0]: {BEARER}"],
            id="a prefix",
        ),
        pytest.param(
            "api_keys: [sk-1, '${NOPE}']",
            [
                "config.yaml:4: providers[0].api_keys[1]: environment variable NOPE is not set or empty; set it, or "
                "add a "
                "default: ${NOPE:-...}, or set `optional: true` for the provider"
            ],
            id="a variable that is not set",
        ),
        pytest.param(
            "api_keys: [sk-canary, sk-2, sk-canary]",
            ["config.yaml:4: providers[0].api_keys[2]: is the same key as providers[0].api_keys[0]; remove one"],
            id="a key twice",
        ),
        pytest.param(
            "api_keys_files: [f, g]",
            [
                "config.yaml:4: providers[0].api_keys_files[1]: is the same key as providers[0].api_keys_files[0]; "
                "remove one"
            ],
            id="a key in two files",
        ),
        pytest.param(
            "api_keys_files: [f, sk-canary]",
            ["config.yaml:4: providers[0].api_keys_files[1]: cannot be read: No such file or directory"],
            id="a key instead of a path",
        ),
        pytest.param(
            "{api_key: sk-1, api_keys: [sk-2], api_keys_files: [f]}",
            [
                "config.yaml:4: providers[0].api_keys: conflicts with api_key; set only one",
                "config.yaml:4: providers[0].api_keys_files: conflicts with api_key; set only one",
            ],
            id="several credentials",
        ),
        pytest.param(
            "{api_keys: [sk-1], key_strategy: random}",
            ["config.yaml:4: providers[0].key_strategy: must be 'order' or 'spread'; found 'random'"],
            id="an unknown strategy",
        ),
    ],
)
def test_mistakes_in_api_keys_are_problems(settings: str, problems: list[str]) -> None:
    own = settings.strip("{}")
    text = f"providers:\n  - name: a\n    base_url: http://h\n    <<: {{{own}}}\n"
    assert problems_of(text, files={"f": CANARY, "g": f"{CANARY}\n"}) == problems


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


def test_login_without_a_password_is_a_problem() -> None:
    text = (
        "providers: [{name: p, kind: pangu, base_url: 'http://h', workspace_id: w, model_ids: [m], "
        "iam: {url: 'https://i', domain: d, user: u, project: p}}]"
    )
    assert problems_of(text) == ["config.yaml:1: providers[0].iam.password: is missing; add `password: ...`"]


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


ONE_STAR = "a pattern needs exactly one `*` on both sides, like `claude-*: anthropic/claude-*`"
STATUSES = (
    "must be a list of status codes (400 to 599) and the names no_connection, stream_error, empty_stream and timeout, "
    "like [no_connection, 429, 503]"
)


@pytest.mark.parametrize(
    ("providers", "problem"),
    [
        ("server: {}\n", "config.yaml:1: providers: is missing or empty; add at least one provider"),
        ("providers:\n", "config.yaml:1: providers: is missing or empty; add at least one provider"),
        ("providers: []\n", "config.yaml:1: providers: is missing or empty; add at least one provider"),
        ("providers:\n  name: a\n  base_url: http://h\n", f"config.yaml:1: providers: {LIST}"),
        ("providers:\n  a: {base_url: http://h}\n", f"config.yaml:1: providers: {LIST}"),
        ("providers: http://h\n", f"config.yaml:1: providers: {LIST}"),
        ("providers:\n  - http://h\n", "config.yaml:2: providers[0]: must be a mapping that starts with `name: ...`"),
        ("providers:\n  -\n", "config.yaml:2: providers[0]: must be a mapping that starts with `name: ...`"),
        ("providers:\n  - base_url: http://h\n", "config.yaml:2: providers[0].name: is missing; add `name: ...`"),
        (
            "providers:\n  - name: 360\n    base_url: http://h\n",
            f"config.yaml:2: providers[0].name: {STRING}; found '360'",
        ),
        (
            "providers:\n  - name: on\n    base_url: http://h\n",
            f"config.yaml:2: providers[0].name: {STRING}; found 'on'",
        ),
        ("providers:\n  - name:\n    base_url: http://h\n", f"config.yaml:2: providers[0].name: {NO_VALUE}"),
        (
            "providers:\n  - name: a\n",
            "config.yaml:2: providers[0].base_url: is missing; add the URL of the provider's API, like https://api.example.com/v1",
        ),
        (
            f"{PROVIDER}  - name: a\n    base_url: http://i\n",
            "config.yaml:4: providers[1].name: duplicate name 'a', also at config.yaml:2; names must be unique",
        ),
        (
            "providers:\n  - name: a\n    kind: static\n",
            "config.yaml:2: providers[0].models: is missing; kind static lists only the models declared there",
        ),
        (
            "providers:\n  - name: a\n    kind: static\n    models: []\n",
            "config.yaml:4: providers[0].models: is missing; kind static lists only the models declared there",
        ),
    ],
)
def test_incomplete_provider_is_one_problem_with_a_fix(providers: str, problem: str) -> None:
    assert problems_of(providers) == [problem]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("base_ulr: http://h", "base_ulr: unknown setting; did you mean 'base_url'?"),
        ("duplicates: by_provider", "duplicates: unknown setting; it belongs under `merge`"),
        ("kind: openai\n    workspace_id: w", "workspace_id: is only supported by kind pangu"),
        ("include: '*'", f"include: {LIST}; found '*'"),
        ("exclude: {a: b}", f"exclude: {LIST}"),
        ("ttl: 5 min", "ttl: must be a positive duration, like 250ms, 4s, 5m, 24h or 7d; found "
         "'5 min'"),
        ("max_body: 16MB", "max_body: must be a positive size, like 512KiB or 16MiB; "
         "found '16MB'"),
        ("extra_fields: some", "extra_fields: must be `all`, `none` or a list of field names; found 'some'"),
        ("extra_fields:", f"extra_fields: {NO_VALUE}"),
        ("api_key:", f"api_key: {NO_VALUE}"),
        ("api_key: ''", "api_key: is empty; set a value or remove it"),
        ("api_key: 1234567", f"api_key: {STRING}"),
        ("api_key_file: ''", "api_key_file: must not be empty"),
        ("kind: opnai", "kind: unknown kind; did you mean 'openai'?"),
        ("kind: bedlam", f"kind: unknown kind; valid kinds: {', '.join(DIALECTS)}"),
        ("kind: 7", f"kind: {STRING}; found '7'"),
        ("kind: [openai]", "kind: must be a string"),
        ("kind:", f"kind: {NO_VALUE}"),
        ("optional: maybe", "optional: must be true or false; found 'maybe'"),
        ("aliases: [a]", f"aliases: {PAIRS}"),
        ("aliases: {a: 5}", f"aliases.a: {STRING}; found '5'"),
        ("aliases: {a: }", f"aliases.a: {NO_VALUE}"),
        ("aliases: {'': a}", "aliases: invalid name: must not be empty"),
        ("aliases: {a: ''}", "aliases.a: must not be empty"),
        ("aliases: {'c-*': gpt-9}", f"aliases.c-*: {ONE_STAR}"),
        ("aliases: {c: 'gpt-*'}", f"aliases.c: {ONE_STAR}"),
        ("aliases: {'c-*-*': 'd-*-*'}", f"aliases.c-*-*: {ONE_STAR}"),
        ("aliases: {'c-?': 'd-?'}", "aliases.c-?: `?` is not supported in aliases; use one `*` on both sides"),
        ("accept: '*:online'", f"accept: {LIST}; found '*:online'"),
        ("speaks: [openai, grpc]", "speaks[1]: must be 'openai' or 'anthropic'; found 'grpc'"),
        ("speaks: openai", f"speaks: {LIST}; found 'openai'"),
        ("speaks: []", "speaks: must not be empty"),
        ("call: false\n    speaks: [openai]",
         "speaks: has no effect: the models of this provider cannot be called; remove it, or set `call`"),
        ("call: false\n    accept: ['*']",
         "accept: has no effect: the models of this provider cannot be called; remove it, or set `call`"),
        ("list_aliases: some", "list_aliases: must be true or false; found 'some'"),
        ('prefix: "a\\n"', "prefix: must not contain control characters; found 'a\\n'"),
        ("kind: openai\n    iam: {url: 'https://i', domain: d, user: u, password: p, project: p}",
         "iam: is only supported by kind pangu; this provider has kind openai"),
        ("models: {id: m}", f"models: {LIST}"),
        ("models: [[m]]",
         "models[0]: must be an id in quotes, or a mapping like {id: my-model, context_length: 32768}"),
        ("models: [{id: m}, {owned_by: o}]",
         "models[1]: missing `id`; add `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: 5}]",
         "models[0]: id is not a string; add `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: ''}]",
         "models[0]: empty id; add `id: ...`, in quotes if it looks like a number"),
        ("call: true", "call: must be `false` or {base_url: ..., auth: ...}; found 'true'"),
        ("call: {}", "call.base_url: is missing; add `base_url: ...`"),
        ("call: {base_url: ftp://h}", "call.base_url: must be a URL like https://api.example.com/v1"),
        ("call: {base_url: http://h, ath: bearer}", "call.ath: unknown setting; did you mean 'auth'?"),
        ("call: {base_url: http://h, auth: x}", "call.auth: must be bearer, basic, none, {header: NAME} or "
         "{query: NAME}, with a NAME like X-Api-Key; found 'x'"),
        ("failover_on: 429", f"failover_on: {STATUSES}; found '429'"),
        ("failover_on: [200]", f"failover_on: {STATUSES}"),
        ("failover_on: [429, timeouts]", f"failover_on: {STATUSES}; did you mean 'timeout'?"),
        ("failover_on: [429, stream_errors]", f"failover_on: {STATUSES}; did you mean 'stream_error'?"),
        ("failover_to: owner", "failover_to: must be 'same_owner', 'listed' or 'any'; found 'owner'"),
        ("sse_keepalive: 3s", "sse_keepalive: unknown setting; it belongs under `server`"),
        ("headers: {X-Key: 'a', 'Auth orization': b}",
         "headers: invalid name: must be a valid HTTP header name; write `Name: value`, like `X-Team: platform`"),
        ("prefix: '${MY-PREFIX}'",
         "prefix: invalid variable reference; write `${NAME}` or `${NAME:-default}`, or `$${` for a literal `${`"),
        ("api_key: $OPENAI_API_KEY", "api_key: variable without braces; write `${NAME}` instead of `$NAME`"),
        ("api_key: ${OPENAI_API_KEY:?}", "api_key: `${NAME:?}` is not supported; write `${NAME}`, which already fails "
         "if NAME is not set or empty"),
        ("api_key: Bearer sk-canary", f"api_key: {BEARER}"),
        ("api_key: '\"sk-canary\"'", f"api_key: {QUOTES}"),
        ("call: {base_url: 'http://h/v1/responses'}",
         "call.base_url: must not end with an endpoint; remove `/responses`: the proxy adds it"),
        ("max-stale: 1h", "`max-stale`: unknown setting; did you mean 'max_stale'?"),
    ],
)  # fmt: skip
def test_mistake_in_a_provider_is_one_problem_with_a_fix(setting: str, problem: str) -> None:
    line, shown = 4 + setting.count("\n"), "" if problem.startswith("`") else "."
    assert problems_of(f"{PROVIDER}    {setting}\n") == [f"config.yaml:{line}: providers[0]{shown or ': '}{problem}"]


def test_internal_fields_are_not_settings() -> None:
    (problem,) = problems_of(f"{PROVIDER}    settings: {{workspace_id: w}}\n")
    assert problem.startswith(
        "config.yaml:4: providers[0].settings: unknown setting; valid settings: ttl, max_stale, confirm_empty"
    )


PANGU = """\
providers:
  - name: a
    kind: pangu
    base_url: http://h
"""


AZURE = PROVIDER + "    kind: azure\n    deployments: "


@pytest.mark.parametrize(
    ("value", "path"),
    [("true", "/openai/deployments"), ("'True'", "/openai/deployments"), ("false", "/openai/models"),
     ("'${ON}'", "/openai/deployments")],
)  # fmt: skip
def test_flag_of_a_kind_selects_its_list(value: str, path: str) -> None:
    (provider,) = parse(AZURE + value, environ={"ON": "true"}).providers
    assert provider.dialect.path == path


def test_params_apply_to_the_list_that_a_flag_selects() -> None:
    (provider,) = parse(AZURE + "true\n    params: {api-version: '2022-12-01'}").providers
    assert (provider.dialect.path, provider.dialect.params) == ("/openai/deployments", {"api-version": "2022-12-01"})


@pytest.mark.parametrize("value", ["maybe", "1", "[true]", "''"])
def test_flag_of_a_kind_is_true_or_false(value: str) -> None:
    (problem,) = problems_of(AZURE + value)
    assert problem.startswith("config.yaml:5: providers[0].deployments: must be true or false")


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        pytest.param(
            "",
            [
                "config.yaml:2: providers[0].model_ids: is missing; kind pangu requires it",
                "config.yaml:2: providers[0].workspace_id: is missing; kind pangu requires it",
            ],
            id="nothing",
        ),
        pytest.param(
            "    workspace_id:\n    model_ids: []\n",
            [
                "config.yaml:5: providers[0].workspace_id: is missing; kind pangu requires it",
                f"config.yaml:6: providers[0].model_ids: {LIST}; at least one entry is required",
            ],
            id="no values after the colons",
        ),
        pytest.param(
            "    workspace_id: ''\n    model_ids: [m, '', [x]]\n",
            [
                "config.yaml:5: providers[0].workspace_id: must be a non-empty string",
                "config.yaml:6: providers[0].model_ids[1]: must be a non-empty string",
                "config.yaml:6: providers[0].model_ids[2]: must be a non-empty string",
            ],
            id="empty strings, and a list in a list",
        ),
        pytest.param(
            "    workspce_id: w\n    workspace_id: w\n    model_ids: m\n",
            [
                "config.yaml:5: providers[0].workspce_id: unknown setting; did you mean 'workspace_id'?",
                f"config.yaml:7: providers[0].model_ids: {LIST}; at least one entry is required",
            ],
            id="a typo, and a string for a list",
        ),
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n    api_key: k\n    iam: {ulr: 'https://i', domain: d, user: u,"
            " password: , project: 5}\n",
            [
                "config.yaml:8: providers[0].iam: conflicts with api_key; set only one",
                f"config.yaml:8: providers[0].iam.password: {NO_VALUE}",
                f"config.yaml:8: providers[0].iam.project: {STRING}; found '5'",
                "config.yaml:8: providers[0].iam.ulr: unknown setting; did you mean 'url'?",
                "config.yaml:8: providers[0].iam.url: is missing; add `url: ...`",
            ],
            id="a login with mistakes, and a key",
        ),
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n    iam: u:p\n",
            [f"config.yaml:7: providers[0].iam: {PAIRS}"],
            id="no login",
        ),
    ],
)
def test_settings_of_a_kind_are_validated(settings: str, problems: list[str]) -> None:
    assert problems_of(PANGU + settings) == problems


def test_missing_name_does_not_reserve_a_name() -> None:
    text = "providers:\n  - {base_url: 'http://h'}\n  - {name: None, base_url: 'http://h'}\n"
    assert problems_of(text) == ["config.yaml:2: providers[0].name: is missing; add `name: ...`"]


def test_max_stale_shorter_than_ttl_is_a_warning() -> None:
    text = f"cache:\n  max_stale: 1m\n{PROVIDER}  - {{name: b, base_url: 'http://h', ttl: 30s}}\n"
    text += "  - {name: c, base_url: 'http://h', max_stale: 2m}\n"
    why = "max_stale is shorter than ttl: models expire before their list is refreshed"
    assert parsed(text).warnings == (
        f"config.yaml:2: cache.max_stale: {why}",
        f"config.yaml:7: providers[2].max_stale: {why}",
    )
    assert parsed(f"{PROVIDER}    ttl: 48h\n").warnings == (f"config.yaml:4: providers[0].ttl: {why}",)


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


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n"
            "    iam: {url: 'https://i', domain: d, user: u, password: p, project: p}\n",
            "`kind: pangu` is required by `workspace_id`, `model_ids`, `iam`",
            id="all settings of a kind",
        ),
        pytest.param("    list: {path: /c}\n", "`kind: custom` is required by `list`", id="a list"),
        pytest.param(
            "    account_id: x\n", "`kind: fireworks` or `kind: cloudflare` is required by `account_id`", id="two kinds"
        ),
    ],
)
def test_missing_kind_is_one_problem(settings: str, problem: str) -> None:
    assert problems_of(PROVIDER + settings) == [f"config.yaml:2: providers[0].kind: is missing; {problem}"]


def test_settings_of_several_kinds_are_problems_of_their_own() -> None:
    assert problems_of(f"{PROVIDER}    workspace_id: w\n    account_id: x\n") == [
        "config.yaml:4: providers[0].workspace_id: is only supported by kind pangu",
        "config.yaml:5: providers[0].account_id: is only supported by kind fireworks or cloudflare",
    ]


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
