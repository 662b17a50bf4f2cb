"""`models-proxy check`: what a file would do is shown before it does it, and no secret with it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.catalog import FetchResult
from proxy.cli.audit import ProbeResult
from proxy.cli.check import ask_all, needed_and_failed
from proxy.cli.main import main
from proxy.config import ConfigError, parse
from proxy.errors import UpstreamError
from proxy.upstream.transport import HTTP_LOGGERS
from tests.fakes import FakeClock, FakeFetch, answer_of, breathe, config_of, digest, entry
from tests.paths import ROOT
from tests.processes import free_port, serving
from tests.providers.lists import CTYUN_WRONG_KEY, lists, pages_of_versions, version
from tests.providers.scripted import FakeProviders, hangs, replies

CANARIES = {
    "UPSTREAM_KEY": "sk-canary-upstream-0123456789",
    "CLIENT_KEY": "sk-canary-client-0123456789",
    "HEADER": "sk-canary-header-0123456789",
    "EGRESS": "http://user:sk-canary-proxy-0123456789@127.0.0.1:9",
}


@pytest.fixture
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def run(config: Path, text: str, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    config.write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["check", "--config", str(config), *arguments], env=env)


def checked(config: Path, text: str, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(config, text, "--json", *arguments, env=env).stdout)
    return document


def without_times(said: str) -> str:
    return re.sub(r"\b[0-9]+\.[0-9] s", "0.0 s", said)


def three(upstreams: FakeProviders) -> str:
    """Two that list one id in common and one that refuses, all of them with canaries; and two that are not asked."""
    first = lists(
        {"id": "gpt-4o", "created": 1715367049, "owned_by": "system"},
        "gpt-4o-mini",
        "gpt-5-preview",
        {"id": ""},
        {"id": ""},
    )
    second = lists({"id": "gpt-4o", "owned_by": "vendor"}, "测试模型名称1")
    return f"""
providers:
  - {{name: openai, base_url: "{upstreams.open(first).url}", api_key: "${{UPSTREAM_KEY}}", exclude: ["*-preview"]}}
  - {{name: reseller, base_url: "{upstreams.open(second).url}", headers: {{X-Team: "${{HEADER}}"}}}}
  - {{name: ctyun, base_url: "{upstreams.open(replies(CTYUN_WRONG_KEY, 401)).url}", api_key: "${{UPSTREAM_KEY}}"}}
  - {{name: paid, base_url: "http://127.0.0.1:9", api_key: "${{NO_SUCH_VARIABLE}}", optional: true}}
  - {{name: lab, kind: static, models: [{{id: our-own-13b}}]}}
groups: {{default: {{models: ["gpt-*"]}}, staff: {{models: ["*", "!llama-*"]}}}}
keys:
  - {{name: alice, key: "${{CLIENT_KEY}}", models: ["provider:reseller", "provider:lab"]}}
  - {{name: old, hash: "{digest("old")}", group: staff, expires: 2020-01-01}}
"""


# -- what a person reads -----------------------------------------------------------------------------------------------


def test_it_shows_providers_models_what_was_merged_what_would_collide_and_what_matches_nothing(
    config: Path, upstreams: FakeProviders
) -> None:
    result = run(config, three(upstreams), env=CANARIES)
    assert without_times(result.stdout) == (
        """\
4 providers
state     provider  models  pages  tries   time
ok        openai         3      1      1  0.0 s  2 entries dropped: has an empty id; \
1 left out by include and exclude
ok        reseller       2      1      1  0.0 s
failed    ctyun          -             1  0.0 s  our credential was refused, status 401: \
AppKey不正确,请使用正确的AppKey
declared  lab            1
left out  paid                                   NO_SUCH_VARIABLE not set

4 models
id             owner     providers, preferred first  created
gpt-4o         openai    openai, reseller            2024-05-10
gpt-4o-mini    openai    openai                      -
our-own-13b    lab       lab                         -
测试模型名称1  reseller  reseller                    -

Merged: 1 model of several providers
gpt-4o: openai, then reseller; owners differ: openai, vendor

