"""The kinds of access rules: one row per prefix. A rule allows models; with a leading `!` it denies them.

Validation of `models:` in groups and keys, policies, commands and the table in the README are based on these rows. To
add a kind of rule, add a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proxy.config.hints import closest, did_you_mean
from proxy.dialects.entry import Entry
from proxy.dialects.known_facts import CAPABILITIES, TYPE_NAMES, Facts
from proxy.patterns import WILDCARDS, Matcher, loose_matcher, matcher

_MAX_DIGITS = 12


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
        """Its time of creation, and all other fields as JSON in `extra`."""

    @property
    def facts(self) -> Facts | None:
        """None if unknown."""


Predicate = Callable[[Offered], bool]


class Side(NamedTuple):
    """How rules of a policy match: those that allow, or those that deny."""

    matcher_of: Callable[[Iterable[str]], Matcher]
    """How patterns are compared."""
    matches_unknown: bool
    """Whether a rule over a fact matches a model whose fact is unknown."""


ALLOW, DENY = Side(matcher, matches_unknown=False), Side(loose_matcher, matches_unknown=True)


@dataclass(frozen=True)
class RuleKind:
    """One kind of rule."""

    example: str
    allows: str
    """What the example allows, for the documentation."""
    predicate: Callable[[Iterable[str], Side], Predicate]
    """From all patterns of this kind to a function that returns whether a model matches one of them."""
    separator: str = ":"
    """The separator between the name of the kind and the pattern."""
    per_provider: bool = False
    """The patterns match provider names: such a rule can be evaluated before a provider's models are known."""
    text: Callable[[Offered], str] | None = None
    """The property of a model that `predicate` compares with patterns in this `form`, if it does nothing else. With it,
    many rules over many models are fast (`access.visibility`)."""
    form: Callable[[str], str] = str
    problem: Callable[[str], str] | None = None
    """Returns the problem of a pattern, "" if it is valid. None: every pattern is valid."""
    reads_facts: bool = False
    """Whether it matches `Offered.facts`, which are read only if there are such rules."""


def _id_matches(patterns: Iterable[str], side: Side) -> Predicate:
    matches = side.matcher_of(patterns)
    return lambda model: matches(model.id)


def _owner_matches(patterns: Iterable[str], side: Side) -> Predicate:
    matches = side.matcher_of([pattern.lower() for pattern in patterns])
    return lambda model: matches(model.owned_by.lower())


def _provider_matches(patterns: Iterable[str], side: Side) -> Predicate:
    matches = side.matcher_of(patterns)
    return lambda model: matches(model.provider)


def _type_matches(patterns: Iterable[str], side: Side) -> Predicate:
    types, matches_unknown = frozenset(patterns), side.matches_unknown
    return lambda model: model.facts.type in types if model.facts and model.facts.type else matches_unknown


def _capability_matches(patterns: Iterable[str], side: Side) -> Predicate:
    wanted = frozenset(patterns)
    if side.matches_unknown:
        return lambda model: model.facts is None or not wanted <= model.facts.lacking
    return lambda model: model.facts is not None and not wanted.isdisjoint(model.facts.capabilities)


def _context_matches(patterns: Iterable[str], side: Side) -> Predicate:
    least, matches_unknown = min(map(int, patterns)), side.matches_unknown
    return lambda model: model.facts.context >= least if model.facts and model.facts.context else matches_unknown


def _no_type(pattern: str) -> str:
    return "" if pattern in TYPE_NAMES else _not_one_of("type", pattern, TYPE_NAMES)


def _no_capability(pattern: str) -> str:
    return "" if pattern in CAPABILITIES else _not_one_of("capability", pattern, CAPABILITIES)


def _not_one_of(name: str, pattern: str, known: Sequence[str]) -> str:
    return f"unknown {name}{did_you_mean(pattern, known) or '; use one of ' + ', '.join(known)}"


def _no_number(pattern: str) -> str:
    is_number = pattern.isascii() and pattern.isdecimal() and len(pattern) <= _MAX_DIGITS and int(pattern) > 0
    return "" if is_number else "must be a number of tokens, like context>=128000"


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
    "type": RuleKind(
        example="type:embedding",
        allows=f"models of this type: {', '.join(TYPE_NAMES)}",
        predicate=_type_matches,
        problem=_no_type,
        reads_facts=True,
    ),
    "capability": RuleKind(
        example="capability:tools",
        allows=f"models with this capability: {', '.join(CAPABILITIES)}",
        predicate=_capability_matches,
        problem=_no_capability,
        reads_facts=True,
    ),
    "context": RuleKind(
        example="context>=128000",
        allows="models with at least this context length, in tokens",
        predicate=_context_matches,
        separator=">=",
        problem=_no_number,
        reads_facts=True,
    ),
}
"""Prefix of a rule -> its kind. A rule without a known prefix is a pattern over ids ("")."""


def split(rule: str) -> tuple[str, str]:
    """The name of a rule's kind, and its pattern. `rule` has no leading `!`."""
    for name, kind in RULES.items():
        if name and rule.startswith(name + kind.separator):
            return name, rule[len(name + kind.separator) :]
    return "", rule


def reads_facts(rule: str) -> bool:
    """Whether a rule, with or without `!`, matches facts of models."""
    return RULES[split(rule.removeprefix("!"))[0]].reads_facts


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
    return kind.problem(value) if kind.problem else ""


def _nearest(pattern: str) -> tuple[str, str, str]:
    """The kind that was probably intended, the text before the separator as written, and the rest."""
    for separator in {kind.separator: None for kind in RULES.values() if kind.separator}:
        word, sep, value = pattern.partition(separator)
        names = [name for name, kind in RULES.items() if kind.separator == separator]
        name = closest(word.strip().lower(), names) if sep else ""
        if name:
            return name, word, value
    return "", "", pattern
