"""Findings about a configuration: callers without models, rules that match no model, collisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from proxy.cli.audit import Audit, DuplicatesPreview, failures
from proxy.cli.findings import Finding
from proxy.cli.probe_result import ProbeResult
from proxy.errors import UpstreamError
from tests.fakes import answer_of, config_of, digest

NOW = 1_800_000_000.0  # 2027-01-15
REFUSED = UpstreamError("connection_refused", "connection refused")

TWO = """
providers:
  - {name: a, base_url: "http://127.0.0.1/a/v1"}
  - {name: b, base_url: "http://127.0.0.1/b/v1"}
"""
TWO_LISTS = {"a": ["gpt-4o", "gpt-4o-mini"], "b": ["gpt-4o", "claude-3-opus"]}


def audit_of(text: str, lists: Mapping[str, Sequence[str]]) -> Audit:
    """The audit after each provider was contacted once; a provider without a list has failed."""
    config = config_of(text)
    results = [
        ProbeResult(provider)
        if not provider.is_remote
        else ProbeResult(provider, answer_of(*lists[provider.name]))
        if provider.name in lists
        else ProbeResult(provider, error=REFUSED)
        for provider in config.providers
    ]
    return Audit(config, results, NOW)


def key(name: str, rules: str, more: str = "") -> str:
    return f'  - {{name: {name}, hash: "{digest(f"sk-fake-{name}")}", models: {rules}{more}}}\n'


def findings_of(audit: Audit) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.who, finding.text) for finding in audit.findings()]


def test_a_catalog_that_is_fully_accessible_and_whose_rules_all_match_has_no_findings() -> None:
    text = TWO + 'owners: [{match: ["gpt-*"], owner: openai}]\nkeys:\n' + key("k", '["*", "!*-mini"]')
    assert findings_of(audit_of(text, TWO_LISTS)) == []


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        pytest.param("[]", "no access to any model: the list of rules is empty", id="no rule"),
        pytest.param(
            '["llama-*"]', "no access to any model: no model is allowed by llama-*", id="a rule that matches no model"
        ),
        pytest.param(
            '["gpt-*", "!owner:openai"]',
            "no access to any model: no model is allowed by gpt-*, !owner:openai",
            id="!",
        ),
    ],
)
def test_a_key_without_access_to_any_model_is_found(rules: str, text: str) -> None:
    audit = audit_of(TWO + "keys:\n" + key("all", '["*"]') + key("blind", rules), TWO_LISTS)
    assert Finding("no_access", "key blind", text) in audit.findings()
    assert "key all" not in {finding.who for finding in audit.findings()}


def test_requests_without_a_key_that_have_no_access_are_found() -> None:
    text = TWO + 'groups: {default: {models: ["llama-*"]}}\nkeys:\n' + key("all", '["*"]')
    assert findings_of(audit_of(text, TWO_LISTS)) == [
        ("no_access", "requests without an API key", "no access to any model: no model is allowed by llama-*"),
        ("matches_nothing", "group default", "rule 'llama-*' matches no model"),
    ]


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        pytest.param("2027-01-29", [], id="in 15 days"),
        pytest.param(
            "2027-01-28", [("expires_soon", "key k", "expires at the end of 2027-01-28 (UTC)")], id="in 14 days"
        ),
        pytest.param("2027-01-15", [("expires_soon", "key k", "expires at the end of 2027-01-15 (UTC)")], id="today"),
        pytest.param(
            "2027-01-14",
            [("expired", "key k", "expired on 2027-01-14; requests with it get 401")],
            id="yesterday",
        ),
    ],
)
def test_an_expired_key_is_found(expires: str, expected: list[tuple[str, str, str]]) -> None:
    keys = "keys:\n" + key("all", '["*"]') + key("k", '["*"]', f", expires: {expires}")
    assert findings_of(audit_of(TWO + keys, TWO_LISTS)) == expected


def test_a_key_that_is_not_valid_yet_is_found() -> None:
    keys = "keys:\n" + key("today", '["*"]', ", not_before: 2027-01-15") + key("k", '["*"]', ", not_before: 2027-01-16")
    text = "is valid from 2027-01-16; until then requests with it get 401"
    assert findings_of(audit_of(TWO + keys, TWO_LISTS)) == [("not_yet_valid", "key k", text)]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("llama-*", id="a pattern over ids"),
        pytest.param("!llama-*", id="a deny rule"),
        pytest.param("owner:meta", id="an owner"),
        pytest.param("provider:c*", id="a pattern over providers"),
    ],
)
def test_a_rule_of_a_key_that_matches_no_model_is_found(rule: str) -> None:
    audit = audit_of(TWO + "keys:\n" + key("k", f'["*", "{rule}"]'), TWO_LISTS)
    assert findings_of(audit) == [("matches_nothing", "key k", f"rule {rule!r} matches no model")]


def test_a_rule_that_names_a_failed_or_skipped_provider_is_not_checked() -> None:
    text = TWO + '  - {name: c, base_url: "http://127.0.0.1/c", api_key: "${NO_SUCH_VARIABLE}", optional: true}\n'
    audit = audit_of(text + "keys:\n" + key("k", '["*", "provider:b", "provider:c"]'), {"a": ["gpt-4o"]})
    assert findings_of(audit) == []
    assert audit.failed == ("b",)


def test_rules_are_not_checked_against_an_incomplete_list() -> None:
    text = TWO.replace('b/v1"', 'b/v1", include: ["gone-*"]') + "keys:\n" + key("k", '["*", "provider:b"]')
    config = config_of(text)
    answers = [answer_of("gpt-4o"), replace(answer_of("m"), partial="`truncated` is true")]
    results = [ProbeResult(provider, answer) for provider, answer in zip(config.providers, answers, strict=True)]
    audit = Audit(config, results, NOW)

    assert (findings_of(audit), audit.partial, failures(audit)) == ([], ("b",), ())
    assert failures(audit, strict=True)[0] == "1 provider incomplete: b (--strict)"


def test_provider_that_may_be_empty_passes_a_strict_check() -> None:
    audit = audit_of(TWO.replace('b/v1"', 'b/v1", may_be_empty: true'), {"a": ["m"], "b": []})

    assert [result.state for result in audit.results] == ["ok", "ok"]
    assert failures(audit, strict=True) == ()


def test_rules_of_a_group_are_reported_once_and_not_for_each_of_its_keys() -> None:
    keys = [f'  - {{name: {name}, hash: "{digest(f"sk-fake-{name}")}", group: staff}}\n' for name in ("x", "y")]
    text = TWO + 'groups: {staff: {models: ["*", "!llama-*"]}}\nkeys:\n' + "".join(keys)
    expected = Finding("matches_nothing", "group staff", "rule '!llama-*' matches no model")
    audit = audit_of(text, TWO_LISTS)
    assert audit.findings() == (expected,)
    assert audit.findings("x") == (expected,)


def test_the_findings_of_one_key_do_not_contain_those_of_others() -> None:
    audit = audit_of(TWO + "keys:\n" + key("x", '["*", "x-*"]') + key("y", '["*", "y-*"]'), TWO_LISTS)
    assert [str(finding) for finding in audit.findings("y")] == ["key y: rule 'y-*' matches no model"]


def test_a_provider_whose_models_are_inaccessible_is_found() -> None:
    keys = "keys:\n" + key("k", '["provider:b"]') + key("old", '["*"]', ", expires: 2026-12-31")
    assert findings_of(audit_of(TWO + keys, TWO_LISTS))[1:] == [
        ("inaccessible", "provider a", "none of its models is accessible, neither with a valid key nor without a key")
    ]


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        pytest.param('include: ["gpt-*", "llama-*"]', "include 'llama-*' matches none of its models", id="include"),
        pytest.param('exclude: ["llama-*"]', "exclude 'llama-*' matches none of its models", id="exclude"),
        pytest.param(
            "aliases: {best: gpt-9}",
            "alias 'best' refers to 'gpt-9', which the provider does not list",
            id="alias of an unknown id",
        ),
        pytest.param(
            'exclude: ["gpt-4o"], aliases: {best: gpt-4o}',
            "alias 'best' refers to 'gpt-4o', which exclude filters out",
            id="alias of an excluded id",
        ),
    ],
)
def test_settings_of_a_provider_that_match_no_model_are_found(setting: str, text: str) -> None:
    config_text = TWO.replace('a/v1"', f'a/v1", {setting}')
    assert findings_of(audit_of(config_text, TWO_LISTS)) == [("matches_nothing", "provider a", text)]
    assert findings_of(audit_of(config_text, {"b": TWO_LISTS["b"]})) == [], "a provider that failed has no findings"


@pytest.mark.parametrize(
    ("setting", "rules"),
    [
        pytest.param('accept: ["claude-9"]', '["*", "claude-9"]', id="an exact name"),
        pytest.param('accept: ["claude-*"]', '["*", "claude-9", "claude-*", "!claude-8"]', id="patterns"),
        pytest.param('accept: ["claude-*"]', '["claude-*"]', id="only names that are not listed"),
        pytest.param("accept: [claude-9], aliases: {best: claude-9}", '["*", "best"]', id="an alias of such a name"),
        pytest.param('aliases: {"c-*": "gpt-*"}', '["*", "c-4o"]', id="an alias pattern"),
    ],
)
def test_names_that_are_not_listed_count_for_rules_and_aliases(setting: str, rules: str) -> None:
    text = TWO.replace('a/v1"', f'a/v1", {setting}') + "keys:\n" + key("all", '["*"]') + key("k", rules)
    assert findings_of(audit_of(text, TWO_LISTS)) == []


def test_a_rule_for_a_name_that_no_provider_accepts_is_found() -> None:
    text = TWO.replace('a/v1"', 'a/v1", accept: ["claude-9"]') + "keys:\n" + key("k", '["*", "claude-8", "owner:x"]')
    assert [text for _, _, text in findings_of(audit_of(text, TWO_LISTS))] == [
        "rule 'claude-8' matches no model",
        "rule 'owner:x' matches no model",
    ]


def test_a_rule_for_the_bare_name_of_the_tag_latest_is_no_finding() -> None:
    lists = {"a": ["m:latest"], "b": ["n"]}
    text = TWO + "keys:\n" + key("k", '["*", "m", "m*", "n:*"]')
    assert [text for _, _, text in findings_of(audit_of(text, lists))] == ["rule 'n:*' matches no model"]


def test_an_alias_pattern_that_matches_nothing_is_found() -> None:
    one = TWO.replace('a/v1"', 'a/v1", aliases: {"c-*": "claude-*"}')
    text = "alias 'c-*' refers to 'claude-*', which the provider does not list"
    assert findings_of(audit_of(one, TWO_LISTS)) == [("matches_nothing", "provider a", text)]


BRACKETS = "`[` is matched literally; write one pattern per character"


@pytest.mark.parametrize("rule", ["!o[0-9]*", "!owner:open[ab]", "!provider:[ab]*"])
def test_a_rule_with_brackets_that_hides_nothing_is_an_error(rule: str) -> None:
    audit = audit_of(TWO + "keys:\n" + key("k", f'["*", "{rule}"]'), TWO_LISTS)
    assert findings_of(audit) == [("hides_nothing", "key k", f"rule {rule!r} matches no model; {BRACKETS}")]
    assert audit.errors() == audit.findings()


def test_an_exclude_with_brackets_that_hides_nothing_is_an_error() -> None:
    audit = audit_of(TWO.replace('a/v1"', 'a/v1", exclude: ["gpt-4[ox]", "gpt-[4]o-mini"]'), TWO_LISTS)
    assert findings_of(audit) == [
        ("hides_nothing", "provider a", f"exclude {pattern!r} matches none of its models; {BRACKETS}")
        for pattern in ("gpt-4[ox]", "gpt-[4]o-mini")
    ]
    assert audit.errors() == audit.findings()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (
            "claude-opus-5[1m]",
            [("looks_denied", "key k", "rule '!claude-opus-5[1m]' also denies 'Claude-Opus-5[1M]'")],
        ),
        ("*[1m]", []),
    ],
)
def test_brackets_that_are_part_of_a_listed_id_are_no_error(
    pattern: str, expected: Sequence[tuple[str, str, str]]
) -> None:
    lists = {"a": ["claude-opus-5[1m]", "claude-opus-51"], "b": ["Claude-Opus-5[1M]", "m"]}
    text = TWO.replace('a/v1"', f'a/v1", exclude: ["{pattern}"]') + "keys:\n" + key("k", f'["*", "!{pattern}"]')
    audit = audit_of(text, lists)
    assert findings_of(audit) == expected
    assert [model.id for model in audit.catalog(["*", f"!{pattern}"]).models] == ["claude-opus-51", "m"]


def test_brackets_that_allow_nothing_are_no_error() -> None:
    text = TWO.replace('a/v1"', 'a/v1", include: ["*", "o[0-9]*"]') + "keys:\n" + key("k", '["*", "o[0-9]*"]')
    audit = audit_of(text, TWO_LISTS)
    assert [finding.kind for finding in audit.findings()] == ["matches_nothing", "matches_nothing"]
    assert audit.errors() == ()


@pytest.mark.parametrize(
    "more", ["", '  - {name: c, base_url: "http://127.0.0.1/c", api_key: "${NO}", optional: true}\n']
)
def test_brackets_are_no_error_while_a_provider_has_not_responded(more: str) -> None:
    text = TWO.replace('a/v1"', 'a/v1", exclude: ["o[0-9]*"]') + more + "keys:\n" + key("k", '["*", "!o[0-9]*"]')
    audit = audit_of(text, TWO_LISTS if more else {"a": ["gpt-4o"]})
    where = ["provider a", "key k"] if more else ["provider a"]  # the key's rule may match a model of b
    assert sorted((finding.kind, finding.who) for finding in audit.findings()) == sorted(
        ("matches_nothing", who) for who in where
    )
    assert audit.errors() == ()


def test_brackets_of_a_listed_id_are_no_error_even_if_another_setting_hides_it() -> None:
    text = TWO.replace('a/v1"', 'a/v1", exclude: ["m[1]"]') + "keys:\n" + key("k", '["*", "!m[1]"]')
    audit = audit_of(text, {"a": ["m[1]", "n"], "b": ["n"]})
    assert findings_of(audit) == [("matches_nothing", "key k", "rule '!m[1]' matches no model")]


@pytest.mark.parametrize(
    ("lists", "unchecked"),
    [
        pytest.param({"a": ["gpt-4o"]}, ("b",), id="a list that could not be fetched"),
        pytest.param({"a": ["gpt-4o"], "b": []}, ("b",), id="an empty list"),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param("keys:\n" + key("all", '["*", "llama-*", "!qwen-*", "owner:meta"]'), id="rules of a key"),
        pytest.param("keys:\n" + key("all", '["*"]') + key("k", '["llama-*"]'), id="a key without another model"),
        pytest.param('owners: [{match: ["llama-*"], owner: meta}]', id="owners"),
    ],
)
def test_a_rule_that_may_match_a_model_of_a_provider_without_a_list_is_no_finding(
    settings: str, lists: Mapping[str, Sequence[str]], unchecked: tuple[str, ...]
) -> None:
    audit = audit_of(TWO + settings, lists)
    assert findings_of(audit) == []
    assert (*audit.failed, *audit.empty) == unchecked
    assert findings_of(audit_of(TWO + settings, TWO_LISTS)) != [], "with all lists, the same rules are reported"


def test_a_rule_that_matches_no_model_of_any_provider_it_names_is_found_while_another_fails() -> None:
    audit = audit_of(TWO + "keys:\n" + key("k", '["*", "provider:c*"]'), {"a": ["gpt-4o"]})
    assert findings_of(audit) == [("matches_nothing", "key k", "rule 'provider:c*' matches no model")]


def test_a_key_with_rules_for_a_working_provider_only_is_found_while_another_fails() -> None:
    audit = audit_of(TWO + "keys:\n" + key("k", '["provider:a", "!gpt-*"]'), {"a": ["gpt-4o"]})
    assert [finding.kind for finding in audit.findings()] == ["no_access", "inaccessible"]


@pytest.mark.parametrize(
    ("where", "why"),
    [
        pytest.param("{field: up, is: true}", "(up is true) {}: the field is a string, not a boolean", id="is"),
        pytest.param(
            "{field: n, in: ['1', '2']}", '(n in ["1", "2"]) {}: the field is a number, not a string', id="in"
        ),
        pytest.param("{field: up, at_least: 1}", "(up at_least 1) {}: the field is a string, not a number", id="least"),
        pytest.param(
            "{field: up, contains: x}", '(up contains "x") {}: the field is a string, not a list', id="no list"
        ),
        pytest.param("{field: n, at_least: 9}", "(n at_least 9) {}: it excludes every value", id="too much"),
        pytest.param("{field: n, not: [1, 2]}", "(n not [1, 2]) {}: it excludes every value", id="all excluded"),
        pytest.param("{field: x, is: 1}", "(x is 1) {}: no model has this field", id="no such field"),
    ],
)
def test_a_rule_of_where_that_excludes_everything_is_found_with_the_types(where: str, why: str) -> None:
    text = f"providers: [{{name: a, base_url: 'http://h', where: [{{field: id, exists: true}}, {where}]}}]"
    models = [{"id": "m", "up": "true", "n": 1}, {"id": "n", "up": "false", "n": 2}]
    config = config_of(text)
    audit = Audit(config, [ProbeResult(config.providers[0], answer_of(*models))], NOW)
    text = f"where[1] {why.format('matches none of its models')}"
    assert ("matches_nothing", "provider a", text) in findings_of(audit)


def test_an_override_that_matches_no_model_is_found() -> None:
    text = TWO.replace('a/v1"', 'a/v1", overrides: [{match: ["gpt-*", "llama-*"], x: 1}]')
    expected = ("matches_nothing", "provider a", "overrides[0] 'llama-*' matches none of its models")
    assert findings_of(audit_of(text, TWO_LISTS)) == [expected]


def test_declared_models_count_for_the_settings_of_their_provider() -> None:
    text = 'providers: [{name: lab, kind: static, models: [{id: m}], include: ["m"], aliases: {best: m}}]'
    assert findings_of(audit_of(text, {})) == []


@pytest.mark.parametrize(
    ("owners", "who", "pattern"),
    [
        pytest.param('[{match: ["gpt-*", "qwen*"], owner: x}]', "owners[0]", "qwen*", id="no model"),
        pytest.param(
            '[{match: ["gpt-*"], owner: x}, {match: ["qwen*", "claude-*"], owner: y}]', "owners[1]", "qwen*", id="later"
        ),
        pytest.param(
            '[{match: ["gpt-*"], owner: x}, {match: ["gpt-4o", "claude-*"], owner: y}]',
            "owners[1]",
            "gpt-4o",
            id="an earlier pattern matches all",
        ),
    ],
)
def test_a_rule_of_owners_without_effect_is_found(owners: str, who: str, pattern: str) -> None:
    text = f"pattern {pattern!r} has no effect: it matches no model, or only models of earlier patterns"
    assert findings_of(audit_of(f"{TWO}owners: {owners}", TWO_LISTS)) == [("matches_nothing", who, text)]


def test_a_rule_of_owners_has_no_effect_on_a_provider_with_an_owner() -> None:
    text = TWO.replace('b/v1"', 'b/v1", owner: b') + 'owners: [{match: ["claude-*"], owner: anthropic}]'
    assert [finding.who for finding in audit_of(text, TWO_LISTS).findings()] == ["owners[0]"]


@pytest.mark.parametrize(
    ("rules", "ids", "expected"),
    [
        pytest.param('["*", "!gpt-5-pro"]', ["gpt-5-pro", "gpt-5", "my-gpt-5-pro"], [], id="no look-alike"),
        pytest.param(
            '["*", "!gpt-5-pro"]',
            ["gpt-5-pro", "GPT-5-Pro", "ｇｐｔ-5-pro", "gpt-5-pro\u200b", "gpt-5\u3164-pro"],
            ["rule '!gpt-5-pro' also denies 'GPT-5-Pro', 'gpt-5-pro\\u200b', 'gpt-5\u3164-pro', 'ｇｐｔ-5-pro'"],
            id="case, width and invisible characters, denied too",
        ),
        pytest.param(
            '["*", "!gpt-5-pro"]',
            ["gpt -5-pro", "gpt-5 -pro"],
            ["rule '!gpt-5-pro' does not deny ids that look like those it denies: 'gpt -5-pro', 'gpt-5 -pro'"],
            id="blanks, not denied",
        ),
        pytest.param(
            '["*", "!*-pro"]',
            ["gpt-5-pro", "GPT-6-PRO", "gpt-7- pro"],
            ["rule '!*-pro' does not deny ids that look like those it denies: 'gpt-7- pro'"],
            id="a pattern",
        ),
        pytest.param('["gpt-5", "!gpt-5-pro"]', ["gpt-5-pro", "gpt-5 -pro", "gpt-5"], [], id="not allowed anyway"),
        pytest.param('["*", "!owner:x"]', ["owner:\u200bx", "m"], [], id="a rule of another kind"),
    ],
)
def test_ids_that_look_like_denied_ones_are_found(rules: str, ids: list[str], expected: list[str]) -> None:
    text = 'providers: [{name: a, base_url: "http://127.0.0.1/a/v1"}]\nkeys:\n' + key("k", rules)
    found = [each for each in audit_of(text, {"a": ids}).findings() if each.kind == "looks_denied"]
    assert [(each.who, each.text) for each in found] == [("key k", text) for text in expected]


def test_ids_that_differ_only_in_case_are_found() -> None:
    lists = {
        "a": ["lab/Model", "m"],
        "b": ["lab/model", "LAB/model", "n", *(f"{name}{i}" for i in range(11) for name in "xX")],
    }
    text = (
        "ids differ only in case: LAB/model and lab/Model and lab/model, X0 and x0, X1 and x1, X10 and x10, X2 and x2, "
        "X3 and x3, X4 and x4, X5 and x5, X6 and x6, X7 and x7 and 2 more; `ignore_case: true` lists them once"
    )
    assert findings_of(audit_of(TWO, lists)) == [("differs_in_case", "merge", text)]
    audit = audit_of(TWO + "merge: {ignore_case: true}", lists)
    assert findings_of(audit) == []
    assert audit.catalog().models[0].spellings == ("lab/model", "LAB/model")


def test_other_duplicate_policies_list_the_ids_that_would_collide() -> None:
    lists = {"a": ["gpt-4o", "m"], "b": ["gpt-4o", "m", "n"]}
    assert audit_of(TWO, lists).other_duplicates() == (
        DuplicatesPreview("by_owner", 4, {"openai/gpt-4o": ("a", "b")}),
        DuplicatesPreview("by_provider", 5, {}),
    )
    assert audit_of(TWO + "merge: {duplicates: by_provider}", lists).other_duplicates() == (
        DuplicatesPreview("merge", 3, {"gpt-4o": ("a", "b"), "m": ("a", "b")}),
        DuplicatesPreview("by_owner", 4, {"openai/gpt-4o": ("a", "b")}),
    )


def test_a_catalog_contains_the_allowed_models_with_their_offers_in_the_order_of_the_file() -> None:
    audit = audit_of(TWO, TWO_LISTS)
    offers = {model.id: [offer.provider for offer in model.offers] for model in audit.catalog().models}
    assert offers == {"claude-3-opus": ["b"], "gpt-4o": ["a", "b"], "gpt-4o-mini": ["a"]}
    only_b = audit.catalog(["provider:b"])
    assert {model.id: model.offers[0].provider for model in only_b.models} == {"claude-3-opus": "b", "gpt-4o": "b"}


# -- virtual models and routing ------------------------------------------------------------------------------------


def test_a_virtual_model_is_access_to_a_model_and_to_the_providers_of_its_targets() -> None:
    text = (
        TWO + "models: [{id: smart, targets: [claude-3-opus, gpt-4o]}]\nkeys:\n" + key("k", '[smart, "!gpt-4o-mini"]')
    )
    audit = audit_of(text, TWO_LISTS)

    assert [model.id for model in audit.catalog_of("k").models] == ["smart"]
    assert findings_of(audit) == []


def test_a_key_for_which_no_target_is_left_has_no_access() -> None:
    text = (
        TWO + "models: [{id: smart, targets: [gpt-4o]}]\nkeys:\n" + key("all", '["*"]') + key("k", '[smart, "!gpt-*"]')
    )

    found = Finding("no_access", "key k", "no access to any model: no model is allowed by smart, !gpt-*")
    assert found in audit_of(text, TWO_LISTS).findings()


def test_a_target_that_no_provider_lists_and_a_rule_that_matches_no_model_are_found() -> None:
    text = TWO + (
        "models: [{id: smart, targets: [gpt-5, gpt-4o, smart]}]\n"
        "routing: [{match: ['gpt-*', 'qwen*', smart], strategy: weighted}]\n"
    )

    assert findings_of(audit_of(text, TWO_LISTS)) == [
        ("matches_nothing", "virtual model smart", "target 'gpt-5' is not listed by any provider"),
        ("matches_nothing", "virtual model smart", "target 'smart' is not listed by any provider"),
        ("matches_nothing", "routing[0]", "pattern 'qwen*' matches no model"),
        ("matches_nothing", "routing[0]", "pattern 'smart' matches no model"),
    ]


def test_a_target_that_cannot_be_called_is_found() -> None:
    text = TWO.replace("/a/v1", '/a/v1", call: "false') + "models: [{id: smart, targets: [gpt-4o-mini, gpt-4o]}]\n"

    assert findings_of(audit_of(text, TWO_LISTS)) == [
        (
            "matches_nothing",
            "virtual model smart",
            "target 'gpt-4o-mini' is only listed by providers that cannot be called",
        )
    ]


def test_targets_and_rules_are_not_checked_while_a_provider_has_failed() -> None:
    text = TWO + "models: [{id: smart, targets: [gpt-5]}]\nrouting: [{match: 'q*', strategy: order}]\n"

    assert findings_of(audit_of(text, {"a": TWO_LISTS["a"]})) == []


STORED = "store: {directory: /var/lib/models-proxy}\n"


@pytest.mark.parametrize(("store", "found"), [("", True), (STORED, False)])
def test_limits_per_day_without_a_store_are_a_finding(store: str, found: bool) -> None:
    text = (
        TWO
        + store
        + 'groups: {staff: {models: ["*"], limits: {tokens: 1/d}, group_limits: {requests: 5/month}}}\nkeys:\n'
        + key("own", '["*"]', ", limits: {list_requests: 7/d}")
        + key("member", '["*"]', ", group: staff")
        + key("sliding", '["*"]', ", limits: {requests: 7/h}")
    )
    end = "per day or month start again at 0 after every restart; set store.directory or store.valkey to keep them"
    expected = [
        ("not_kept", "group staff", f"limits {end}"),
        ("not_kept", "group staff", f"group_limits {end}"),
        ("not_kept", "key own", f"limits {end}"),
    ]
    assert findings_of(audit_of(text, TWO_LISTS)) == (expected if found else [])


LOGINS = f"""{TWO}groups:
  staff: {{models: ["provider:a", "x-*"]}}
  empty: {{models: [y]}}
  unused: {{models: ["*"]}}
auth: {{jwt: [{{issuer: "https://login.example", audience: x, groups: {{a: staff, b: empty}}}}]}}
"""


def test_groups_of_users_who_log_in_count_as_callers() -> None:
    audit = audit_of(LOGINS, TWO_LISTS)

    assert findings_of(audit) == [
        ("no_access", "group empty", "no access to any model: no model is allowed by y"),
        ("matches_nothing", "group staff", "rule 'x-*' matches no model"),
        ("matches_nothing", "group empty", "rule 'y' matches no model"),
        ("inaccessible", "provider b", "none of its models is accessible, neither with a valid key nor without a key"),
    ]
    assert [str(finding) for finding in audit.findings("group:staff")] == ["group staff: rule 'x-*' matches no model"]


def test_the_catalog_of_a_group_is_that_of_its_rules() -> None:
    audit = audit_of(LOGINS, TWO_LISTS)

    assert [model.id for model in audit.catalog_of("group:staff").models] == ["gpt-4o", "gpt-4o-mini"]
    assert [model.id for model in audit.catalog_of("group:empty").models] == []