With `duplicates: by_owner`: 5 models
No id would come from several providers.

With `duplicates: by_provider`: 5 models
No id would come from several providers.

2 findings
- key old has expired (2020-01-01); it is refused with 401
- group staff has the rule '!llama-*', which matches nothing
Judged without the models of ctyun.
"""
    )
    assert result.stderr.splitlines()[-1] == (
        "Error: 1 provider failed: ctyun; mend what is said above, or mark it `optional: true`"
    )
    assert result.exit_code == 1


def test_as_a_key_sees_it_only_what_it_may_see_is_there(config: Path, upstreams: FakeProviders) -> None:
    shown = run(config, three(upstreams), "--key", "alice", env=CANARIES).stdout
    assert shown.partition("\n\n")[2] == (
        """\
3 models, as the key alice sees them
id             owner     providers, preferred first  created
gpt-4o         vendor    reseller                    -
our-own-13b    lab       lab                         -
测试模型名称1  reseller  reseller                    -

No findings
Judged without the models of ctyun.
"""
    )


def test_json_as_a_key_sees_it_has_only_what_concerns_that_key(config: Path, upstreams: FakeProviders) -> None:
    document = checked(config, three(upstreams), "--key", "alice", env=CANARIES)
    assert (document["key"], document["merged"], document["findings"]) == ("alice", [], [])
    assert [model["id"] for model in document["models"]] == ["gpt-4o", "our-own-13b", "测试模型名称1"]


def test_what_a_key_sees_is_what_the_server_lists_for_it(config: Path, upstreams: FakeProviders) -> None:
    text = three(upstreams)
    expected = checked(config, text, "--key", "alice", env=CANARIES)["models"]
    with serving(config, text, env=CANARIES) as process:
        environ = {"MODELS_PROXY_URL": process.url, "MODELS_PROXY_KEY": CANARIES["CLIENT_KEY"]}
        listed = json.loads(CliRunner().invoke(main, ["models", "--json"], env=environ).stdout)["data"]
    shown = [{name: model[name] for name in ("id", "owned_by", "created")} for model in listed]
    assert shown == [{name: model[name] for name in ("id", "owned_by", "created")} for model in expected]


def test_an_alias_is_merged_under_its_public_id_and_the_providers_own_is_told(
    config: Path, upstreams: FakeProviders
) -> None:
    text = f"""
providers:
  - {{name: a, base_url: "{upstreams.open(lists("m")).url}"}}
  - {{name: b, base_url: "{upstreams.open(lists("b-m", "b-n")).url}", aliases: {{m: b-m}}}}
"""
    assert "\nm: a, then b (as b-m); owners differ: a, b\n" in run(config, text).stdout


def test_all_pages_are_asked_for_and_counted(config: Path, upstreams: FakeProviders) -> None:
    pangu = upstreams.open(pages_of_versions("w", {"m": [version(f"v{n}", f"Pangu {n}") for n in range(3)]}))
    text = f"""
providers:
  - {{name: pangu, kind: pangu, base_url: "{pangu.url}/v1", workspace_id: w, model_ids: [m], api_key: canary}}
"""
    (provider,) = checked(config, text)["providers"]
    assert {name: provider[name] for name in ("state", "models", "listed", "pages", "attempts")} == {
        "state": "ok", "models": 3, "listed": 3, "pages": 2, "attempts": 1,
    }  # fmt: skip


def test_a_model_that_is_listed_twice_is_counted_once_and_that_is_told(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: a, base_url: "{upstreams.open(lists("m", "n", "m")).url}"}}]'
    said = without_times(run(config, text).stdout)
    assert "ok     a              3      1      1  0.0 s  1 listed twice\n\n2 models\n" in said


def test_an_empty_catalogue_is_said_as_such(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: a, base_url: "{upstreams.open(lists()).url}"}}]'
    assert run(config, text).stdout.partition("\n\n")[2] == (
        """\
0 models

With `duplicates: by_owner`: 0 models
No id would come from several providers.

With `duplicates: by_provider`: 0 models
No id would come from several providers.

