"""The output of `check`, for people and as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from proxy.cli.main import main
from tests.cli.checks import CANARIES, checked, run, three, without_times
from tests.providers.lists import lists, pages_of_versions, version
from tests.providers.scripted import FakeProviders

# -- for people --------------------------------------------------------------------------------------------------------


def test_the_report_contains_providers_models_merged_models_collisions_and_findings(
    config: Path, upstreams: FakeProviders
) -> None:
    result = run(config, three(upstreams), env=CANARIES)
    assert without_times(result.stdout) == (
        """\
4 providers
state     provider  models  pages  attempts   time
ok        openai         3      1         1  0.0 s  2 entries dropped: empty id; \
1 removed by exclude; URL: http://127.0.0.1:1/v1/models
ok        reseller       2      1         1  0.0 s  URL: http://127.0.0.1:1/v1/models
failing   ctyun          -                1  0.0 s  authentication failed (401: \
AppKey不正确,请使用正确的AppKey): check the provider's api_key; URL: http://127.0.0.1:1/v1/models
declared  lab            1
skipped   paid                                      NO_SUCH_VARIABLE not set or empty

4 models
id             owner     providers, preferred first  created
gpt-4o         openai    openai, reseller            2024-05-10
gpt-4o-mini    openai    openai                      -
our-own-13b    lab       lab                         -
测试模型名称1  reseller  reseller                    -

Merged: 1 model from several providers
gpt-4o: openai, then reseller; owners differ: openai, reseller

With `duplicates: by_owner`: 5 models
No id is shared by several providers.

With `duplicates: by_provider`: 5 models
No id is shared by several providers.

1 finding
- key old: expired on 2020-01-01; requests with it get 401
Incomplete: the list of ctyun could not be fetched, so its models were not checked
"""
    )
    assert result.stderr.splitlines()[-1] == (
        "Error: 1 provider failed: ctyun; fix the errors above, or set `optional: true`"
    )
    assert result.exit_code == 1


def test_the_report_for_a_key_contains_only_the_models_it_can_access(config: Path, upstreams: FakeProviders) -> None:
    shown = run(config, three(upstreams), "--key", "alice", env=CANARIES).stdout
    assert shown.partition("\n\n")[2] == (
        """\
3 models for key alice
id             owner     providers, preferred first  created
gpt-4o         reseller  reseller                    -
our-own-13b    lab       lab                         -
测试模型名称1  reseller  reseller                    -

No findings
Incomplete: the list of ctyun could not be fetched, so its models were not checked
"""
    )


def test_an_alias_is_merged_under_its_public_id_and_the_provider_id_is_shown(
    config: Path, upstreams: FakeProviders
) -> None:
    text = f"""
providers:
  - {{name: a, base_url: "{upstreams.open(lists("m")).url}"}}
  - {{name: b, base_url: "{upstreams.open(lists("b-m", "b-n")).url}", aliases: {{m: b-m}}}}
"""
    assert "\nm: a, then b (as b-m); owners differ: a, b\n" in run(config, text).stdout


def test_a_duplicate_id_of_one_provider_is_counted_once_and_reported(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: a, base_url: "{upstreams.open(lists("m", "n", "m")).url}"}}]'
    output = without_times(run(config, text).stdout)
    row = "ok     a              2      1         1  0.0 s  1 duplicate id; URL: http://127.0.0.1:1/v1/models"
    assert f"{row}\n\n2 models\n" in output


def test_entries_that_are_too_large_are_listed_and_counted(config: Path, upstreams: FakeProviders) -> None:
    server = upstreams.open(lists("m", {"id": "n", "x": "y" * 70_000}))
    output = without_times(run(config, f'providers: [{{name: a, base_url: "{server.url}"}}]').stdout)
    note = "1 entry too large; the largest fields are not shown"
    assert f"0.0 s  {note}; URL: http://127.0.0.1:1/v1/models\n\n2 models\n" in output


def test_an_empty_list_has_the_state_empty_with_a_hint(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: a, base_url: "{upstreams.open(lists()).url}"}}]'
    hint = "returned no models; if that is normal, set `may_be_empty: true`"

    assert f"empty  a              0      1         1  0.0 s  {hint}" in without_times(run(config, text).stdout)
    (provider,) = checked(config, text)["providers"]
    assert (provider["state"], provider["error"]) == ("empty", {"kind": "empty", "reason": hint})
    (provider,) = checked(config, text.replace('"}', '", may_be_empty: true}'))["providers"]
    assert (provider["state"], provider["error"]) == ("ok", None)


def test_times_of_the_request_are_unknown_in_the_report(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: a, base_url: "{upstreams.open(lists({"id": "m", "created": 4081050336})).url}"}}]'

    assert checked(config, text)["models"][0]["created"] == 0


def test_an_empty_catalog_is_reported(config: Path, upstreams: FakeProviders) -> None:
    text = f'providers: [{{name: a, base_url: "{upstreams.open(lists()).url}"}}]'
    assert run(config, text).stdout.partition("\n\n")[2] == (
        """\
