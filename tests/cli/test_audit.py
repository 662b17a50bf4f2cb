"""What a catalogue tells about its configuration: callers that see nothing, rules that match nothing, collisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from proxy.cli.audit import Audit, DuplicatesPreview, Finding, ProbeResult
from proxy.errors import UpstreamError
from tests.fakes import answer_of, config_of, digest

NOW = 1_800_000_000.0  # 2027-01-15
REFUSED = UpstreamError("connection_refused", "refuses connections")

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
    return f'  - {{name: {name}, hash: "{digest(name)}", models: {rules}{more}}}\n'


def findings_of(audit: Audit) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.who, finding.text) for finding in audit.findings()]


def test_a_catalogue_where_everything_is_seen_and_every_rule_matches_has_no_findings() -> None:
    text = TWO + 'owners: [{match: ["gpt-*"], owner: openai}]\nkeys:\n' + key("k", '["*", "!*-mini"]')
    assert findings_of(audit_of(text, TWO_LISTS)) == []


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        pytest.param("[]", "sees nothing: the list of rules is empty", id="no rule"),
        pytest.param('["llama-*"]', "sees nothing: no model is allowed by llama-*", id="a rule that matches nothing"),
        pytest.param('["gpt-*", "!owner:openai"]', "sees nothing: no model is allowed by gpt-*, !owner:openai", id="!"),
    ],
)
def test_a_key_that_sees_nothing_is_found(rules: str, text: str) -> None:
    audit = audit_of(TWO + "keys:\n" + key("all", '["*"]') + key("blind", rules), TWO_LISTS)
    assert Finding("sees_nothing", "key blind", text) in audit.findings()
    assert "key all" not in {finding.who for finding in audit.findings()}


def test_callers_without_a_key_that_see_nothing_are_found() -> None:
    text = TWO + 'groups: {default: {models: ["llama-*"]}}\nkeys:\n' + key("all", '["*"]')
    assert findings_of(audit_of(text, TWO_LISTS)) == [
        ("sees_nothing", "callers without a key", "see nothing: no model is allowed by llama-*"),
        ("matches_nothing", "group default", "has the rule 'llama-*', which matches nothing"),
    ]


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        pytest.param("2027-01-15", [], id="today"),
        pytest.param(
            "2027-01-14",
            [("expired", "key k", "has expired (2027-01-14); it is refused with 401")],
            id="yesterday",
        ),
    ],
)
def test_a_key_that_has_expired_is_found(expires: str, expected: list[tuple[str, str, str]]) -> None:
    keys = "keys:\n" + key("all", '["*"]') + key("k", '["*"]', f", expires: {expires}")
    assert findings_of(audit_of(TWO + keys, TWO_LISTS)) == expected


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("llama-*", id="a pattern over ids"),
        pytest.param("!llama-*", id="one that forbids"),
        pytest.param("owner:meta", id="an owner"),
        pytest.param("provider:c*", id="a pattern over providers"),
    ],
)
def test_a_rule_of_a_key_that_matches_nothing_is_found(rule: str) -> None:
    audit = audit_of(TWO + "keys:\n" + key("k", f'["*", "{rule}"]'), TWO_LISTS)
    assert findings_of(audit) == [("matches_nothing", "key k", f"has the rule {rule!r}, which matches nothing")]


def test_a_rule_that_names_a_provider_that_failed_or_is_left_out_is_not_judged() -> None:
    text = TWO + '  - {name: c, base_url: "http://127.0.0.1/c", api_key: "${NO_SUCH_VARIABLE}", optional: true}\n'
    audit = audit_of(text + "keys:\n" + key("k", '["*", "provider:b", "provider:c"]'), {"a": ["gpt-4o"]})
    assert findings_of(audit) == []
    assert audit.failed == ("b",)


def test_rules_of_a_group_are_said_once_and_not_again_for_each_of_its_keys() -> None:
    keys = [f'  - {{name: {name}, hash: "{digest(name)}", group: staff}}\n' for name in ("x", "y")]
    text = TWO + 'groups: {staff: {models: ["*", "!llama-*"]}}\nkeys:\n' + "".join(keys)
    expected = Finding("matches_nothing", "group staff", "has the rule '!llama-*', which matches nothing")
    audit = audit_of(text, TWO_LISTS)
    assert audit.findings() == (expected,)
    assert audit.findings("x") == (expected,)


def test_the_findings_of_one_key_are_without_those_of_others() -> None:
    audit = audit_of(TWO + "keys:\n" + key("x", '["*", "x-*"]') + key("y", '["*", "y-*"]'), TWO_LISTS)
    assert [str(finding) for finding in audit.findings("y")] == ["key y has the rule 'y-*', which matches nothing"]


def test_a_provider_whose_models_nobody_may_see_is_found() -> None:
    keys = "keys:\n" + key("k", '["provider:b"]') + key("old", '["*"]', ", expires: 2026-12-31")
    assert findings_of(audit_of(TWO + keys, TWO_LISTS))[1:] == [
        ("seen_by_nobody", "provider a", "has models that nobody may see")
    ]


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        pytest.param(
            'include: ["gpt-*", "llama-*"]', "has include 'llama-*', which matches none of its models", id="in"
        ),
        pytest.param('exclude: ["llama-*"]', "has exclude 'llama-*', which matches none of its models", id="exclude"),
        pytest.param(
            "aliases: {best: gpt-9}", "has the alias 'best' for 'gpt-9', which it does not list", id="alias of nothing"
        ),
        pytest.param(
            'exclude: ["gpt-4o"], aliases: {best: gpt-4o}',
            "has the alias 'best' for 'gpt-4o', which include and exclude leave out",
            id="alias of what is left out",
        ),
    ],
)
def test_settings_of_a_provider_that_match_nothing_are_found(setting: str, text: str) -> None:
    one = TWO.replace('a/v1"', f'a/v1", {setting}')
    assert findings_of(audit_of(one, TWO_LISTS)) == [("matches_nothing", "provider a", text)]
    assert findings_of(audit_of(one, {"b": TWO_LISTS["b"]})) == [], "nothing is said of who did not answer"


BRACKETS = "`[` is matched literally, so write one pattern per character"


@pytest.mark.parametrize("rule", ["!o[0-9]*", "!owner:open[ab]", "!provider:[ab]*"])
def test_a_rule_with_brackets_that_hides_nothing_is_an_error(rule: str) -> None:
    audit = audit_of(TWO + "keys:\n" + key("k", f'["*", "{rule}"]'), TWO_LISTS)
    assert findings_of(audit) == [
        ("hides_nothing", "key k", f"has the rule {rule!r}, which matches nothing; {BRACKETS}")
    ]
    assert audit.errors() == audit.findings()


def test_an_exclude_with_brackets_that_hides_nothing_is_an_error() -> None:
    audit = audit_of(TWO.replace('a/v1"', 'a/v1", exclude: ["gpt-4[ox]", "gpt-[4]o-mini"]'), TWO_LISTS)
    assert findings_of(audit) == [
        ("hides_nothing", "provider a", f"has exclude {pattern!r}, which matches none of its models; {BRACKETS}")
        for pattern in ("gpt-4[ox]", "gpt-[4]o-mini")
    ]
    assert audit.errors() == audit.findings()


@pytest.mark.parametrize("pattern", ["claude-opus-5[1m]", "*[1m]"])
def test_brackets_that_are_part_of_a_listed_id_are_no_error(pattern: str) -> None:
    lists = {"a": ["claude-opus-5[1m]", "claude-opus-51"], "b": ["Claude-Opus-5[1M]", "m"]}
    text = TWO.replace('a/v1"', f'a/v1", exclude: ["{pattern}"]') + "keys:\n" + key("k", f'["*", "!{pattern}"]')
    audit = audit_of(text, lists)
    assert findings_of(audit) == []
    assert [model.id for model in audit.catalog(["*", f"!{pattern}"]).models] == ["claude-opus-51", "m"]


def test_brackets_that_allow_nothing_are_no_error() -> None:
    text = TWO.replace('a/v1"', 'a/v1", include: ["*", "o[0-9]*"]') + "keys:\n" + key("k", '["*", "o[0-9]*"]')
    audit = audit_of(text, TWO_LISTS)
    assert [finding.kind for finding in audit.findings()] == ["matches_nothing", "matches_nothing"]
    assert audit.errors() == ()


@pytest.mark.parametrize(
    "more", ["", '  - {name: c, base_url: "http://127.0.0.1/c", api_key: "${NO}", optional: true}\n']
)
def test_brackets_are_no_error_while_a_provider_has_not_answered(more: str) -> None:
    text = TWO.replace('a/v1"', 'a/v1", exclude: ["o[0-9]*"]') + more + "keys:\n" + key("k", '["*", "!o[0-9]*"]')
    audit = audit_of(text, TWO_LISTS if more else {"a": ["gpt-4o"]})
    assert [finding.kind for finding in audit.findings()] == ["matches_nothing", "matches_nothing"]
    assert audit.errors() == ()


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
            id="what comes before it claims all",
        ),
    ],
)
def test_a_rule_of_owners_that_never_decides_is_found(owners: str, who: str, pattern: str) -> None:
    text = f"matches nothing with {pattern!r}, or only what comes before it claims"
    assert findings_of(audit_of(f"{TWO}owners: {owners}", TWO_LISTS)) == [("matches_nothing", who, text)]


def test_a_rule_of_owners_does_not_decide_where_the_provider_forces_one() -> None:
    text = TWO.replace('b/v1"', 'b/v1", owner: b') + 'owners: [{match: ["claude-*"], owner: anthropic}]'
    assert [finding.who for finding in audit_of(text, TWO_LISTS).findings()] == ["owners[0]"]


def test_other_duplicate_policies_tell_which_ids_would_collide() -> None:
    lists = {"a": ["gpt-4o", "m"], "b": ["gpt-4o", "m", "n"]}
    assert audit_of(TWO, lists).other_duplicates() == (
        DuplicatesPreview("by_owner", 4, {"openai/gpt-4o": ("a", "b")}),
        DuplicatesPreview("by_provider", 5, {}),
    )
    assert audit_of(TWO + "merge: {duplicates: by_provider}", lists).other_duplicates() == (
        DuplicatesPreview("merge", 3, {"gpt-4o": ("a", "b"), "m": ("a", "b")}),
        DuplicatesPreview("by_owner", 4, {"openai/gpt-4o": ("a", "b")}),
    )


def test_a_catalogue_is_what_the_rules_let_see_with_its_offers_in_the_operators_order() -> None:
    audit = audit_of(TWO, TWO_LISTS)
    offers = {model.id: [offer.provider for offer in model.offers] for model in audit.catalog().models}
    assert offers == {"claude-3-opus": ["b"], "gpt-4o": ["a", "b"], "gpt-4o-mini": ["a"]}
    only_b = audit.catalog(["provider:b"])
    assert {model.id: model.offers[0].provider for model in only_b.models} == {"claude-3-opus": "b", "gpt-4o": "b"}
