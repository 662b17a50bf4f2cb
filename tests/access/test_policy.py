"""Policies: what their rules allow, and their equality."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.access import Policy
from proxy.access.policy import INTERNED
from proxy.access.visibility import Visibility
from proxy.catalog import Offer
from proxy.config.access_rules import RULES, Offered, Predicate, RuleKind, Side
from proxy.dialects.entry import Entry


def offer(model_id: str, provider: str = "a", owner: str = "openai") -> Offer:
    return Offer(model_id, provider, owner, Entry("the provider's own id"))


@pytest.mark.parametrize(
    ("rules", "allowed", "forbidden"),
    [
        pytest.param(["*"], [offer("m"), offer("v/m", "b", "x")], [], id="a star matches everything"),
        pytest.param([], [], [offer("m")], id="no rules match nothing"),
        pytest.param(["!m"], [], [offer("m"), offer("n")], id="only deny rules match nothing"),
        pytest.param(["*", "!*-preview"], [offer("m")], [offer("m-preview")], id="a deny rule takes precedence"),
        pytest.param(["!m", "m", "*"], [offer("n")], [offer("m")], id="at any position"),
        pytest.param(["gpt-*", "o1"], [offer("gpt-4o"), offer("o1")], [offer("o1-mini"), offer("GPT-5")], id="globs"),
        pytest.param(["the *"], [], [offer("m")], id="the public id, not the provider's id"),
        pytest.param(["owner:openai"], [offer("m")], [offer("openai", owner="meta")], id="owner"),
        pytest.param(["owner:OpenAI"], [offer("m", owner="OPENAI")], [], id="an owner in any case"),
        pytest.param(["owner:open*"], [offer("m")], [offer("m", owner="meta")], id="a pattern over owners"),
        pytest.param(["provider:b"], [offer("m", "b")], [offer("m", "a"), offer("b")], id="provider"),
        pytest.param(["provider:lab-*"], [offer("m", "lab-1")], [offer("m", "lab")], id="a pattern over providers"),
        pytest.param(["*", "!owner:meta"], [offer("m")], [offer("m", owner="meta")], id="a denied owner"),
        pytest.param(["*", "!provider:b"], [offer("m")], [offer("m", "b")], id="a denied provider"),
        pytest.param(
            ["owner:meta", "m", "!provider:b"],
            [offer("m"), offer("x", owner="meta")],
            [offer("m", "b"), offer("x", "b", "meta"), offer("x")],
            id="one matching rule is enough",
        ),
        pytest.param(
            ["*", "!claude-opus-5[1m]"],
            [offer("claude-opus-51")],
            [offer("claude-opus-5[1m]")],
            id="brackets in a deny rule",
        ),
        pytest.param(
            ["claude-opus-5[1m]"],
            [offer("claude-opus-5[1m]")],
            [offer("claude-opus-51")],
            id="brackets in an allow rule",
        ),
        pytest.param(["owner:a[b]"], [offer("m", owner="A[B]")], [offer("m", owner="ab")], id="brackets in an owner"),
        pytest.param(
            ["*", "!GPT-4o"],
            [offer("gpt-4")],
            [offer("gpt-4o"), offer(" Gpt-4O"), offer("ｇｐｔ-4o")],
            id="any spelling of a denied id",
        ),
        pytest.param(
            ["GPT-4o"], [offer("GPT-4o")], [offer("gpt-4o"), offer("GPT-4o ")], id="one spelling of an allowed id"
        ),
        pytest.param(
            ["*", "!owner:Meta"],
            [offer("m")],
            [offer("m", owner="meta "), offer("m", owner="ＭＥＴＡ")],
            id="any spelling of a denied owner",
        ),
        pytest.param(
            ["*", "!provider:LAB"],
            [offer("m")],
            [offer("m", "lab"), offer("m", "Lab")],
            id="any spelling of a denied provider",
        ),
        pytest.param(["测试*"], [offer("测试模型")], [offer("模型")], id="Chinese"),
    ],
)
def test_rules_are_globs_over_ids_owners_or_providers(
    rules: list[str], allowed: list[Offer], forbidden: list[Offer]
) -> None:
    policy = Policy(rules)

    assert [offered for offered in (*allowed, *forbidden) if policy.allows(offered)] == allowed


@pytest.mark.parametrize(
    ("rules", "everything"),
    [
        (["*"], True),
        (["*", "gpt-*"], True),
        ([], False),
        (["gpt-*"], False),
        (["*", "!x"], False),
        (["provider:*"], False),
    ],
)
def test_sees_everything_depends_on_the_rules_only(rules: list[str], everything: bool) -> None:
    assert Policy(rules).sees_everything is everything


@pytest.mark.parametrize(
    ("rules", "may"),
    [
        pytest.param(["*"], True, id="all"),
        pytest.param(["gpt-*"], True, id="an id: ids are not known yet"),
        pytest.param(["owner:x"], True, id="an owner: owners are not known yet"),
        pytest.param(["provider:a"], True, id="this provider"),
        pytest.param(["provider:b"], False, id="another provider"),
        pytest.param([], False, id="nothing"),
        pytest.param(["*", "!provider:a"], False, id="all except this provider"),
        pytest.param(["provider:a", "!*"], False, id="everything denied"),
        pytest.param(["*", "!gpt-*"], True, id="all except some models"),
    ],
)
def test_may_allow_depends_on_rules_and_provider_only(rules: list[str], may: bool) -> None:
    assert Policy(rules).may_allow("a") is may


patterns = st.text(st.sampled_from("ab*?[]!-/:"), min_size=1, max_size=6)


@given(st.lists(patterns, max_size=4), st.text(st.sampled_from("ab*?[]!-/:"), min_size=1, max_size=6))
@settings(max_examples=500, deadline=None)
def test_patterns_match_the_whole_id_with_stars_and_question_marks(rules: list[str], model_id: str) -> None:
    allowing = [rule for rule in rules if not rule.startswith("!")]
    forbidding = [rule[1:] for rule in rules if rule.startswith("!")]

    def matches(rule: str) -> bool:
        return fnmatchcase(model_id, rule.replace("[", "[[]"))

    expected = any(map(matches, allowing)) and not any(map(matches, forbidding))
    assert Policy(rules).allows(offer(model_id)) is expected


@given(st.lists(st.text(max_size=10), max_size=6), st.text(max_size=10), st.text(max_size=10))
@settings(max_examples=300, deadline=None)
def test_rules_never_raise_and_a_deny_rule_never_allows_more(rules: list[str], model_id: str, added: str) -> None:
    offered = offer(model_id)

    assert Policy([*rules, "!" + added]).allows(offered) <= Policy(rules).allows(offered)


# -- equality -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same", [["n", "m"], ["m", "n"], ("m", "n", "m")], ids=["in the same order", "in another order", "with duplicates"]
)
def test_policies_with_equal_rules_are_equal(same: Iterable[str]) -> None:
    assert Policy(same) == Policy(["n", "m"])
    assert {Policy(["n", "m"]): "view"}[Policy(same)] == "view"
    assert Policy.of(same) is Policy.of(["n", "m"])


@pytest.mark.parametrize("other", [["m"], ["m", "!n"], ["m", "N"], []])
def test_policies_with_different_rules_differ(other: list[str]) -> None:
    assert Policy(other) != Policy(["m", "n"])
    assert Policy.of(other) is not Policy.of(["m", "n"])


def test_a_policy_does_not_equal_its_rules() -> None:
    assert Policy(["m"]) != ("m",)


def test_unused_policies_are_garbage_collected() -> None:
    Policy.of(["a rule of this test alone"])
    gc.collect()
    assert ("a rule of this test alone",) not in INTERNED


# -- a new kind of rule --------------------------------------------------------------------------------------------


def _at_least(patterns: Iterable[str], side: Side) -> Predicate:
    least = min(map(int, patterns))
    return lambda model: len(model.id) >= least


def test_every_row_of_the_table_is_a_kind_of_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def suffix(patterns: Iterable[str], side: Side) -> Predicate:
        matches = side.matcher_of(patterns)

        def predicate(model: Offered) -> bool:
            return matches(model.id.rpartition(":")[2])

        return predicate

    monkeypatch.setitem(RULES, "tag", RuleKind("tag:free", "models by tag", suffix))
    monkeypatch.setitem(RULES, "length", RuleKind("length>=3", "long ids", _at_least, ">="))
    policy = Policy(["tag:free", "length>=5", "!tag:BETA"])

    offers = [offer("a:free"), offer("a:pro"), offer("a:x"), offer("abc:beta")]
    assert [offered.id for offered in offers if policy.allows(offered)] == ["a:free", "a:pro"]
    listed = Visibility(offers).allowed(policy.rules)
    assert [offered.id for at, offered in enumerate(offers) if listed >> at & 1] == ["a:free", "a:pro"]
    assert policy.may_allow("any"), "its models are not known yet"
