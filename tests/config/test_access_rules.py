"""Access rules: one table for validation, policies, commands and documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from proxy.config.access_rules import RULES, Predicate, RuleKind, Side, problem_of, split
from proxy.dialects.known_facts import TYPE_NAMES
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


def test_readme_documents_the_kinds_of_rules_over_ids_owners_and_providers() -> None:
    assert _table("README.md") == [(kind.example, kind.allows) for kind in RULES.values() if not kind.reads_facts]


def test_documentation_has_every_kind_of_rule() -> None:
    assert _table("docs/configuration.md") == [(kind.example, kind.allows) for kind in RULES.values()]


def _table(page: str) -> list[tuple[str, str]]:
    """The rows of the table of rules on a page."""
    table = (ROOT / page).read_text().partition("| rule | allows |")[2].partition("\n\n")[0]
    return re.findall(r"(?m)^\| `([^!|]+?)` \| (.+) \|$", table)


@pytest.mark.parametrize("name", [name for name in RULES if name])
def test_shipped_config_names_every_kind_of_rule(name: str) -> None:
    assert name + RULES[name].separator in (ROOT / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("type:embedding", ""),
        ("!type:chat", ""),
        ("type:embeddings", "unknown type; did you mean 'embedding'?"),
        ("type:*", f"unknown type; use one of {', '.join(TYPE_NAMES)}"),
        ("capability:tools", ""),
        ("capability:tool", "unknown capability; did you mean 'tools'?"),
        ("!capability:music", "unknown capability; use one of tools, reasoning, vision, audio, video, file"),
        ("context>=128000", ""),
        ("context>=128k", "must be a number of tokens, like context>=128000"),
        ("context>=0", "must be a number of tokens, like context>=128000"),
        ("context>=-1", "must be a number of tokens, like context>=128000"),
        ("context>=1000000000000000", "must be a number of tokens, like context>=128000"),
        ("context>=", "has no pattern"),
        ("contxt>=1000", "unknown rule type; did you mean 'context>=1000'?"),
        ("Type:chat", "unknown rule type; did you mean 'type:chat'?"),
        ("type: chat", "must not have spaces after `!`, around `:` or at the end"),
        ("yi:34b", ""),
        ("tulu3:8b", ""),
    ],
)
def test_rules_over_facts_are_validated(rule: str, problem: str) -> None:
    assert problem_of(rule, []) == problem


def test_new_kind_of_rule_is_validated_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(patterns: Iterable[str], side: Side) -> Predicate:
        return lambda model: False

    monkeypatch.setitem(RULES, "length", RuleKind("length>=12", "by length", nothing, ">="))
    monkeypatch.setitem(RULES, "label", RuleKind("label:free", "by label", nothing))
    rules = ["length>=10", "lenght>=10", "length>= 10", "length>=", "label:pro", "lable:pro", "!labl:pro"]
    assert [problem_of(rule, []) for rule in rules] == [
        "",
        "unknown rule type; did you mean 'length>=10'?",
        "must not have spaces after `!`, around `>=` or at the end",
        "has no pattern",
        "",
        "unknown rule type; did you mean 'label:pro'?",
        "unknown rule type; did you mean 'label:pro'?",
    ]