1 finding
- callers without a key see nothing: no model is allowed by *
"""
    )


def test_many_collisions_are_counted_and_some_of_them_shown(config: Path, upstreams: FakeProviders) -> None:
    ids = [f"gpt-{number:02}" for number in range(12)]
    text = "merge: {duplicates: by_provider}\nproviders:\n" + "".join(
        f'  - {{name: {name}, base_url: "{upstreams.open(lists(*ids)).url}"}}\n' for name in "ab"
    )
    assert run(config, text).stdout.count("12 ids would come from several providers:\n  gpt-00: a, b\n") == 1
    assert "  gpt-09: a, b\n  and 2 more; --json shows all\n" in run(config, text).stdout


def test_progress_is_a_line_for_each_provider_on_stderr_where_there_is_no_terminal(
    config: Path, upstreams: FakeProviders
) -> None:
    lines = without_times(run(config, three(upstreams), env=CANARIES).stderr).splitlines()
    assert sorted(re.sub(r"\([123] of", "(n of", line) for line in lines[:3]) == [
        "ctyun failed after 0.0 s (n of 3)",
        "openai answered after 0.0 s (n of 3)",
        "reseller answered after 0.0 s (n of 3)",
    ]


def test_the_shipped_file_needs_no_network(config: Path) -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    ollama = f"http://127.0.0.1:{free_port()}"
    document = checked(config, text, env={"OLLAMA_BASE_URL": ollama})
    errors = {one["name"]: one["error"] for one in document["providers"] if one["state"] == "failed"}
    assert errors["openrouter"] == {"kind": "dns", "reason": "its host name cannot be found"}
    assert errors["ollama"] == {"kind": "connection_refused", "reason": "refuses connections"}
    assert [model["id"] for model in document["models"]] == ["example-model"]


# -- exit codes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param("", 1, id="a provider that is needed"),
        pytest.param(", optional: true", 0, id="an optional one"),
    ],
)
def test_a_provider_that_fails_ends_with_1_unless_it_is_optional(more: str, code: int, config: Path) -> None:
    text = f"""
providers:
  - {{name: gone, base_url: "http://127.0.0.1:{free_port()}", retries: 0{more}}}
  - {{name: lab, kind: static, models: [{{id: m}}]}}
"""
    result = run(config, text)
    assert (result.exit_code, "Error: 1 provider failed: gone" in result.stderr) == (code, code == 1)
    assert checked(config, text)["ok"] is (code == 0)


def test_findings_and_warnings_alone_are_fine(config: Path) -> None:
    text = f"""
providers: [{{name: lab, kind: static, models: [{{id: m}}]}}]
keys: [{{name: k, hash: "{digest("k")}", models: ["!m"]}}]
"""
    result = run(config, text)
    warning = f'{config}, line 3: key k has only `!` rules and sees nothing; add "*" to see the rest'
    assert (result.exit_code, result.stderr) == (0, f"warning: {warning}\n")
    assert checked(config, text)["warnings"] == [warning]


def test_a_pattern_with_brackets_that_hides_nothing_ends_with_1(config: Path, upstreams: FakeProviders) -> None:
    address = upstreams.open(lists("o3-mini", "claude-opus-5[1m]")).url
    text = f"""
providers: [{{name: lab, base_url: "{address}", exclude: ["o[0-9]*"]}}]
groups: {{default: {{models: ["*", "!claude-opus-5[1m]"]}}}}
"""
    result = run(config, text)
    said = "`[` is matched literally"
    error = f"provider lab has exclude 'o[0-9]*', which matches none of its models; {said}"
    assert (result.exit_code, f"Error: {error}" in result.stderr) == (1, True)
    assert result.stderr.count(f"{said}; character classes like [0-9] are not supported") == 2
    assert checked(config, text)["ok"] is False
    assert run(config, text.replace("o[0-9]*", "o3*")).exit_code == 0


def test_all_problems_of_the_file_are_told_and_nobody_is_asked(config: Path, upstreams: FakeProviders) -> None:
    upstream = upstreams.open(lists("m"))
    text = f"""
