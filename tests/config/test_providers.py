"""Providers: what they inherit, when they are skipped, and every mistake in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.config import ConfigError, parse, read
from proxy.config.settings import Skipped
from proxy.dialects import DIALECTS
from tests.config.outcomes import CANARY, LIST, NO_VALUE, PAIRS, PROVIDER, STRING, parsed, problems_of, provider_of


@pytest.mark.parametrize(
    ("cache", "defaults", "own", "ttl"),
    [
        pytest.param("", "", "", 300, id="built in"),
        pytest.param("ttl: 1s", "", "", 1, id="cache"),
        pytest.param("ttl: 1s", "ttl: 2s", "", 2, id="defaults before cache"),
        pytest.param("ttl: 1s", "ttl: 2s", "    ttl: 3s\n", 3, id="the provider before all"),
    ],
)
def test_the_nearest_setting_counts(cache: str, defaults: str, own: str, ttl: float) -> None:
    assert provider_of(f"cache: {{{cache}}}\ndefaults: {{{defaults}}}\n{PROVIDER}{own}").ttl == ttl


@pytest.mark.parametrize(
    ("written", "asked"),
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
def test_a_base_url_is_completed_only_where_it_has_no_path(written: str, asked: str) -> None:
    assert provider_of(PROVIDER.replace("http://h", written)).base_url == asked


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param("    api_key: ${NOPE}\n", "NOPE not set", id="one variable"),
        pytest.param(
            "    api_key: ${NOPE}\n    prefix: '${NONE}${NOPE}'\n    headers: {X: '${NEVER}'}\n",
            "NOPE and NONE and NEVER not set",
            id="several",
        ),
        pytest.param("    ca_file: ${NOPE}\n    api_key_file: ${NOPE}\n", "NOPE not set", id="in names of files"),
        pytest.param("    models: [{id: '${NOPE}'}]\n", "NOPE not set", id="in a declared model"),
        pytest.param("    kind: ${NOPE}\n", "NOPE not set", id="for the kind"),
        pytest.param(
            "    api_key_file: /run/sk-canary\n", "its api_key_file (line 5) does not exist", id="no file with a key"
        ),
        pytest.param("    api_key_file: /nope\n    prefix: ${NOPE}\n", "NOPE not set", id="no variable and no file"),
    ],
)
def test_an_optional_provider_without_its_variables_or_files_is_left_out_with_the_reason(
    more: str, reason: str
) -> None:
    config = parsed(f"{PROVIDER}    optional: true\n{more}  - {{name: b, base_url: 'http://b'}}\n")
    assert config.skipped == (Skipped("a", reason),)
    assert [provider.name for provider in config.providers] == ["b"]


@pytest.mark.parametrize("yes", ["true", "yes", "'true'", "${YES:-1}"])
def test_optional_may_be_said_in_any_way_that_yaml_and_the_environment_know(yes: str) -> None:
    assert parsed(f"{PROVIDER}    api_key: ${{NOPE}}\n    optional: {yes}\n").skipped == (Skipped("a", "NOPE not set"),)


def test_a_file_in_which_everybody_is_left_out_is_a_file_all_the_same() -> None:
    assert parsed(f"{PROVIDER}    optional: true\n    api_key: ${{NOPE}}\n").providers == ()


def test_an_optional_provider_with_all_it_needs_is_asked() -> None:
    provider = provider_of(f"{PROVIDER}    optional: true\n    api_key: ${{API_KEY}}\n")
    assert provider.api_key == SecretStr(CANARY)


def test_a_provider_that_is_left_out_is_checked_all_the_same_but_for_its_files() -> None:
    text = f"{PROVIDER}    optional: true\n    api_key: ${{NOPE}}\n    tll: 5m\n    retries: '${{NOPE}}'\n"
    text += "    ca_file: /nowhere/to/be/found\n"
    assert problems_of(text) == ["line 6, providers[0].tll: unknown setting; did you mean 'ttl'?"]


def test_a_name_is_unique_even_if_its_provider_is_left_out() -> None:
    text = f"{PROVIDER}    optional: true\n    api_key: ${{NOPE}}\n  - {{name: a, base_url: 'http://b'}}\n"
    assert problems_of(text) == ["line 6, providers[1].name: 'a' stands here a second time; names are unique"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "its content is empty; give it a value or take it away"),
        ("\n", "its content is empty; give it a value or take it away"),
        (f"{CANARY}é", "its content must be printable ASCII without blanks around it, because it is sent in a header"),
        (
            f"{CANARY}\nb",
            "its content must be printable ASCII without blanks around it, because it is sent in a header",
        ),
    ],
)
def test_a_key_in_a_file_is_checked_like_any_other(content: str, problem: str) -> None:
    text = f"{PROVIDER}    api_key_file: f\n"
    assert problems_of(text, files={"f": content}) == [f"line 4, providers[0].api_key_file: {problem}"]


def test_a_key_file_is_read_without_the_blanks_around_its_content() -> None:
    assert provider_of(f"{PROVIDER}    api_key_file: f\n", files={"f": f"\n {CANARY}\n"}).api_key == SecretStr(CANARY)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        pytest.param(PermissionError(13, "Permission denied"), "cannot be read: Permission denied", id="no permission"),
        pytest.param(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "is no text file", id="no text"),
    ],
)
def test_a_key_file_that_is_there_but_cannot_be_read_is_a_problem_even_if_optional(error: Exception, why: str) -> None:
    def read_secret(path: str) -> str:
        raise error

    with pytest.raises(ConfigError) as refused:
        parse(f"{PROVIDER}    optional: true\n    api_key_file: {CANARY}\n", read_secret=read_secret)
    assert [str(problem) for problem in refused.value.problems] == [f"line 5, providers[0].api_key_file: {why}"]


def test_files_are_really_read(tmp_path: Path, corp_pem: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{CANARY}\n")
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + f"{PROVIDER}    api_key_file: {secret}\n    ca_file: {corp_pem}\n".encode())
    (provider,) = read(file, {}).providers
    assert (provider.api_key, provider.ca_file) == (SecretStr(CANARY), corp_pem)


def test_files_that_are_no_certificates_or_no_keys_are_problems(tmp_path: Path) -> None:
    empty, nowhere = tmp_path / "empty", tmp_path / "nowhere"
    empty.touch()
    text = f"""\