0 models

With `duplicates: by_owner`: 0 models
No id is shared by several providers.

With `duplicates: by_provider`: 0 models
No id is shared by several providers.

No findings
Incomplete: the list of a is empty, so its models were not checked
"""
    )


def test_many_collisions_are_counted_and_only_the_first_are_shown(config: Path, upstreams: FakeProviders) -> None:
    ids = [f"gpt-{number:02}" for number in range(12)]
    text = "merge: {duplicates: by_provider}\nproviders:\n" + "".join(
        f'  - {{name: {name}, base_url: "{upstreams.open(lists(*ids)).url}"}}\n' for name in "ab"
    )
    assert run(config, text).stdout.count("12 ids shared by several providers:\n  gpt-00: a, b\n") == 1
    assert "  gpt-09: a, b\n  and 2 more; --json shows all\n" in run(config, text).stdout


def test_a_disabled_provider_is_shown_and_is_no_failure(config: Path, upstreams: FakeProviders) -> None:
    text = f"""
providers:
  - {{name: hub, base_url: "{upstreams.open(lists("m")).url}"}}
  - {{name: spare, base_url: "http://127.0.0.1:9", api_key: "${{NO_SUCH_VARIABLE}}", disabled: true}}
groups: {{default: {{models: ["m", "provider:spare"]}}}}
"""
    shown = run(config, text, "--strict")
    assert (shown.exit_code, "disabled  spare" in shown.stdout, "No findings" in shown.stdout) == (0, True, True)
    (_, spare) = checked(config, text)["providers"]
    assert (spare["state"], spare["optional"], spare["error"], spare["reason"]) == (
        "disabled",
        False,
        None,
        "disabled: true",
    )


# -- for machines ------------------------------------------------------------------------------------------------------


def test_json_is_one_document_with_everything_in_the_report(config: Path, upstreams: FakeProviders) -> None:
    result = run(config, three(upstreams), "--json", env=CANARIES)
    document = json.loads(without_times(result.stdout))
    for provider in document["providers"]:
        assert provider.pop("seconds") < 60
    assert document["providers"][0] == {
        "name": "openai", "kind": "openai", "optional": False, "state": "ok",
        "url": "http://127.0.0.1:1/v1/models", "models": 3, "listed": 2, "pages": 1,
        "attempts": 1, "dropped": {"empty id": 2}, "error": None, "reason": None,
    }  # fmt: skip
    assert document["providers"][4] == {
        "name": "paid", "kind": None, "optional": True, "state": "skipped", "url": None, "models": 0, "listed": 0,
        "pages": 0, "attempts": 0, "dropped": {}, "error": None, "reason": "NO_SUCH_VARIABLE not set or empty",
    }  # fmt: skip
    assert [(provider["name"], provider["state"]) for provider in document["providers"]] == [
        ("openai", "ok"), ("reseller", "ok"), ("ctyun", "failing"), ("lab", "declared"), ("paid", "skipped"),
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
        "against": None,
        "calls": None,
        "findings": [
            {"kind": "expired", "who": "key old", "text": "expired on 2020-01-01; requests with it get 401"},
        ],
    }
    assert result.stderr.startswith("Error: 1 provider failed: ctyun;"), "no progress with --json"


def test_every_field_of_the_json_is_documented_in_the_help(config: Path, upstreams: FakeProviders) -> None:
    document = checked(config, three(upstreams), env=CANARIES)
    promised = CliRunner().invoke(main, ["check", "--help"]).stdout.partition("--json:")[2]
    names = {*document, *document["providers"][0], *document["models"][0], *document["findings"][0]}
    assert {name for name in names if not re.search(rf"\b{name}\b", promised)} == set()


def test_json_for_a_key_contains_only_what_concerns_that_key(config: Path, upstreams: FakeProviders) -> None:
    document = checked(config, three(upstreams), "--key", "alice", env=CANARIES)
    assert (document["key"], document["merged"], document["findings"]) == ("alice", [], [])
    assert [model["id"] for model in document["models"]] == ["gpt-4o", "our-own-13b", "测试模型名称1"]


def test_all_pages_are_fetched_and_counted(config: Path, upstreams: FakeProviders) -> None:
    pangu = upstreams.open(pages_of_versions("w", {"m": [version(f"v{n}", f"Pangu {n}") for n in range(3)]}))
    text = f"""
providers:
  - {{name: pangu, kind: pangu, base_url: "{pangu.url}/v1", workspace_id: w, model_ids: [m], api_key: canary}}
"""
    (provider,) = checked(config, text)["providers"]
    assert {name: provider[name] for name in ("state", "models", "listed", "pages", "attempts")} == {
        "state": "ok", "models": 3, "listed": 3, "pages": 2, "attempts": 1,
    }  # fmt: skip