server: {{prot: 8000}}
providers:
  - {{name: a, base_url: "{upstream.url}"}}
  - {{name: b, base_url: "ftp://127.0.0.1"}}
keys:
  - {{name: k, key: sk-canary-in-plain-text, models: ["*"]}}
"""
    with pytest.raises(ConfigError) as error:
        parse(text, str(config))
    result = run(config, text)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {error.value}\n")
    document = checked(config, text)
    assert document["ok"] is False
    assert document["problems"] == [
        {"line": problem.line, "setting": problem.setting, "text": problem.text} for problem in error.value.problems
    ]
    assert (len(document["problems"]), document["providers"], document["models"]) == (3, [], [])
    assert "canary" not in result.output
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        pytest.param("alise", "no key has this name; did you mean 'alice'?", id="nearly"),
        pytest.param("sk-canary-a-key-itself", "no key has this name; there are alice, old", id="the key itself"),
    ],
)
def test_a_key_that_does_not_exist_is_a_usage_error_and_is_not_repeated(
    typed: str, hint: str, config: Path, upstreams: FakeProviders
) -> None:
    result = run(config, three(upstreams), "--key", typed, env=CANARIES)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for '--key': {hint}"
    assert typed not in result.stderr


def test_without_any_key_in_the_file_that_is_said(config: Path) -> None:
    result = run(config, "providers: [{name: lab, kind: static, models: [{id: m}]}]", "--key", "k")
    assert (result.exit_code, "no key has this name; there are none" in result.stderr) == (2, True)


# -- for machines ------------------------------------------------------------------------------------------------------


def test_json_is_one_document_with_everything_that_a_person_reads(config: Path, upstreams: FakeProviders) -> None:
    result = run(config, three(upstreams), "--json", env=CANARIES)
    document = json.loads(result.stdout)
    for provider in document["providers"]:
        assert provider.pop("seconds") < 5
    assert document["providers"][0] == {
        "name": "openai", "kind": "openai", "optional": False, "state": "ok", "models": 3, "listed": 2, "pages": 1,
        "attempts": 1, "dropped": {"has an empty id": 2}, "error": None,
    }  # fmt: skip
    assert [(provider["name"], provider["state"]) for provider in document["providers"]] == [
        ("openai", "ok"), ("reseller", "ok"), ("ctyun", "failed"), ("lab", "declared"), ("paid", "left_out"),
    ]  # fmt: skip
    assert document["models"][0] == {
        "id": "gpt-4o",
        "owned_by": "openai",
        "created": 1715367049,
        "offers": [{"provider": "openai", "id": "gpt-4o"}, {"provider": "reseller", "id": "gpt-4o"}],
    }
    assert {name: document[name] for name in document if name not in ("providers", "models")} == {
        "ok": False,
        "problems": [],
        "warnings": [],
        "key": None,
        "merged": ["gpt-4o"],
        "duplicates": "merge",
        "other_duplicates": [
            {"duplicates": "by_owner", "models": 5, "collisions": {}},
            {"duplicates": "by_provider", "models": 5, "collisions": {}},
        ],
        "findings": [
            {"kind": "expired", "who": "key old", "text": "has expired (2020-01-01); it is refused with 401"},
            {"kind": "matches_nothing", "who": "group staff", "text": "has the rule '!llama-*', which matches nothing"},
        ],
    }
    assert result.stderr.startswith("Error: 1 provider failed: ctyun;"), "no progress where machines read"


def test_every_field_of_the_json_is_named_in_the_help(config: Path, upstreams: FakeProviders) -> None:
    document = checked(config, three(upstreams), env=CANARIES)
    promised = CliRunner().invoke(main, ["check", "--help"]).stdout.partition("--json:")[2]
    names = {*document, *document["providers"][0], *document["models"][0], *document["findings"][0]}
    assert {name for name in names if not re.search(rf"\b{name}\b", promised)} == set()


def test_a_file_that_can_be_read_only_once_is_checked_too(tmp_path: Path) -> None:
    """As in `--config <(sops decrypt config.yaml)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with ThreadPoolExecutor() as threads:
        threads.submit(pipe.write_text, "providers: [{name: lab, kind: static, models: [{id: m}]}]")
        result = CliRunner().invoke(main, ["check", "--config", str(pipe)])
    assert (result.exit_code, result.stderr) == (0, "")


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_is_shown_even_where_a_provider_says_it(
    as_json: bool, config: Path, upstreams: FakeProviders
) -> None:
    echo = replies({"error": {"message": f"bad key {CANARIES['UPSTREAM_KEY']}"}}, 401)
    text = three(upstreams).replace(
        "providers:\n",
        f"""providers:
  - {{name: echo, base_url: "{upstreams.open(echo).url}", api_key: "${{UPSTREAM_KEY}}"}}
  - {{name: egress, base_url: "http://127.0.0.1/v1", proxy: "${{EGRESS}}", retries: 0}}
""",
    )
    result = run(config, text, *(["--json"] if as_json else []), env=CANARIES)
    assert "bad key ***" in result.stdout
    assert "egress" in result.stdout
    assert "canary" not in result.output


# -- asking ------------------------------------------------------------------------------------------------------------

MANY = """
providers:
  - {name: a, base_url: "http://127.0.0.1/a/v1", retries: 5}
  - {name: lab, kind: static, models: [{id: m}]}
  - {name: b, base_url: "http://127.0.0.1/b/v1", optional: true}
"""


@pytest.mark.anyio
async def test_all_are_asked_at_once_and_heard_in_the_order_of_the_file(clock: FakeClock, fetch: FakeFetch) -> None:
    late = fetch.hangs("a")
    fetch.answers("b", FetchResult((entry("n"),), pages=2, attempts=3, dropped={"is no object": 1}))
    told: list[str] = []
    config = config_of(MANY)
    a, lab, b = config.providers
    asking = asyncio.create_task(ask_all(config, fetch, clock, lambda heard: told.append(heard.provider.name)))
    await breathe()
    assert (told, fetch.asked, fetch.retries["a"]) == (["b"], {"a": 1, "b": 1}, [5])
    await clock.advance(2.5)
    late.set_result(answer_of("m"))
    assert await asking == [
        ProbeResult(a, answer_of("m"), None, 2.5),
        ProbeResult(lab),
        ProbeResult(b, FetchResult((entry("n"),), pages=2, attempts=3, dropped={"is no object": 1}), None, 0.0),
    ]
    assert told == ["b", "a"]


@pytest.mark.anyio
async def test_a_failure_and_even_a_bug_of_ours_is_that_of_one_provider(clock: FakeClock, fetch: FakeFetch) -> None:
    fetch.fails("a", ValueError("sk-canary-in-a-bug"))
    refused = UpstreamError("connection_refused", "refuses connections")
    fetch.fails("b", refused)
    a, lab, b = await ask_all(config_of(MANY), fetch, clock, lambda heard: None)
    assert a.error is not None
    assert (a.error.kind, a.error.reason) == ("internal_error", "its answer met a bug of ours (ValueError)")
    assert (lab.error, b.error) == (None, refused)
    assert needed_and_failed([a, lab, b]) == ["a"]


def test_a_provider_that_hangs_is_given_up_at_its_timeout(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: silent, base_url: "{upstreams.open(hangs).url}", timeout: 600ms, retries: 0}}]'
    (provider,) = checked(config, text)["providers"]
    assert (provider["state"], provider["error"]["kind"]) == ("failed", "timeout")
    assert provider["seconds"] < 5


def test_loggers_that_write_headers_and_urls_are_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loggers = [logging.getLogger(name) for name in HTTP_LOGGERS]
    for logger in loggers:
        monkeypatch.setattr(logger, "disabled", False)
    config = tmp_path / "config.yaml"
    config.write_text("providers: [{name: lab, kind: static, models: [{id: m}]}]")

    assert CliRunner().invoke(main, ["check", "--config", str(config)]).exit_code == 0
    assert all(logger.disabled for logger in loggers)