defaults: {{ca_file: {empty}}}
{PROVIDER}  - {{name: b, base_url: 'http://b', ca_file: {nowhere}, api_key_file: {nowhere}}}
  - {{name: c, base_url: 'http://c', ca_file: "\\0", api_key_file: "a\\0b"}}
  - {{name: d, base_url: 'http://d', api_key_file: {tmp_path}}}
"""
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert [str(problem) for problem in refused.value.problems] == [
        "line 1, defaults.ca_file: holds no certificate in PEM form",
        "line 5, providers[1].api_key_file: cannot be read: No such file or directory",
        "line 5, providers[1].ca_file: cannot be read: No such file or directory",
        "line 6, providers[2].api_key_file: must not hold control characters",
        "line 6, providers[2].ca_file: must not hold control characters; found '\\x00'",
        "line 7, providers[3].api_key_file: cannot be read: Is a directory",
    ]


STATUSES = "must be a list of statuses from 400 to 599, and the word timeout, like [429, 503, timeout]"


@pytest.mark.parametrize(
    ("providers", "problem"),
    [
        ("server: {}\n", "line 1, providers: names no provider; without one there is nothing to list"),
        ("providers:\n", "line 1, providers: names no provider; without one there is nothing to list"),
        ("providers: []\n", "line 1, providers: names no provider; without one there is nothing to list"),
        ("providers:\n  name: a\n  base_url: http://h\n", f"line 1, providers: {LIST}"),
        ("providers:\n  a: {base_url: http://h}\n", f"line 1, providers: {LIST}"),
        ("providers: http://h\n", f"line 1, providers: {LIST}"),
        ("providers:\n  - http://h\n", "line 2, providers[0]: must be settings that begin with `name: ...`"),
        ("providers:\n  -\n", "line 2, providers[0]: must be settings that begin with `name: ...`"),
        ("providers:\n  - base_url: http://h\n", "line 2, providers[0].name: is missing; add `name: ...`"),
        ("providers:\n  - name: 360\n    base_url: http://h\n", f"line 2, providers[0].name: {STRING}; found '360'"),
        ("providers:\n  - name: on\n    base_url: http://h\n", f"line 2, providers[0].name: {STRING}; found 'on'"),
        ("providers:\n  - name:\n    base_url: http://h\n", f"line 2, providers[0].name: {NO_VALUE}"),
        (
            "providers:\n  - name: a\n",
            "line 2, providers[0].base_url: is missing: the address under which the provider's API is",
        ),
        (
            f"{PROVIDER}  - name: a\n    base_url: http://i\n",
            "line 4, providers[1].name: 'a' stands here a second time; names are unique",
        ),
        (
            "providers:\n  - name: a\n    kind: static\n",
            "line 2, providers[0].models: is missing; kind static lists what stands there",
        ),
        (
            "providers:\n  - name: a\n    kind: static\n    models: []\n",
            "line 4, providers[0].models: is missing; kind static lists what stands there",
        ),
    ],
)
def test_a_provider_that_is_not_whole_is_told_what_it_lacks(providers: str, problem: str) -> None:
    assert problems_of(providers) == [problem]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("base_ulr: http://h", "base_ulr: unknown setting; did you mean 'base_url'?"),
        ("duplicates: by_provider", "duplicates: unknown setting; it belongs under `merge`"),
        ("workspace_id: w", "workspace_id: unknown setting; only kind pangu has it"),
        ("include: '*'", f"include: {LIST}; found '*'"),
        ("exclude: {a: b}", f"exclude: {LIST}"),
        ("ttl: 5 min", "ttl: must be a duration above zero: a number with a unit, like 250ms, 4s, 5m, 24h or 7d; found "
         "'5 min'"),
        ("max_body: 16MB", "max_body: must be a size above zero: a whole number with a unit, like 512KiB or 16MiB; "
         "found '16MB'"),
        ("extra_fields: some", "extra_fields: must be `all`, `none` or a list of field names; found 'some'"),
        ("extra_fields:", f"extra_fields: {NO_VALUE}"),
        ("api_key:", f"api_key: {NO_VALUE}"),
        ("api_key: ''", "api_key: is empty; give it a value or take it away"),
        ("api_key: 1234567", f"api_key: {STRING}"),
        ("api_key_file: ''", "api_key_file: must not be empty"),
        ("kind: opnai", "kind: unknown kind; did you mean 'openai'?"),
        ("kind: bedrock", f"kind: unknown kind; known are {', '.join(DIALECTS)}"),
        ("kind: 7", f"kind: {STRING}; found '7'"),
        ("kind: [openai]", "kind: must be a string"),
        ("kind:", f"kind: {NO_VALUE}"),
        ("optional: maybe", "optional: must be true or false; found 'maybe'"),
        ("aliases: [a]", f"aliases: {PAIRS}"),
        ("aliases: {a: 5}", f"aliases.a: {STRING}; found '5'"),
        ("aliases: {a: }", f"aliases.a: {NO_VALUE}"),
        ("aliases: {'': a}", "aliases: a name must not be empty"),
        ("aliases: {a: ''}", "aliases.a: must not be empty"),
        ('prefix: "a\\n"', "prefix: must not hold control characters; found 'a\\n'"),
        ("iam: {url: 'https://i', domain: d, user: u, password: p, project: p}",
         "iam: is not for kind openai; only pangu logs in like this"),
        ("models: {id: m}", f"models: {LIST}"),
        ("models: [m]", f"models[0]: {PAIRS}"),
        ("models: [{id: m}, {owned_by: o}]",
         "models[1]: missing `id`; begin with `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: 5}]",
         "models[0]: id is not a string; begin with `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: ''}]",
         "models[0]: empty id; begin with `id: ...`, in quotes if it looks like a number"),
        ("call: true", "call: must be `false`, or name another place: {base_url: ..., auth: ...}; found 'true'"),
        ("call: {}", "call.base_url: is missing; add `base_url: ...`"),
        ("call: {base_url: ftp://h}", "call.base_url: must be a URL like https://api.example.com/v1"),
        ("call: {base_url: http://h, ath: bearer}", "call.ath: unknown setting; did you mean 'auth'?"),
        ("call: {base_url: http://h, auth: x}", "call.auth: must be bearer, basic, none, {header: NAME} or "
         "{query: NAME}, a NAME like X-Api-Key; found 'x'"),
        ("failover_on: 429", f"failover_on: {STATUSES}; found '429'"),
        ("failover_on: [200]", f"failover_on: {STATUSES}"),
        ("failover_on: [429, timeouts]", f"failover_on: {STATUSES}"),
        ("sse_keepalive: 3s", "sse_keepalive: unknown setting; it belongs under `server`"),
        ("headers: {X-Key: 'a', 'Auth orization': b}",
         "headers: a name must be letters and `-`, like those of all headers: write `Name: value`"),
        ("prefix: '${MY-PREFIX}'",
         "prefix: holds `${` without `NAME}` or `NAME:-default}` behind it; write `$${` for a plain `${`"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_provider_is_told_once_with_its_cure(setting: str, problem: str) -> None:
    assert problems_of(f"{PROVIDER}    {setting}\n") == [f"line 4, providers[0].{problem}"]


def test_what_providers_hold_inside_is_no_setting() -> None:
    (problem,) = problems_of(f"{PROVIDER}    settings: {{workspace_id: w}}\n")
    assert problem.startswith(
        "line 4, providers[0].settings: unknown setting; known here are ttl, max_stale, initial_wait"
    )


PANGU = """\
providers:
  - name: a
    kind: pangu
    base_url: http://h
