"""Findings about a configuration: keys without models, rules that match no model, ids that would collide. No I/O.

Settings of a provider whose list could not be fetched, is incomplete or empty, and rules that may be meant for its
models, are not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import Literal

from proxy.catalog import Offer
from proxy.catalog.adjust import fields_of
from proxy.catalog.pattern_index import PatternIndex
from proxy.cli.audited_models import AuditedModels
from proxy.cli.probe_result import ProbeResult
from proxy.config import Key, Provider
from proxy.config.access_rules import split
from proxy.config.call_limits import CallLimits
from proxy.config.field_rules import FieldRule, type_name
from proxy.config.fields import Globs
from proxy.patterns import WILDCARDS, loose_matcher, matcher

Kind = Literal[
    "no_access",
    "expired",
    "expires_soon",
    "not_yet_valid",
    "matches_nothing",
    "inaccessible",
    "hides_nothing",
    "differs_in_case",
    "looks_denied",
    "not_kept",
]
EXPIRES_SOON = 14 * 86_400
"""Keys are reported from this many seconds before they expire."""
_MAX_TWINS = 10
NO_KEY = "requests without an API key"
_NOT_KEPT = "{} per day or month start again at 0 after every restart; set store.directory or store.valkey to keep them"
_INACCESSIBLE = "none of its models is accessible, neither with a valid key nor without a key"


@dataclass(frozen=True)
class Finding:
    """Something in the configuration that is probably not intended."""

    kind: Kind
    who: str
    """A key, a group, a provider, or a rule of `owners`, as the file names it."""
    text: str

    def __str__(self) -> str:
        return f"{self.who}: {self.text}"


class Findings:
    """Finds what is probably not intended."""

    def __init__(self, models: AuditedModels) -> None:
        self._models = models
        self._config = models.config

    def all(self) -> tuple[Finding, ...]:
        allows_nothing = cache(self._models.allows_nothing)
        return (
            *self._of_callers(allows_nothing), *self._of_rules(), *self._of_providers(), *self._of_owners(),
            *self._of_models(), *self._of_routing(), *self._of_spellings(), *self._of_look_alikes(), *self._of_limits(),
        )  # fmt: skip

    def without_models(self) -> tuple[Finding, ...]:
        """The findings that are the same whatever models there are."""
        return (*self._of_callers(lambda rules: not rules), *self._of_limits())

    def _of_callers(self, allows_nothing: Callable[[Globs], bool]) -> Iterator[Finding]:
        anonymous = self._config.anonymous
        if anonymous and allows_nothing(anonymous.models):
            yield Finding("no_access", NO_KEY, _no_access(anonymous.models))
        for name, group in self._config.groups_of_users.items():
            if allows_nothing(group.models):
                yield Finding("no_access", f"group {name}", _no_access(group.models))
        for key in self._config.keys:
            yield from self._of_validity(key)
            if allows_nothing(key.rules):
                yield Finding("no_access", f"key {key.name}", _no_access(key.rules))

    def _of_limits(self) -> Iterator[Finding]:
        """Limits whose counters are lost at a restart."""
        store = self._config.store
        if store.directory is not None or store.valkey is not None or "store" in self._config.unchecked:
            return
        of_groups: list[CallLimits | None] = []
        for name, group in self._config.groups.items():
            of_groups.append(group.limits)
            for setting, limits in (("limits", group.limits), ("group_limits", group.group_limits)):
                if limits and limits.needs_store:
                    yield Finding("not_kept", f"group {name}", _NOT_KEPT.format(setting))
        for key in self._config.keys:
            if key.limits and key.limits.needs_store and key.limits not in of_groups:
                yield Finding("not_kept", f"key {key.name}", _NOT_KEPT.format("limits"))

    def _of_validity(self, key: Key) -> Iterator[Finding]:
        now, who = self._models.now, f"key {key.name}"
        if now >= key.valid_until:
            yield Finding("expired", who, f"expired on {key.expires}; requests with it get 401")
        elif now >= key.valid_until - EXPIRES_SOON:
            yield Finding("expires_soon", who, f"expires at the end of {key.expires} (UTC)")
        if now < key.valid_from:
            yield Finding("not_yet_valid", who, f"is valid from {key.not_before}; until then requests with it get 401")

    def _of_rules(self) -> Iterator[Finding]:
        matches = cache(self._models.matches_something)
        for who, rules in self._holders:
            for rule in rules:
                if not matches(rule):
                    text = f"rule {rule!r} matches no model"
                    yield self._unmatched(who, text, hides=rule if rule.startswith("!") else "")

    @cached_property
    def _holders(self) -> Sequence[tuple[str, Globs]]:
        """The groups, and the keys with other rules than a group, each with its rules."""
        groups = self._config.groups
        of_groups = {group.models for group in groups.values()}
        keys = [(f"key {key.name}", key.rules) for key in self._config.keys if key.rules not in of_groups]
        return [*((f"group {name}", group.models) for name, group in groups.items()), *keys]

    def _of_providers(self) -> Iterator[Finding]:
        callers = {key.rules for key in self._config.keys if self._models.now < key.valid_until}
        callers.update(group.models for group in self._config.groups_of_users.values())
        if self._config.anonymous:
            callers.add(self._config.anonymous.models)
        accessible = self._models.accessible_providers(callers)
        for result in self._models.results:
            name = result.provider.name
            offers = self._models.offers[name]
            if offers and name not in accessible:
                yield Finding("inaccessible", f"provider {name}", _INACCESSIBLE)
            if result.is_known:
                yield from self._of_selection(result, offers)
                yield from self._of_fields(result)

    def _of_selection(self, result: ProbeResult, offers: Sequence[Offer]) -> Iterator[Finding]:
        """Findings about `include`, `exclude` and `aliases` of a provider whose list was fetched."""
        provider, who = result.provider, f"provider {result.provider.name}"
        listed_ids = PatternIndex(entry.id for entry in result.entries)
        selected = PatternIndex(offer.entry.id for offer in offers)
        accepts = matcher(provider.accept)
        given = provider.model_fields_set
        for setting, patterns in (("include", provider.include), ("exclude", provider.exclude)):
            for pattern in patterns if setting in given else ():
                if not listed_ids.matching(pattern):
                    text = f"{setting} {pattern!r} matches none of its models"
                    yield self._unmatched(who, text, hides=pattern if setting == "exclude" else "")
        for public, own_id in provider.aliases.items():
            if not selected.matching(own_id) and not accepts(own_id):
                filtered = f"which {result.filters} filter{'s' * (' and ' not in result.filters)} out"
                why = filtered if listed_ids.matching(own_id) else "which the provider does not list"
                yield Finding("matches_nothing", who, f"alias {public!r} refers to {own_id!r}, {why}")

    def _of_fields(self, result: ProbeResult) -> Iterator[Finding]:
        """Findings about `where` and `overrides` of a provider whose list was fetched."""
        who = f"provider {result.provider.name}"
        listed = result.fetched.entries if result.fetched else ()
        ids = PatternIndex(entry.id for entry in result.entries)
        fields = [fields_of(entry) for entry in listed] if result.provider.where else []
        for index, rule in enumerate(result.provider.where):
            values = [values(rule.field) for values in fields]
            if listed and not any(map(rule.allows, values)):
                why = _why_nothing(rule, list(chain.from_iterable(values)))
                yield Finding("matches_nothing", who, f"where[{index}] ({rule}) matches none of its models: {why}")
        for index, override in enumerate(result.provider.overrides):
            for pattern in override.match:
                if not ids.matching(pattern):
                    text = f"overrides[{index}] {pattern!r} matches none of its models"
                    yield Finding("matches_nothing", who, text)

    def _unmatched(self, who: str, text: str, hides: str) -> Finding:
        """The finding for a pattern that matches nothing. `hides`: the pattern, if it hides models, otherwise "".

        A pattern that hides models is an error if it contains `[`: it was probably meant as a character class, which
        is not supported, and would hide nothing. This is decided only if the models of all providers are known, since
        a model with exactly this id may otherwise exist; it may also be listed and hidden by another setting.
        """
        is_known = not self._models.unknown and not self._config.skipped
        if "[" in hides and is_known and not self._models.listed_ids.matching_loosely(hides.removeprefix("!")):
            hint = "`[` is matched literally; write one pattern per character"
            return Finding("hides_nothing", who, f"{text}; {hint}")
        return Finding("matches_nothing", who, text)

    def _of_owners(self) -> Iterator[Finding]:
        """Findings about `owners`: the first match wins, over the ids of providers without a setting `owner`."""
        by_rule = [result.provider.name for result in self._models.results if not result.provider.owner]
        if not set(by_rule).isdisjoint(self._models.unknown):
            return
        ids = {offer.entry.id for name in by_rule for offer in self._models.offers[name]}
        for number, rule in enumerate(self._config.owners):
            who = f"owners[{number}]"
            for pattern in rule.match:
                matches = matcher([pattern])
                if not any(map(matches, ids)):
                    text = f"pattern {pattern!r} has no effect: it matches no model, or only models of earlier patterns"
                    yield Finding("matches_nothing", who, text)
                ids = {own_id for own_id in ids if not matches(own_id)}

    def _of_models(self) -> Iterator[Finding]:
        """Findings about virtual models: targets that no provider lists, or that cannot be called."""
        if self._models.unknown or self._config.skipped:
            return
        providers: dict[str, list[Provider]] = {}
        for result in self._models.results:
            for offer in self._models.offers[result.provider.name]:
                providers.setdefault(self._models.form(offer.id), []).append(result.provider)
        for model in self._config.models:
            for target in model.targets:
                listing = providers.get(self._models.form(target), [])
                if not any(provider.target for provider in listing):
                    why = "only listed by providers that cannot be called" if listing else "not listed by any provider"
                    yield Finding("matches_nothing", f"virtual model {model.id}", f"target {target!r} is {why}")

    def _of_routing(self) -> Iterator[Finding]:
        """Findings about `routing`: patterns that match no model."""
        if self._models.unknown or self._config.skipped:
            return
        for number, rule in enumerate(self._config.routing):
            for pattern in rule.match:
                if not self._models.public_ids.matching(pattern) and not self._models.is_accepted(pattern):
                    yield Finding("matches_nothing", f"routing[{number}]", f"pattern {pattern!r} matches no model")

    def _of_spellings(self) -> Iterator[Finding]:
        """Ids that differ only in case: clients see two models where there may be one."""
        if self._config.merge.ignore_case:
            return
        spellings: dict[str, set[str]] = {}
        for offer in chain.from_iterable(self._models.offers.values()):
            spellings.setdefault(offer.id.casefold(), set()).add(offer.id)
        twins = [" and ".join(sorted(ids)) for ids in spellings.values() if len(ids) > 1]
        if twins:
            more = f" and {len(twins) - _MAX_TWINS} more" if len(twins) > _MAX_TWINS else ""
            text = f"ids differ only in case: {', '.join(sorted(twins)[:_MAX_TWINS])}{more}"
            yield Finding("differs_in_case", "merge", f"{text}; `ignore_case: true` lists them once")

    def _of_look_alikes(self) -> Iterator[Finding]:
        """Ids that look like denied ones: those that are not denied, and those that a rule of one id denies, too."""
        for who, rules in self._holders:
            allowed = self._models.visibility.allowed(rules)
            for rule in rules:
                kind, pattern = split(rule.removeprefix("!"))
                if rule.startswith("!") and not kind:
                    others = sorted(self._models.public_ids.look_alikes(pattern))
                    missed = [
                        other for other in others if any(allowed >> at & 1 for at in self._models.offers_by_id[other])
                    ]
                    if missed:
                        text = f"rule {rule!r} does not deny ids that look like those it denies: {_quoted(missed)}"
                        yield Finding("looks_denied", who, text)
                    if others and WILDCARDS.isdisjoint(pattern):
                        matches = loose_matcher([pattern])
                        if denied := [other for other in others if other != pattern and matches(other)]:
                            yield Finding("looks_denied", who, f"rule {rule!r} also denies {_quoted(denied)}")


def _quoted(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MAX_TWINS} more" if len(ids) > _MAX_TWINS else ""
    return ", ".join(map(repr, ids[:_MAX_TWINS])) + more


def _why_nothing(rule: FieldRule, values: Sequence[object]) -> str:
    """Why no entry passes a rule. `values`: those of its field in all entries."""
    if not values:
        return "no model has this field"
    expected = {type_name(value) for value in (rule.value if isinstance(rule.value, list) else [rule.value])}
    types = {type_name(value) for value in values}
    if rule.operator == "contains":
        expected = {"list"}
    if rule.operator in ("exists", "not") or expected & types:
        return "it excludes every value"
    return f"the field is a {' or '.join(sorted(types))}, not a {' or '.join(sorted(expected))}"


def _no_access(rules: Globs) -> str:
    why = f"no model is allowed by {', '.join(rules)}" if rules else "the list of rules is empty"
    return f"no access to any model: {why}"
