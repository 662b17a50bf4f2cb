"""Access rules: one table for validation, policies, commands and documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from proxy.config.access_rules import RULES, MatcherOf, Predicate, RuleKind, problem_of, split
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("gpt-*", ("", "gpt-*")),
        ("owner:openai", ("owner", "openai")),
        ("provider:lab-*", ("provider", "lab-*")),
        ("qwen:7b", ("", "qwen:7b")),
        ("owner", ("", "owner")),
        ("Owner:openai", ("", "Owner:openai")),
        ("owner:a:b", ("owner", "a:b")),
    ],
)
def test_rule_splits_into_kind_and_pattern(rule: str, parts: tuple[str, str]) -> None:
    assert split(rule) == parts


def test_examples_are_rules_of_their_kind() -> None:
    assert {kind.example: split(kind.example)[0] for kind in RULES.values()} == {
        kind.example: name for name, kind in RULES.items()
    }
    assert [problem_of(kind.example, ["lab"]) for kind in RULES.values()] == [""] * len(RULES)


def test_readme_documents_every_kind_of_rule() -> None:
    table = re.findall(r"(?m)^\| `([^!|]+?)` \| (.+) \|$", _section("| rule | allows |"))
    assert table == [(kind.example, kind.allows) for kind in RULES.values()]


def _section(heading: str) -> str:
    """The table of the README with this heading."""
    return (ROOT / "README.md").read_text().partition(heading)[2].partition("\n\n")[0]


@pytest.mark.parametrize("name", [name for name in RULES if name])
def test_shipped_config_names_every_kind_of_rule(name: str) -> None:
    assert name + RULES[name].separator in (ROOT / "config.yaml").read_text()


def test_new_kind_of_rule_is_validated_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(patterns: Iterable[str], matcher_of: MatcherOf) -> Predicate:
        return lambda model: False

    monkeypatch.setitem(RULES, "context", RuleKind("context>=128000", "by context", nothing, ">="))
    monkeypatch.setitem(RULES, "type", RuleKind("type:embedding", "by type", nothing))
    rules = ["context>=1000", "contxt>=1000", "context>= 1000", "context>=", "type:chat", "tpye:chat", "!typ:chat"]
    assert [problem_of(rule, []) for rule in rules] == [
        "",
        "unknown rule type; did you mean 'context>=1000'?",
        "must not have spaces after `!`, around `>=` or at the end",
        "has no pattern",
        "",
        "unknown rule type; did you mean 'type:chat'?",
        "unknown rule type; did you mean 'type:chat'?",
    ]