"""


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        pytest.param(
            "",
            [
                "line 2, providers[0].model_ids: is missing; kind pangu needs it",
                "line 2, providers[0].workspace_id: is missing; kind pangu needs it",
            ],
            id="nothing",
        ),
        pytest.param(
            "    workspace_id:\n    model_ids: []\n",
            [
                "line 5, providers[0].workspace_id: is missing; kind pangu needs it",
                f"line 6, providers[0].model_ids: {LIST}; at least one",
            ],
            id="nothing behind the colons",
        ),
        pytest.param(
            "    workspace_id: ''\n    model_ids: [m, '', [x]]\n",
            [
                "line 5, providers[0].workspace_id: must be a string that is not empty",
                "line 6, providers[0].model_ids[1]: must be a string that is not empty",
                "line 6, providers[0].model_ids[2]: must be a string that is not empty",
            ],
            id="empty strings, and a list in a list",
        ),
        pytest.param(
            "    workspce_id: w\n    workspace_id: w\n    model_ids: m\n",
            [
                "line 5, providers[0].workspce_id: unknown setting; did you mean 'workspace_id'?",
                f"line 7, providers[0].model_ids: {LIST}; at least one",
            ],
            id="a typing error, and a string for a list",
        ),
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n    api_key: k\n    iam: {ulr: 'https://i', domain: d, user: u,"
            " password: , project: 5}\n",
            [
                "line 8, providers[0].iam: stands beside api_key; keep one of them",
                f"line 8, providers[0].iam.password: {NO_VALUE}",
                f"line 8, providers[0].iam.project: {STRING}; found '5'",
                "line 8, providers[0].iam.ulr: unknown setting; did you mean 'url'?",
                "line 8, providers[0].iam.url: is missing; add `url: ...`",
            ],
            id="a login with mistakes, beside a key",
        ),
        pytest.param(
            "    workspace_id: w\n    model_ids: [m]\n    iam: u:p\n",
            [f"line 7, providers[0].iam: {PAIRS}"],
            id="no login",
        ),
    ],
)
def test_the_settings_of_a_kind_are_checked_like_all_others(settings: str, problems: list[str]) -> None:
    assert problems_of(PANGU + settings) == problems


def test_a_provider_without_a_name_takes_none_away() -> None:
    text = "providers:\n  - {base_url: 'http://h'}\n  - {name: None, base_url: 'http://h'}\n"
    assert problems_of(text) == ["line 2, providers[0].name: is missing; add `name: ...`"]


def test_models_that_go_before_they_are_asked_for_again_are_a_warning() -> None:
    text = f"cache:\n  max_stale: 1m\n{PROVIDER}  - {{name: b, base_url: 'http://h', ttl: 30s}}\n"
    text += "  - {name: c, base_url: 'http://h', max_stale: 2m}\n"
    why = "max_stale is shorter than ttl, so models go before their provider is asked again"
    assert parsed(text).warnings == (f"config.yaml, line 2: {why}", f"config.yaml, line 7: {why}")
    assert parsed(f"{PROVIDER}    ttl: 48h\n").warnings == (f"config.yaml, line 4: {why}",)
