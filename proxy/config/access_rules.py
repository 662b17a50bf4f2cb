"""The kinds of access rules: one row per prefix. A rule allows models; with a leading `!` it denies them.

Validation of `models:` in groups and keys, policies, commands and the table in the README are based on these rows. To
add a kind of rule, add a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy.config.hints import closest, did_you_mean
from proxy.dialects.entry import Entry
from proxy.patterns import WILDCARDS, Matcher


class Offered(Protocol):
    """The properties of a provider's model that rules can match."""

    @property
    def id(self) -> str:
        """The public id."""

    @property
    def owned_by(self) -> str: ...

    @property
    def provider(self) -> str:
        """The provider's name in the configuration."""

    @property
    def entry(self) -> Entry:
        """The facts of the model: its time of creation, and all other fields as JSON in `extra`."""


Predicate = Callable[[Offered], bool]
MatcherOf = Callable[[Iterable[str]], Matcher]
"""How patterns are compared: `patterns.matcher`, or `patterns.loose_matcher` for deny rules."""


@dataclass(frozen=True)
class RuleKind:
    """One kind of rule."""

    example: str
    allows: str
    """What the example allows, for the documentation."""
    predicate: Callable[[Iterable[str], MatcherOf], Predicate]
    """From all patterns of this kind to a function that returns whether a model matches one of them."""
    separator: str = ":"
    """The separator between the name of the kind and the pattern."""
    per_provider: bool = False
    """The patterns match provider names: such a rule can be evaluated before a provider's models are known."""
    text: Callable[[Offered], str] | None = None
    """The property of a model that `predicate` compares with patterns in this `form`, if it does nothing else. With it,
    many rules over many models are fast (`access.visibility`)."""
    form: Callable[[str], str] = str


def _id_matches(patterns: Iterable[str], matcher_of: MatcherOf) -> Predicate:
    matches = matcher_of(patterns)
    return lambda model: matches(model.id)


def _owner_matches(patterns: Iterable[str], matcher_of: MatcherOf) -> Predicate:
    matches = matcher_of([pattern.lower() for pattern in patterns])
    return lambda model: matches(model.owned_by.lower())


def _provider_matches(patterns: Iterable[str], matcher_of: MatcherOf) -> Predicate:
    matches = matcher_of(patterns)
    return lambda model: matches(model.provider)


RULES: Mapping[str, RuleKind] = {
    "": RuleKind(
        example="gpt-*",
        allows="public ids by pattern: `*` and `?` are wildcards, all other characters are literal, including `[`",
        predicate=_id_matches,
        text=lambda model: model.id,
        separator="",
    ),
    "owner": RuleKind(
        example="owner:openai",
        allows="models by owner, case-insensitive",
        predicate=_owner_matches,
        text=lambda model: model.owned_by.lower(),
        form=str.lower,
    ),
    "provider": RuleKind(
        example="provider:lab",
        allows="all models of this provider",
        predicate=_provider_matches,
        text=lambda model: model.provider,
        per_provider=True,
    ),
}
"""Prefix of a rule -> its kind. A rule without a known prefix is a pattern over ids ("")."""


def split(rule: str) -> tuple[str, str]:
    """The name of a rule's kind, and its pattern. `rule` has no leading `!`."""
    for name, kind in RULES.items():
        if name and rule.startswith(name + kind.separator):
            return name, rule[len(name + kind.separator) :]
    return "", rule


def problem_of(rule: str, providers: Collection[str]) -> str:
    """The problem with a rule, "" if it is valid. `providers`: the names of all providers in the file.

    A misspelled deny rule would silently allow what it should deny.
    """
    pattern = rule.removeprefix("!")
    name, word, value = _nearest(pattern)
    kind = RULES[name]
    if not pattern or (name and not value):
        return "has no pattern"
    if pattern != pattern.strip() or (name and (word != word.rstrip() or value != value.lstrip())):
        return f"must not have spaces after `!`, around `{kind.separator or ':'}` or at the end"
    if name and word != name and word not in RULES:
        return f"unknown rule type; did you mean '{name}{kind.separator}{value}'?"
    if kind.per_provider and not WILDCARDS & set(value) and value not in providers:
        return f"no such provider{did_you_mean(value, providers)}"
    return ""


def _nearest(pattern: str) -> tuple[str, str, str]:
    """The kind that was probably intended, the text before the separator as written, and the rest."""
    for separator in {kind.separator: None for kind in RULES.values() if kind.separator}:
        word, sep, value = pattern.partition(separator)
        names = [name for name, kind in RULES.items() if kind.separator == separator]
        name = closest(word.strip().lower(), names) if sep else ""
        if name:
            return name, word, value
    return "", "", pattern
