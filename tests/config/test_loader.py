"""config.yaml as operators write it: every setting, every mistake with its line and its cure, and no secret in any."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy.config import Config, ConfigError, Key, Provider, parse, read
from proxy.config.custom import CustomList, CustomPaging
from proxy.config.keys import KeyEntry
from proxy.config.loader import SECTIONS
from proxy.config.settings import NOT_CALLABLE, Cache, Defaults, Group, Iam, Merge, OAuth, OwnerRule, Server, Skipped
from proxy.dialects import DIALECTS

CANARY = "sk-canary-1234567890"
DIGEST = "sha256:" + "0a" * 32
OTHER_DIGEST = "sha256:" + "0b" * 32
ENVIRON = {"API_KEY": CANARY, "CI_KEY": CANARY, "HOST": "h.example", "LIST": "a,b"}

PROVIDER = """\
providers:
  - name: a
    base_url: http://h
"""
KEY = f"""\
{PROVIDER}keys:
  - name: k
    hash: {DIGEST}
"""

EVERYTHING = """\
server:
  {host: 0.0.0.0, port: 80, allow_anonymous: true, cors: ["https://app.example.com"], drain_delay: 1s,
   max_request: 1MiB, sse_keepalive: 5s}
cache: {ttl: 10m, max_stale: 2h, initial_wait: 2s}
defaults:
  timeout: 20s
  retries: 1
  headers: {X-Team: platform}
  proxy: http://user:sk-canary-1234567890@egress:3128
  ca_file: CORP_PEM
  max_body: 1MiB
  max_pages: 10
  max_models: 100
  extra_fields: [context_length]
  connect_timeout: 1s
  first_byte_timeout: 20s
  idle_timeout: 10s
  call_timeout: 10m
  max_in_flight: 7
  failover: false
  failover_on: [429]
merge: {duplicates: by_owner}
owners:
  - {match: ["gpt-*", "o1*"], owner: openai}
providers:
  - name: ctyun
    base_url: https://wishub-x1.example/v1/
    api_key: ${API_KEY}
    optional: true
    owner: ctyun
    include: ["*"]
    exclude: ["*-preview"]
    prefix: ctyun/
    aliases: {deepseek-r1: DeepSeek-R1-Chat}
    ttl: 1h
    max_stale: 3h
    initial_wait: 3s
    timeout: 30s
    retries: 3
    headers: {X-Key: "${API_KEY}"}
    proxy: http://other:3128
    ca_file: CORP_PEM
    max_body: 2MiB
    max_pages: 20
    max_models: 200
    extra_fields: none
    connect_timeout: 2s
    first_byte_timeout: 30s
    idle_timeout: 20s
    call_timeout: 20m
    max_in_flight: 8
    failover: true
    failover_on: [503, "500", timeout]
    stateful: true
    call: false
  - name: files
    kind: openai
    base_url: https://files.example
    api_key_file: /run/secrets/files
    models: [{id: declared, context_length: 32768}]
  - name: pangu
    kind: pangu
    base_url: https://pangu.example/v1
    workspace_id: 007
    model_ids: [0a1b, 2027-01-31]
    iam: {url: https://iam.example/v3, domain: d, user: u, password: "${API_KEY}", project: p}
  - name: claude
    kind: anthropic
    base_url: https://claude.example
    version: 2025-01-01
  - name: azure
    kind: azure
    base_url: https://azure.example
    api_version: 2025-01-01
    oauth: {url: https://login.example/token, id: proxy, secret: "${API_KEY}", scope: api/.default}
  - name: vertex
    kind: vertex
    base_url: https://vertex.example
    publisher: mistralai
    project: acme
    location: us-central1
  - name: cloudflare
    kind: cloudflare
    base_url: https://cloudflare.example
    account_id: 0123
  - name: oddball
    kind: custom
    base_url: https://oddball.example
    list:
      path: /catalog
      params: {type: llm}
      items: result.entries
      id: vendor/name
      strip_prefix: models/
      owned_by: vendor
      created: published_at
      fields: {display_name: title}
      price_per: 1000
      private: team
      auth: {header: X-Odd-Key}
      paging: {style: page, send: page, total: count, pages: pages, first: 0, size: {per: 50}}
  - name: oddest
    kind: custom
    base_url: https://oddest.example
    call: {base_url: https://run.oddest.example/v1/, auth: {header: X-Run-Key}}
    list: {path: /c, paging: {style: cursor, send: after, read: last, more: has_more}}
  - name: lab
    kind: static
    models: [{id: our-own-13b, owned_by: lab}]
groups:
  default: {models: ["*-mini", "owner:ctyun"], call: true}
  staff: {models: ["*", "!*-preview"], call: false}
keys:
  - {name: alice, hash: "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", group: staff}
  - {name: ci, key: "${CI_KEY}", models: [gpt-4o-mini, "provider:lab"], expires: 2027-01-31, admin: true}
"""


@pytest.fixture(scope="module")
def corp_pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("tls") / "corp.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return str(file)


def problems_of(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> list[str]:
    """All problems of a text in the words that an operator sees, [] if it has none."""
    made = outcome(text, environ, files)
    return [str(problem) for problem in made.problems] if isinstance(made, ConfigError) else []


def outcome(
    text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None
) -> Config | ConfigError:
    try:
        return parsed(text, environ, files)
    except ConfigError as error:
        return error


def parsed(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> Config:
    """The configuration of a text; `files` are those that hold keys."""

    def read_secret(path: str) -> str:
        try:
            return (files or {})[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return parse(text, environ=environ, read_secret=read_secret)


def provider_of(text: str, environ: Mapping[str, str] = ENVIRON, files: Mapping[str, str] | None = None) -> Provider:
    (provider,) = parsed(text, environ, files).providers
    return provider


# -- what a file says ----------------------------------------------------------------------------------------------


def test_every_setting_comes_out_as_it_was_meant(corp_pem: str) -> None:
    text = EVERYTHING.replace("CORP_PEM", corp_pem)
    secret = SecretStr(CANARY)
    inherited: dict[str, Any] = {
        "ttl": 600, "max_stale": 7200, "initial_wait": 2, "timeout": 20, "retries": 1,
        "headers": {"X-Team": SecretStr("platform")}, "proxy": SecretStr(f"http://user:{CANARY}@egress:3128"),
        "ca_file": corp_pem, "max_body": 1024**2, "max_pages": 10, "max_models": 100,
        "extra_fields": ["context_length"],
        "connect_timeout": 1, "first_byte_timeout": 20, "idle_timeout": 10, "call_timeout": 600,
        "max_in_flight": 7, "failover": False, "failover_on": [429],
    }  # fmt: skip
    ctyun = Provider(
        name="ctyun", base_url="https://wishub-x1.example/v1", api_key=secret, optional=True, owner="ctyun",
        include=("*",), exclude=("*-preview",), prefix="ctyun/", aliases={"deepseek-r1": "DeepSeek-R1-Chat"},
        ttl=3600, max_stale=10_800, initial_wait=3, timeout=30, retries=3, headers={"X-Key": secret},
        proxy=SecretStr("http://other:3128"), ca_file=corp_pem, max_body=2 * 1024**2, max_pages=20, max_models=200,
        extra_fields=(), connect_timeout=2, first_byte_timeout=30, idle_timeout=20, call_timeout=1200,
        max_in_flight=8, failover=True, failover_on=(503, 500, "timeout"), stateful=True, call=NOT_CALLABLE,
    )  # fmt: skip
    files = Provider(
        name="files", kind="openai", base_url="https://files.example/v1", api_key=SecretStr("sk-in-a-file"),
        api_key_file="/run/secrets/files", models=({"id": "declared", "context_length": 32768},), **inherited,
    )  # fmt: skip
    login = Iam(url="https://iam.example", domain="d", user="u", password=secret, project="p")
    pangu = Provider(
        name="pangu", kind="pangu", base_url="https://pangu.example/v1", iam=login,
        settings={"workspace_id": "007", "model_ids": ("0a1b", "2027-01-31")}, **inherited,
    )  # fmt: skip
    claude = Provider(
        name="claude", kind="anthropic", base_url="https://claude.example/v1",
        settings={"version": "2025-01-01"}, **inherited,
    )  # fmt: skip
    azure = Provider(
        name="azure", kind="azure", base_url="https://azure.example", settings={"api_version": "2025-01-01"},
        oauth=OAuth(url="https://login.example/token", id="proxy", secret=secret, scope="api/.default"), **inherited,
    )  # fmt: skip
    vertex = Provider(
        name="vertex", kind="vertex", base_url="https://vertex.example/v1beta1",
        settings={"publisher": "mistralai", "project": "acme", "location": "us-central1"}, **inherited,
    )  # fmt: skip
    cloudflare = Provider(
        name="cloudflare", kind="cloudflare", base_url="https://cloudflare.example/client/v4",
        settings={"account_id": "0123"}, **inherited,
    )  # fmt: skip
    oddball = Provider.model_validate({
        "name": "oddball", "kind": "custom", "base_url": "https://oddball.example", **inherited,
        "list": {
            "path": "/catalog", "params": {"type": "llm"}, "items": ("result.entries",), "id": ("vendor/name",),
            "strip_prefix": ("models/",), "owned_by": ("vendor",), "created": ("published_at",),
            "fields": {"display_name": ("title",)}, "price_per": 1000, "private": ("team",),
            "auth": {"header": "X-Odd-Key"},
            "paging": {"style": "page", "send": "page", "total": "count", "pages": "pages", "first": 0,
                       "size": {"per": "50"}},
        },
    })  # fmt: skip
    oddest = Provider.model_validate({
        "name": "oddest", "kind": "custom", "base_url": "https://oddest.example", **inherited,
        "call": {"base_url": "https://run.oddest.example/v1/", "auth": {"header": "X-Run-Key"}},
        "list": {"path": "/c", "paging": {"style": "cursor", "send": "after", "read": "last", "more": "has_more"}},
    })  # fmt: skip
    lab = Provider(name="lab", kind="static", models=({"id": "our-own-13b", "owned_by": "lab"},), **inherited)
    assert parsed(text, files={"/run/secrets/files": "sk-in-a-file\n"}) == Config(
        server=Server(
            host="0.0.0.0",  # noqa: S104
            port=80,
            allow_anonymous=True,
            cors=("https://app.example.com",),
            drain_delay=1,
            max_request=1024**2,
            sse_keepalive=5,
        ),
        merge=Merge(duplicates="by_owner"),
        owners=(OwnerRule(match=("gpt-*", "o1*"), owner="openai"),),
        providers=(ctyun, files, pangu, claude, azure, vertex, cloudflare, oddball, oddest, lab),
        keys=(
            Key(
                name="alice", digest=bytes.fromhex("0a" * 32), rules=("*", "!*-preview"), group="staff", may_call=False
            ),
            Key(
                name="ci",
                digest=hashlib.sha256(CANARY.encode()).digest(),
                rules=("gpt-4o-mini", "provider:lab"),
                expires=date(2027, 1, 31),
                admin=True,
            ),
        ),
        groups={
            "default": Group(models=("*-mini", "owner:ctyun"), call=True),
            "staff": Group(models=("*", "!*-preview"), call=False),
        },
    )


def test_the_example_of_this_test_holds_every_setting_that_exists() -> None:
    models = (
        Server, Cache, Defaults, Merge, OwnerRule, Provider, Iam, OAuth, CustomList, CustomPaging, Group, KeyEntry
    )  # fmt: skip
    names = {name for model in models for name in model.model_fields} - {"settings"}
    names |= {name for dialect in DIALECTS.values() for name in dialect.settings} | set(SECTIONS)
    assert {name for name in names if not re.search(rf"\b{name}:", EVERYTHING)} == set()


def test_a_file_of_one_provider_is_enough_and_open() -> None:
    assert parsed(PROVIDER) == Config(
        server=Server(),
        merge=Merge(),
        owners=(),
        providers=(Provider(name="a", base_url="http://h/v1"),),
        keys=(),
    )


def test_sections_may_be_empty() -> None:
    sections = "".join(f"{name}:\n" for name in SECTIONS if name != "providers")
    assert parsed(sections + PROVIDER) == parsed(PROVIDER)


@pytest.mark.parametrize(
    ("access", "anonymous", "is_open"),
    [
        pytest.param("", ("*",), True, id="neither keys nor groups: open, everything is shown"),
        pytest.param("groups: {default: {models: [m]}}\n", ("m",), True, id="only the default group: open, its rules"),
        pytest.param("groups: {default: {models: []}}\n", (), True, id="a default group that sees nothing"),
        pytest.param(
            f"keys: [{{name: k, hash: '{DIGEST}', models: []}}]\n", None, False, id="only keys: none, refused"
        ),
        pytest.param(
            f"groups: {{g: {{models: [m]}}}}\nkeys: [{{name: k, hash: '{DIGEST}', group: g}}]\n",
            None,
            False,
            id="keys and another group: none, refused",
        ),
        pytest.param(
            f"groups: {{default: {{models: [m]}}}}\nkeys: [{{name: k, hash: '{DIGEST}', models: []}}]\n",
            ("m",),
            False,
            id="keys and a default group",
        ),
    ],
)
def test_who_brings_no_key_is_the_default_group(access: str, anonymous: tuple[str, ...] | None, is_open: bool) -> None:
    config = parsed(access + PROVIDER)
    assert (config.anonymous and config.anonymous.models, config.is_open) == (anonymous, is_open)


@pytest.mark.parametrize(
    ("group", "anonymous", "key"),
    [
        pytest.param("", False, True, id="nothing said: keys may, who brings none may not"),
        pytest.param(", call: true", True, True, id="true: all may"),
        pytest.param(", call: false", False, False, id="false: nobody may"),
    ],
)
def test_a_group_says_whether_its_members_may_call(group: str, anonymous: bool, key: bool) -> None:
    config = parsed(f"groups: {{default: {{models: ['*']{group}}}}}\n{KEY}    group: default\n")
    assert config.anonymous is not None
    assert (bool(config.anonymous.call), config.keys[0].may_call) == (anonymous, key)


def test_a_keys_own_rules_stand_before_those_of_its_group() -> None:
    groups = "groups: {staff: {models: ['*']}}\n"
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n").keys] == [("*",)]
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n    models: [m]\n").keys] == [("m",)]
    assert [key.rules for key in parsed(f"{groups}{KEY}    group: staff\n    models: []\n").keys] == [()]


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


def test_strings_take_values_from_the_environment() -> None:
    text = """\
server: {port: "${PORT:-9000}", allow_anonymous: "${OPEN:-yes}"}
providers:
  - {name: a, base_url: "https://${HOST}/v1", prefix: "$${HOST}/", retries: "${RETRIES}"}
"""
    config = parsed(text, {"HOST": "h", "RETRIES": "5"})
    assert (config.server.port, config.server.allow_anonymous) == (9000, True)
    (provider,) = config.providers
    assert (provider.base_url, provider.prefix, provider.retries) == ("https://h/v1", "${HOST}/", 5)


# -- providers that are left out -----------------------------------------------------------------------------------


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
    ("text", "problem"),
    [
        pytest.param(
            f"{PROVIDER}    api_key: ${{NOPE}}\n",
            "line 4, providers[0].api_key: the environment variable NOPE is not set or empty; set it, or give a "
            "default: ${NOPE:-...}, or mark the provider `optional: true`",
            id="in a provider",
        ),
        pytest.param(
            f"{PROVIDER}    optional: false\n    api_key: ${{NOPE}}\n",
            "line 5, providers[0].api_key: the environment variable NOPE is not set or empty; set it, or give a "
            "default: ${NOPE:-...}, or mark the provider `optional: true`",
            id="in a provider that is not optional",
        ),
        pytest.param(
            f"defaults: {{headers: {{X-Key: '${{NOPE}}'}}}}\n{PROVIDER}    optional: true\n",
            "line 1, defaults.headers: the environment variable NOPE is not set or empty; set it, or give a default: "
            "${NOPE:-...}",
            id="in what an optional provider inherits",
        ),
        pytest.param(
            f"{PROVIDER}keys:\n  - {{name: k, key: '${{NOPE}}', models: []}}\n",
            "line 5, keys[0].key: the environment variable NOPE is not set or empty; set it",
            id="for a key, which has no default",
        ),
    ],
)
def test_a_variable_that_is_not_set_is_one_problem_where_nothing_is_optional(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


# -- files beside the file -----------------------------------------------------------------------------------------


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


def test_the_environment_is_that_of_the_process_unless_another_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_PROXY_TEST_PREFIX", "mine/")
    file = tmp_path / "config.yaml"
    file.write_text(f"{PROVIDER}    prefix: ${{MODELS_PROXY_TEST_PREFIX:-none/}}\n")
    assert read(file).providers[0].prefix == "mine/"
    assert read(file, {}).providers[0].prefix == "none/"


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "the file: No such file or directory; name another one with --config", id="no file"),
        pytest.param(
            b"a:\n  b: \xff\n", "line 2: holds bytes that are not UTF-8; save the file as UTF-8", id="Latin-1"
        ),
        pytest.param(
            "a: b".encode("utf-16"), "line 1: holds bytes that are not UTF-8; save the file as UTF-8", id="UTF-16"
        ),
        pytest.param(
            b"a" * 5_242_881, "the file: is larger than 5,242,880 bytes; is it the right file?", id="a file too large"
        ),
        pytest.param(
            b"",
            "the file: must hold settings (`providers:` ...); start from the shipped config.yaml",
            id="an empty file",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_the_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read(file, {})
    assert str(refused.value) == f"{file} has 1 problem:\n  {message}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the file: Is a directory; name another one with --config"):
        read(tmp_path, {})


# -- mistakes ------------------------------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once_in_the_order_of_their_lines() -> None:
    text = """\
server: {prot: 8000}
cache: {ttl: 5 min}
mergee: {}
providers:
  - name: a b
    kind: pangu
    base_url: ftp://h
    retries: many
    model_ids: m
    iam: {url: x, usr: u}
  - kind: opnai
    tiemout: 3s
  - just text
owners:
  - {match: gpt-*}
groups: {staff: {}}
keys:
  - {name: "", key: sk-canary, group: stuff, expires: never}
"""
    with pytest.raises(ConfigError) as refused:
        parsed(text)
    digest = hashlib.sha256(b"sk-canary").hexdigest()
    assert str(refused.value).splitlines() == [
        "config.yaml has 25 problems:",
        "  line 1, server.prot: unknown setting; did you mean 'port'?",
        "  line 2, cache.ttl: must be a duration above zero: a number with a unit, like 250ms, 4s, 5m, 24h or 7d; "
        "found '5 min'",
        "  line 3, mergee: unknown setting; did you mean 'merge'?",
        "  line 5, providers[0].name: must be at most 64 letters, digits, `.`, `_` and `-`, the first a letter or a "
        "digit; found 'a b'",
        "  line 5, providers[0].workspace_id: is missing; kind pangu needs it",
        "  line 7, providers[0].base_url: must be a URL like https://api.example.com/v1",
        "  line 8, providers[0].retries: must be a whole number from 0 to 10; found 'many'",
        "  line 9, providers[0].model_ids: must be a list: begin each entry with `- `, or write [ ] around them; at "
        "least one",
        "  line 10, providers[0].iam.domain: is missing; add `domain: ...`",
        "  line 10, providers[0].iam.password: is missing; add `password: ...`",
        "  line 10, providers[0].iam.project: is missing; add `project: ...`",
        "  line 10, providers[0].iam.url: must be a URL like https://api.example.com/v1",
        "  line 10, providers[0].iam.user: is missing; add `user: ...`",
        "  line 10, providers[0].iam.usr: unknown setting; did you mean 'user'?",
        "  line 11, providers[1].kind: unknown kind; did you mean 'openai'?",
        "  line 11, providers[1].name: is missing; add `name: ...`",
        "  line 12, providers[1].tiemout: unknown setting; did you mean 'timeout'?",
        "  line 13, providers[2]: must be settings that begin with `name: ...`",
        "  line 15, owners[0].match: must be a list: begin each entry with `- `, or write [ ] around them; found "
        "'gpt-*'",
        "  line 15, owners[0].owner: is missing; add `owner: ...`",
        "  line 16, groups.staff.models: is missing; add `models: ...`",
        "  line 18, keys[0].expires: must be a day that exists, like 2027-01-31; the key is good until that day ends, "
        "UTC; found 'never'",
        "  line 18, keys[0].group: no such group; did you mean 'staff'?",
        f'  line 18, keys[0].key: is a secret in plain text; write hash: "sha256:{digest}" instead',
        "  line 18, keys[0].name: must be at most 64 letters, digits, `.`, `_` and `-`, the first a letter or a digit",
    ]


LIST = "must be a list: begin each entry with `- `, or write [ ] around them"
PAIRS = "must hold lines of `name: value`"
STATUSES = "must be a list of statuses from 400 to 599, and the word timeout, like [429, 503, timeout]"
NO_VALUE = "has no value; give it one or take the line away"
STRING = "must be a string; put quotes around it"


@pytest.mark.parametrize(
    ("text", "where"),
    [("- a", "line 1"), ("just text", "line 1"), ("null", "line 1"), ("# a comment", "the file"), ("", "the file")],
)
def test_a_file_without_settings_is_told_how_to_begin(text: str, where: str) -> None:
    assert problems_of(text) == [f"{where}: must hold settings (`providers:` ...); start from the shipped config.yaml"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        # unknown settings
        ("servers: {}", "servers: unknown setting; did you mean 'server'?"),
        ("ttl: 5m", "ttl: unknown setting; it belongs under `cache`"),
        ("cache: {timeout: 5s}", "cache.timeout: unknown setting; it belongs under `defaults`"),
        ("defaults: {api_key: sk-canary}", "defaults.api_key: unknown setting; it belongs under each provider"),
        ("merge: {duplicate: by_provider}", "merge.duplicate: unknown setting; did you mean 'duplicates'?"),
        ("merge: {x: 1}", "merge.x: unknown setting; known here are duplicates"),
        ("owners: [{match: [a], owner: b, nam: c}]", "owners[0].nam: unknown setting; known here are match, owner"),
        (
            "groups: {default: {models: [], modles: []}}",
            "groups.default.modles: unknown setting; did you mean 'models'?",
        ),
        # sections of the wrong shape
        ("server: 8000", f"server: {PAIRS}"),
        ("server: []", f"server: {PAIRS}"),
        ("cache: [5m]", f"cache: {PAIRS}"),
        ("defaults: fast", f"defaults: {PAIRS}"),
        ("owners: {match: [a], owner: b}", f"owners: {LIST}"),
        ("owners: [gpt-*]", f"owners[0]: {PAIRS}"),
        ("keys: {alice: sk-canary}", f"keys: {LIST}"),
        ("keys: [sk-canary]", f"keys[0]: {PAIRS}"),
        ("keys: 5", f"keys: {LIST}"),
        ("groups: false", "groups: must be groups by name: `staff: {models: [...]}`"),
        ("groups: [staff]", "groups: must be groups by name: `staff: {models: [...]}`"),
        ("groups: {default: ['*']}", f"groups.default: {PAIRS}"),
        ("groups: {default: }", "groups.default.models: is missing; add `models: ...`"),
        ("groups: {default: {models: '*'}}", f"groups.default.models: {LIST}; found '*'"),
        ("groups: {default: {models: [5]}}", f"groups.default.models[0]: {STRING}; found '5'"),
        ("groups: {default: {models: ['']}}", "groups.default.models[0]: must not be empty"),
        ("groups: {staff: {models: []}}", "groups: without `keys:` only the group `default` can see anything; add it"),
        # values of the wrong kind
        ("server: {host: 127}", f"server.host: {STRING}; found '127'"),
        ("server: {host: ''}", "server.host: must not be empty"),
        ("server: {host: }", f"server.host: {NO_VALUE}"),
        ("server: {allow_anonymous: maybe}", "server.allow_anonymous: must be true or false; found 'maybe'"),
        ("server: {allow_anonymous: 5}", "server.allow_anonymous: must be true or false; found '5'"),
        ("server: {allow_anonymous: []}", "server.allow_anonymous: must be true or false"),
        ("server: {port: '${HOST}'}", "server.port: must be a whole number from 0 to 65535; found '${HOST}'"),
        ("server: {cors: 'https://a.example'}", f"server.cors: {LIST}; found 'https://a.example'"),
        (
            "server: {cors: ['https://a.example', '*']}",
            "server.cors[1]: must be an exact origin in lower case and without a path, like https://app.example.com; "
            "found '*'",
        ),
        ("merge: {duplicates: both}", "merge.duplicates: must be 'merge', 'by_owner' or 'by_provider'; found 'both'"),
        ("merge: {duplicates: [merge]}", "merge.duplicates: must be 'merge', 'by_owner' or 'by_provider'"),
        ("owners: [{match: [], owner: a}]", "owners[0].match: must not be empty"),
        ("owners: [{match: [a], owner: ''}]", "owners[0].owner: must not be empty"),
        ("owners: [{match: [a], owner: 360}]", f"owners[0].owner: {STRING}; found '360'"),
        ("defaults: {headers: {X: 5}}", f"defaults.headers.X: {STRING}"),
        ("defaults: {headers: {X: [y]}}", "defaults.headers.X: must be a string"),
        ("defaults: {headers: {X: }}", f"defaults.headers.X: {NO_VALUE}"),
        ("defaults: {headers: [X]}", f"defaults.headers: {PAIRS}"),
        ("defaults: {extra_fields: [5]}", f"defaults.extra_fields[0]: {STRING}; found '5'"),
        ("defaults: {proxy: }", f"defaults.proxy: {NO_VALUE}"),
        # twice
        ("server: {host: a, host: b}", "server.host: stands here a second time; keep one"),
        ("owners: [{owner: a, match: [b], owner: c}]", "owners[0].owner: stands here a second time; keep one"),
    ],
)
def test_a_mistake_in_a_section_is_told_once_with_its_cure(line: str, problem: str) -> None:
    assert problems_of(f"{line}\n{PROVIDER}") == [f"line 1, {problem}"]


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
         "models[1]: has no `id`; begin with `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: 5}]",
         "models[0]: has an id that is no string; begin with `id: ...`, in quotes if it looks like a number"),
        ("models: [{id: ''}]",
         "models[0]: has an empty id; begin with `id: ...`, in quotes if it looks like a number"),
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


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        pytest.param(
            f"name: k, hash: '{DIGEST}'",
            ": has neither `group: ...` nor `models: [...]`; add one, or nobody knows what it may see",
            id="without rules",
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', models: ", f".models: {NO_VALUE}", id="with rules that are missing"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', group: stuff", ".group: no such group; did you mean 'staff'?", id="typo"
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', group: x", ".group: no such group; there are staff", id="no such group"
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', group: [staff]", ".group: must be a string", id="a list of groups"),
        pytest.param("name: k, models: []", ': needs either `hash: "sha256:..."` or `key: "${NAME}"`', id="no key"),
        pytest.param(
            f"name: k, models: [], hash: '{DIGEST}', key: '${{CI_KEY}}'",
            ': needs either `hash: "sha256:..."` or `key: "${NAME}"`',
            id="two keys",
        ),
        pytest.param("name: k, models: [], hash: ", f".hash: {NO_VALUE}", id="an empty hash"),
        pytest.param("name: k, models: [], key: ", f".key: {NO_VALUE}", id="an empty key"),
        pytest.param(f"hash: '{DIGEST}', models: []", ".name: is missing; add `name: ...`", id="no name"),
        pytest.param(f"name: k, hash: '{DIGEST}', models: '*'", f".models: {LIST}; found '*'", id="a string for rules"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], modles: []",
            ".modles: unknown setting; did you mean 'models'?",
            id="an unknown setting",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], expires: 2027-13-45",
            ".expires: must be a day that exists, like 2027-01-31; the key is good until that day ends, UTC; "
            "found '2027-13-45'",
            id="a day that does not exist",
        ),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], expires: 2027-01-31 10:00:00",
            ".expires: must be a day that exists, like 2027-01-31; the key is good until that day ends, UTC; "
            "found '2027-01-31 10:00:00'",
            id="a time of day",
        ),
        pytest.param(f"name: k, hash: '{DIGEST}', models: [], expires: ", f".expires: {NO_VALUE}", id="no last day"),
        pytest.param(
            f"name: k, hash: '{DIGEST}', models: [], admin: maybe",
            ".admin: must be true or false; found 'maybe'",
            id="no flag",
        ),
    ],
)
def test_a_mistake_in_a_key_is_told_once_with_its_cure(key: str, problem: str) -> None:
    text = f"{PROVIDER}groups: {{staff: {{models: []}}}}\nkeys:\n  - {{{key}}}\n"
    assert problems_of(text) == [f"line 6, keys[0]{problem}"]


def test_a_group_is_looked_for_even_where_there_are_none() -> None:
    assert problems_of(f"{KEY}    group: staff\n") == ["line 7, keys[0].group: no such group; there are none"]
    assert problems_of(f"groups: 5\n{KEY}    group: staff\n") == [
        "line 1, groups: must be groups by name: `staff: {models: [...]}`",
        "line 8, keys[0].group: no such group; there are none",
    ]


@pytest.mark.parametrize(
    "value", [CANARY, f"'{CANARY}'", f"${{NOPE:-{CANARY}}}", f"{CANARY[:3]}${{REST}}", "'sk-canary-1234567890'"]
)
def test_a_key_in_plain_text_is_answered_with_the_line_to_paste_and_never_repeated(value: str) -> None:
    text = f'{PROVIDER}keys:\n  - name: k\n    models: ["*"]\n    key: {value}\n'
    digest = "sha256:" + hashlib.sha256(CANARY.encode()).hexdigest()
    with pytest.raises(ConfigError) as refused:
        parsed(text, {"REST": CANARY[3:]})
    assert [str(problem) for problem in refused.value.problems] == [
        f'line 7, keys[0].key: is a secret in plain text; write hash: "{digest}" instead'
    ]
    assert "canary" not in f"{refused.value} {refused.value!r}"
    (key,) = parsed(re.sub(r"    key: .*", f'    hash: "{digest}"', text)).keys
    assert key.digest == hashlib.sha256(CANARY.encode()).digest(), "the pasted line is the same key"


def test_a_number_is_a_key_in_plain_text_as_it_stands_in_the_file() -> None:
    digest = hashlib.sha256(b"0123456").hexdigest()
    assert problems_of(f"{PROVIDER}keys: [{{name: k, models: [], key: 0123456}}]\n") == [
        f'line 4, keys[0].key: is a secret in plain text; write hash: "sha256:{digest}" instead'
    ]


@pytest.mark.parametrize(
    ("value", "environ", "problem"),
    [
        ("''", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("'${K:-}'", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("[sk-canary]", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        ("{sk-canary: x}", {}, 'must be a reference to an environment variable, like "${NAME}"'),
        (
            "'${K}'",
            {"K": "sk-canary\n"},
            "must be printable ASCII without blanks around it, because it is sent in a header",
        ),
        (
            "'${K}'",
            {"K": "sk-canary钥"},
            "must be printable ASCII without blanks around it, because it is sent in a header",
        ),
    ],
)
def test_a_key_that_no_client_could_send_is_refused(value: str, environ: Mapping[str, str], problem: str) -> None:
    text = f"{PROVIDER}keys: [{{name: k, models: [], key: {value}}}]\n"
    assert problems_of(text, environ) == [f"line 4, keys[0].key: {problem}"]


@pytest.mark.parametrize(
    "value",
    ["sk-canary", "0a" * 32, f"SHA256:{'0a' * 32}", f"sha256:{'0a' * 31}", f"sha256:{'0a' * 33}", "5", "[x]", "''"],
)
def test_a_hash_that_is_none_is_answered_with_the_command_that_makes_one(value: str) -> None:
    assert problems_of(f"{PROVIDER}keys: [{{name: k, models: [], hash: {value}}}]\n") == [
        'line 4, keys[0].hash: must be "sha256:" and 64 hexadecimal digits; this prints them: '
        'printf %s "$KEY" | sha256sum'
    ]


def test_names_and_keys_stand_once() -> None:
    text = f"""\
{PROVIDER}keys:
  - {{name: a, hash: "{DIGEST}", models: []}}
  - {{name: b, hash: "{DIGEST.replace("0a", "0A")}", models: []}}
  - {{name: a, hash: "{OTHER_DIGEST}", models: []}}
  - {{name: c, key: "${{CI_KEY}}", models: []}}
  - {{name: d, hash: "sha256:{hashlib.sha256(CANARY.encode()).hexdigest()}", models: []}}
"""
    assert problems_of(text) == [
        "line 6, keys[1]: is the same key as keys[0]; give each its own",
        "line 7, keys[2].name: 'a' stands here a second time; names are unique",
        "line 9, keys[4]: is the same key as keys[3]; give each its own",
    ]


def test_a_provider_without_a_name_takes_none_away() -> None:
    text = "providers:\n  - {base_url: 'http://h'}\n  - {name: None, base_url: 'http://h'}\n"
    assert problems_of(text) == ["line 2, providers[0].name: is missing; add `name: ...`"]


def test_what_is_inherited_is_told_once_and_where_it_stands() -> None:
    text = f"""\
cache: {{initial_wait: soon}}
defaults:
  timeout: 0
  headers: {{X: [y]}}
  retries:
{PROVIDER}  - {{name: b, base_url: 'http://h'}}
"""
    assert problems_of(text) == [
        "line 1, cache.initial_wait: must be a duration above zero: a number with a unit, like 250ms, 4s, 5m, 24h or "
        "7d; found 'soon'",
        "line 3, defaults.timeout: must be a duration above zero: a number with a unit, like 250ms, 4s, 5m, 24h or 7d; "
        "found '0'",
        "line 4, defaults.headers.X: must be a string",
        f"line 5, defaults.retries: {NO_VALUE}",
    ]


# -- warnings ------------------------------------------------------------------------------------------------------


def test_rules_that_only_forbid_are_a_warning() -> None:
    config = parsed(f"groups:\n  default: {{models: ['!a']}}\n  staff: {{models: []}}\n{KEY}    models: ['!a', '!b']\n")
    assert config.warnings == (
        'config.yaml, line 2: group default has only `!` rules and sees nothing; add "*" to see the rest',
        'config.yaml, line 10: key k has only `!` rules and sees nothing; add "*" to see the rest',
    )


def test_brackets_in_patterns_are_a_warning_wherever_patterns_stand() -> None:
    text = """\
owners:
  - {match: ["gpt-*", "o[0-9]*"], owner: openai}
providers:
  - {name: a, base_url: "http://h", include: ["*[1m]"], exclude: ["x", "y[ab]"]}
groups:
  default: {models: ["*", "!owner:[ab]*"]}
keys:
"""
    text += f"  - {{name: k, hash: '{DIGEST}', models: ['!a[b', '*', 'provider:[ab]*']}}\n"
    config = parsed(text)
    places = (
        "2: owners[0].match[1]", "6: groups.default.models[1]", "8: keys[0].models[0]", "8: keys[0].models[2]",
        "4: providers[0].include[0]", "4: providers[0].exclude[1]",
    )  # fmt: skip
    meaning = "`[` is matched literally; character classes like [0-9] are not supported"
    assert config.warnings == tuple(f"config.yaml, line {place}: {meaning}" for place in places)


def test_a_provider_in_brackets_is_a_misspelt_name() -> None:
    text = f"{PROVIDER}groups: {{default: {{models: ['*', '!provider:[a]']}}}}\n"
    assert problems_of(text) == ["line 4, groups.default.models[1]: no such provider"]


def test_models_that_go_before_they_are_asked_for_again_are_a_warning() -> None:
    text = f"cache:\n  max_stale: 1m\n{PROVIDER}  - {{name: b, base_url: 'http://h', ttl: 30s}}\n"
    text += "  - {name: c, base_url: 'http://h', max_stale: 2m}\n"
    why = "max_stale is shorter than ttl, so models go before their provider is asked again"
    assert parsed(text).warnings == (f"config.yaml, line 2: {why}", f"config.yaml, line 7: {why}")
    assert parsed(f"{PROVIDER}    ttl: 48h\n").warnings == (f"config.yaml, line 4: {why}",)


# -- secrets -------------------------------------------------------------------------------------------------------

WITH_SECRETS = """\
providers:
  - name: a
    kind: pangu
    base_url: https://h
    workspace_id: w
    model_ids: [m]
    api_key: sk-canary-1234567890
    headers: {X-Key: sk-canary-1234567890}
    proxy: http://user:sk-canary-1234567890@egress
  - name: b
    kind: pangu
    base_url: https://h
    workspace_id: w
    model_ids: [m]
    iam: {url: "https://iam", domain: d, user: u, password: sk-canary-1234567890, project: p}
groups: {default: {models: []}}
keys:
  - {name: k, key: "${CI_KEY}", models: []}
"""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_no_secret_is_in_a_configuration() -> None:
    config = parsed(WITH_SECRETS)
    assert len(config.providers) == 2
    assert "canary" not in f"{config!r} {config}"


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(("base_url: https://h", "base_url: https://user:sk-canary@h"), id="a login in a base_url"),
        pytest.param(("base_url: https://h", "base_url: https://h?key=sk-canary"), id="a key in a base_url"),
        pytest.param(("base_url: https://h", "base_url: https://h:sk-canary"), id="a port that is none"),
        pytest.param(("base_url: https://h", "base_url: [sk-canary]"), id="a list for a base_url"),
        pytest.param(("api_key: sk", "api_key: !sk"), id="a tag"),
        pytest.param(("api_key: sk", "api_key: *sk"), id="an alias"),
        pytest.param(("api_key: sk", "api_key: @sk"), id="a character that is not for YAML"),
        pytest.param(("api_key: sk", 'api_key: "sk'), id="a quote that is never closed"),
        pytest.param(("api_key: sk", "api_key:sk"), id="no blank after the colon"),
        pytest.param(("api_key: sk", "api_key: sk: "), id="two colons"),
        pytest.param(("api_key: sk", "api_key: [sk]\n    x: "), id="a list for a key"),
        pytest.param(("api_key: sk", "api_key: {sk-canary: x}\n    x: "), id="a mapping for a key"),
        pytest.param(("api_key: sk", 'api_key: "é" #'), id="a key that cannot be sent"),
        pytest.param(("api_key: ", "api_key: ${"), id="half a reference"),
        pytest.param(("api_key: ", "api_kye: "), id="an unknown setting"),
        pytest.param(("api_key: ", "api_key_file: "), id="a key for the name of its file"),
        pytest.param(("api_key: ", "optional: true\n    api_key_file: "), id="the same, optional"),
        pytest.param(("api_key: ", "ca_file: /"), id="a file that does not exist"),
        pytest.param(("{X-Key: ", "{X-Key:"), id="no blank in a header"),
        pytest.param(("{X-Key: sk", '{"X-Key: sk-canary": sk'), id="a whole header for a name"),
        pytest.param(("{X-Key: sk", "{X-Key: é"), id="a header that cannot be sent"),
        pytest.param(("{X-Key: sk-canary-1234567890}", "{sk-canary-1234567890}"), id="only a secret for a header"),
        pytest.param(("{X-Key: sk-canary-1234567890}", "sk-canary-1234567890"), id="a string for headers"),
        pytest.param(("{X-Key: sk-canary-1234567890}", "[sk-canary-1234567890]"), id="a list for headers"),
        pytest.param(("{X-Key: ", "{X-Key: sk-canary, X-Key: "), id="a header twice"),
        pytest.param(("@egress", "@egress:port"), id="a proxy with a wrong port"),
        pytest.param(("@egress", "#@egress"), id="a proxy whose password is not encoded"),
        pytest.param(("http://user", "user"), id="a proxy without a scheme"),
        pytest.param(("http://user", "[http://user"), id="a bracket"),
        pytest.param(("password: sk", "password: [sk]\n    x: [sk"), id="a broken line"),
        pytest.param(("password: ", "password:"), id="no blank in a login"),
        pytest.param(("password: ", "user: "), id="a password for a user"),
        pytest.param(("password: sk-canary-1234567890", "password: {sk-canary: x}"), id="a mapping for a password"),
        pytest.param(('"https://iam"', '"https://user:sk-canary@iam"'), id="a login in the address of a login"),
        pytest.param(('"${CI_KEY}"', "sk-canary"), id="a key in plain text"),
        pytest.param(('key: "${CI_KEY}"', "key:sk-canary"), id="a key without a blank"),
        pytest.param(('key: "${CI_KEY}"', "sk-canary-1: x"), id="a key for a setting"),
        pytest.param(('key: "${CI_KEY}"', "hash: sk-canary"), id="a key for its hash"),
        pytest.param(('"${CI_KEY}"', "[sk-canary]"), id="a list of keys"),
        pytest.param(('{name: k, key: "${CI_KEY}", models: []}', "sk-canary"), id="nothing but a key"),
        pytest.param(("  - {name: k,", "  sk-canary-1: {name: k,"), id="keys by their secret"),
        pytest.param(("keys:", "sk-canary-1: x\nkeys:"), id="a secret at the top"),
        pytest.param(("keys:", "server: {cors: ['https://user:sk-canary@h']}\nkeys:"), id="a login in an origin"),
    ],
)
def test_no_mistake_makes_a_secret_show(mistake: tuple[str, str]) -> None:
    text = WITH_SECRETS.replace(*mistake)
    assert text != WITH_SECRETS
    made = outcome(text)
    if isinstance(made, Config):
        assert "optional" in text, "every other mistake is found"
        assert "canary" not in repr(made)
    else:
        assert "canary" not in repr(made.problems)
        for cause in causes(made):
            assert "canary" not in f"{cause!r} {cause}"


def test_a_file_in_the_wrong_encoding_is_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(WITH_SECRETS.encode() + b"\xff")
    with pytest.raises(ConfigError) as refused:
        read(file, ENVIRON)
    for cause in causes(refused.value):
        assert "canary" not in f"{cause!r} {cause}"


# -- anything ------------------------------------------------------------------------------------------------------

JARGON = re.compile(
    r"pydantic|[Tt]uple|mapping proxy|Input should|Value error|valid (string|integer|list|dict)|NoneType|<class|"
    r"object at|SecretStr|is not what can stand here|yaml\.org"
)
PIECES = ["", " ", "\t", "-", "- ", ":", ": ", "*", "&a ", "!", "{", "}", "[", "]", '"', "'", "#", "|", ">", "\x00",
          "é", "${", "<<: "]  # fmt: skip
# No letters of which jargon could be made by chance.
TEXT = st.text("abn_:-*!$ 0é模\n", max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | TEXT
    | st.sampled_from(["*", "!x", "${NOPE}", "${HOST}", "${X", "5m", "http://h", "static", "openai", "all", DIGEST]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "id", "models", "url"]) | TEXT, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a document at which something stands."""
    yield path
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in children:
        yield from places(child, (*path, part))


def mutated(value: Any, path: tuple[str | int, ...], new: object, name: str) -> Any:
    """The document with another value at one place, or, with a name, with the place under that name."""
    if not path:
        return new
    part, *rest = path
    inner = mutated(value[part], tuple(rest), new, name)
    if isinstance(value, list):
        return [inner if index == part else child for index, child in enumerate(value)]
    renamed = name if name and not rest else part
    return {(renamed if key == part else key): inner if key == part else child for key, child in value.items()}


def check(text: str) -> None:
    """Whatever comes of a text is a configuration or a readable error, without a secret."""
    made = outcome(text)
    assert "canary" not in f"{made!r} {made}"
    if isinstance(made, ConfigError):
        assert made.problems
        assert not JARGON.search(str(made)), str(made)
        assert all(problem.line <= text.count("\n") + 2 for problem in made.problems)


VALID = yaml.safe_load(
    re.sub(r" *ca_file: .*\n", "", EVERYTHING).replace("${API_KEY}", CANARY).replace("api_key_file: ", "api_key: ")
)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_valid_file_with_one_mistake_is_a_configuration_or_a_readable_error(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(places(VALID), key=str)))
    name = data.draw(st.just("") | TEXT) if path and isinstance(path[-1], str) else ""
    old = VALID
    for part in path:
        old = old[part]
    new = old if name else data.draw(ANYTHING)
    check(yaml.safe_dump(mutated(VALID, path, new, name), sort_keys=False, allow_unicode=True))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_valid_file_with_a_line_or_a_character_changed_is_a_configuration_or_a_readable_error(
    data: st.DataObject,
) -> None:
    lines = WITH_SECRETS.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    line = lines[index]
    column = data.draw(st.integers(0, len(line)))
    extra = data.draw(st.sampled_from(PIECES))
    skip = data.draw(st.integers(0, 2))
    lines[index] = line[:column] + extra + line[column + skip :]
    check("\n".join(lines) + "\n")


@settings(max_examples=150, deadline=None)
@given(st.text("prodviers:nam -[]{}\"'*&!|>#%@\n\t0", max_size=80))
def test_any_text_is_a_configuration_or_a_readable_error(text: str) -> None:
    check(text)


def test_ten_thousand_keys_are_read_in_good_time(capsys: pytest.CaptureFixture[str]) -> None:
    keys = "".join(f'  - {{name: k{n}, hash: "sha256:{n:064x}", group: staff}}\n' for n in range(10_000))
    text = f"groups: {{staff: {{models: ['*']}}}}\n{PROVIDER}keys:\n{keys}"
    began = time.process_time()
    config = parsed(text)
    seconds = time.process_time() - began
    with capsys.disabled():
        print(f" [10,000 keys: {seconds:.2f} s of CPU] ", end="")
    assert len(config.keys) == 10_000


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        pytest.param("!provider:lb", "no such provider; did you mean 'lab'?", id="a provider that is not there"),
        pytest.param("!onwer:x", "begins with an unknown word; did you mean 'owner:x'?", id="a misspelt word"),
        pytest.param("!Provider:lab", "begins with an unknown word; did you mean 'provider:lab'?", id="capitals"),
        pytest.param("!owner: x", "must not hold a blank behind `!` or around `:`", id="a blank behind the colon"),
        pytest.param("! secret-*", "must not hold a blank behind `!` or around `:`", id="a blank behind the !"),
        pytest.param("gpt-* ", "must not hold a blank behind `!` or around `:`", id="a blank at the end"),
        pytest.param("!", "names nothing", id="nothing behind the !"),
        pytest.param("owner:", "names nothing", id="nothing behind the colon"),
    ],
)
def test_a_misspelt_rule_is_refused_since_it_would_show_what_it_should_hide(rule: str, problem: str) -> None:
    text = f"""providers:
  - {{name: lab, kind: static, models: [{{id: m}}]}}
groups:
  default:
    models: ["*", "{rule}"]
"""
    assert problems_of(text) == [f"line 5, groups.default.models[1]: {problem}"]


@pytest.mark.parametrize("rule", ["llama3:8b", "!a:*", "provider:la*", "!provider:lab", "owner:nobody-yet", "*: x"])
def test_a_rule_over_ids_with_colons_or_patterns_is_none_of_that(rule: str) -> None:
    text = 'providers: [{name: lab, kind: static, models: [{id: m}]}]\ngroups: {default: {models: ["%s"]}}'
    assert problems_of(text % rule) == []
