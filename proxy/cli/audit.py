"""Findings about a configuration: keys without models, rules that match no model, ids that would collide.

No I/O. The input is the result of contacting every provider once (`ProbeResult`). Settings of a provider whose list
could not be fetched, is incomplete or empty, and rules that may be meant for its models, are not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from typing import Literal, get_args

from proxy.access import Policy
from proxy.access.visibility import Visibility
from proxy.catalog import Catalog, FetchResult, Offer, per_provider
from proxy.catalog.adjust import fields_of
from proxy.catalog.names import AcceptedNames, Source, accepted_names
from proxy.catalog.pattern_index import PatternIndex
from proxy.catalog.rules import declared_entries, with_declared
from proxy.catalog.virtual import catalog_of, offers_by_target
from proxy.cli.text import count
from proxy.config import Config, Key, Provider
from proxy.config.access_rules import RULES, split
from proxy.config.field_rules import FieldRule, type_name
from proxy.config.fields import Globs
from proxy.config.routing import VirtualModel
from proxy.config.settings import Merge
from proxy.cooperative import run_now
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.patterns import WILDCARDS, loose_matcher, matcher
from proxy.states import ListState
from proxy.store.listing import Listing, fresh_state, shortcoming

Kind = Literal[
    "no_access", "expired", "matches_nothing", "inaccessible", "hides_nothing", "differs_in_case", "looks_denied"
]
DUPLICATES: tuple[str, ...] = get_args(Merge.model_fields["duplicates"].annotation)
_FILTERS = ("include", "exclude", "where", "hide_retired")
_MAX_TWINS = 10
NO_KEY = "requests without an API key"
_INACCESSIBLE = "none of its models is accessible, neither with a valid key nor without a key"


@dataclass(frozen=True)
class ProbeResult:
    """The result of contacting one provider: a list or an error; neither for a provider that is never contacted."""

    provider: Provider
    fetched: FetchResult | None = None
    error: UpstreamError | None = None
    seconds: float = 0.0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every model that the provider declares or lists, before any rule."""
        listed = self.fetched.entries if self.fetched else ()
        return tuple(with_declared(tuple(declared_entries(self.provider)), listed))

    def source(self, offers: Sequence[Offer]) -> Source:
        """Its models, for the names that it accepts. `offers`: what the rules make of them."""
        is_known = self.fetched is not None or not self.provider.is_remote
        return Source(self.provider, self.fetched.entries if self.fetched else (), offers, is_known)

    @property
    def is_known(self) -> bool:
        """Whether all models of the provider are known."""
        return self.state in ("ok", "declared")

    @property
    def filters(self) -> str:
        """The settings that select from its models, as the file names them."""
        given = [name for name in _FILTERS if name in self.provider.model_fields_set]
        return " and ".join(filter(None, (", ".join(given[:-1]), *given[-1:])))

    @property
    def state(self) -> ListState:
        """The state that the server gives this list."""
        if self.error:
            return "failing"
        return fresh_state(self.shortcoming) if self.fetched else "declared"

    @property
    def shortcoming(self) -> UpstreamError | None:
        """Why the list is incomplete or empty, None if it is neither."""
        fetched = self.fetched
        return shortcoming(self.provider, Listing(fetched.entries, fetched, 0.0, 0.0)) if fetched else None


@dataclass(frozen=True)
class Finding:
    """Something in the configuration that is probably not intended."""

    kind: Kind
    who: str
    """A key, a group, a provider, or a rule of `owners`, as the file names it."""
    text: str

    def __str__(self) -> str:
        return f"{self.who}: {self.text}"


@dataclass(frozen=True)
class DuplicatesPreview:
    """The catalog under another value of `merge.duplicates`."""

    duplicates: str
    models: int
    collisions: Mapping[str, tuple[str, ...]]
    """Public id -> the providers that would share it, in the order of the file."""


class Audit:
    """The results of all providers, in the order of the file, and what follows from them."""

    def __init__(self, config: Config, results: Sequence[ProbeResult], now: float) -> None:
        """`now`: Unix seconds, to find expired keys."""
        self.config = config
        self.results = tuple(results)
        self.now = now
        self.offers = _offers(config, results, now)
        self._all_offers = tuple(chain.from_iterable(self.offers.values()))
        self._visibility = Visibility(self._all_offers)
        self._policy = cache(Policy)
        self._acceptors = _acceptors(config, results, self.offers)
        self.failed = tuple(result.provider.name for result in results if result.error)
        self.partial = tuple(r.provider.name for r in results if r.fetched and r.fetched.partial)
        """Providers whose list may lack models."""
        self.empty = tuple(result.provider.name for result in results if result.state == "empty")
        self._unknown = tuple(result.provider.name for result in results if not result.is_known)
        """Providers whose models are not all known. A rule that matches nothing may be meant for one of them."""

    def catalog(self, rules: Iterable[str] = ("*",)) -> Catalog:
        """The catalog that these rules allow."""
        return run_now(catalog_of(self._all_offers, Policy(rules), self.config))

    def catalog_of(self, key: str | None) -> Catalog:
        """The catalog of one key, or of all models."""
        return self.catalog(self.rules_of(key))

    def rules_of(self, key: str | None) -> Globs:
        """The access rules of one key; all models for None."""
        return ("*",) if key is None else self._key(key).rules

    def _key(self, name: str) -> Key:
        return next(key for key in self.config.keys if key.name == name)

    def other_duplicates(self) -> tuple[DuplicatesPreview, ...]:
        """A preview of each value of `merge.duplicates` that the file does not set."""
        chosen = self.config.merge.duplicates
        return tuple(self._preview(duplicates) for duplicates in DUPLICATES if duplicates != chosen)

    def _preview(self, duplicates: str) -> DuplicatesPreview:
        other = self.config.merge.model_copy(update={"duplicates": duplicates})
        by_id: dict[str, list[str]] = {}
        for name, offers in _offers(replace(self.config, merge=other), self.results, self.now).items():
            for offer in offers:
                by_id.setdefault(offer.id, []).append(name)
        shared = {model_id: tuple(by_id[model_id]) for model_id in sorted(by_id) if len(by_id[model_id]) > 1}
        return DuplicatesPreview(duplicates, len(by_id), shared)

    def findings(self, key: str | None = None) -> tuple[Finding, ...]:
        """All findings, or only those of one key and of its group."""
        if key is None:
            return self._findings
        holders = {f"key {key}", f"group {self._key(key).group}"}
        return tuple(finding for finding in self._findings if finding.who in holders)

    @cached_property
    def _findings(self) -> tuple[Finding, ...]:
        return (
            *self._of_callers(), *self._of_rules(), *self._of_providers(), *self._of_owners(), *self._of_models(),
            *self._of_routing(), *self._of_spellings(), *self._of_look_alikes(),
        )  # fmt: skip

    def errors(self) -> tuple[Finding, ...]:
        """The findings with which the configuration shows models that it should hide."""
        return tuple(finding for finding in self._findings if finding.kind == "hides_nothing")

    def _of_callers(self) -> Iterator[Finding]:
        allows_nothing = cache(self._allows_nothing)
        anonymous = self.config.anonymous
        if anonymous and allows_nothing(anonymous.models):
            yield Finding("no_access", NO_KEY, _no_access(anonymous.models))
        for key in self.config.keys:
            if self.now >= key.valid_until:
                yield Finding("expired", f"key {key.name}", f"expired on {key.expires}; requests with it get 401")
            if allows_nothing(key.rules):
                yield Finding("no_access", f"key {key.name}", _no_access(key.rules))

    def _allows_nothing(self, rules: Globs) -> bool:
        if self._unknown and any(map(self._policy(rules).may_allow, self._unknown)):
            return False
        if any(not rule.startswith("!") and self._is_accepted(rule) for rule in rules):
            return False
        return not self._visibility.allowed(rules) and not self._offers_of_virtual_models(rules)

    def _offers_of_virtual_models(self, rules: Globs) -> Sequence[Offer]:
        """The offers through which these rules allow virtual models."""
        policy = self._policy(rules) if self.config.models else None
        return [offer for model in self.config.models if policy for offer in self._usable(model, policy)]

    def _usable(self, model: VirtualModel, policy: Policy) -> Iterator[Offer]:
        if allows := policy.target_filter(model.id):
            for target in model.targets:
                yield from filter(allows, self._offers_by_target[self._form(target)])

    @cached_property
    def _offers_by_target(self) -> Mapping[str, Sequence[Offer]]:
        return run_now(offers_by_target(self._all_offers, self.config, self._form))

    def _is_accepted(self, rule: str) -> bool:
        """Whether an id rule may match a name that a provider accepts but does not list."""
        if not self._acceptors:
            return False
        kind, pattern = split(rule.removeprefix("!"))
        return not kind and any(acceptor.accepts_any(pattern) for acceptor in self._acceptors)

    def _of_rules(self) -> Iterator[Finding]:
        matches = cache(self._matches_something)
        for who, rules in self._holders:
            for rule in rules:
                if not matches(rule):
                    text = f"rule {rule!r} matches no model"
                    yield self._unmatched(who, text, hides=rule if rule.startswith("!") else "")

    @cached_property
    def _holders(self) -> Sequence[tuple[str, Globs]]:
        """The groups, and the keys with other rules than a group, each with its rules."""
        groups = self.config.groups
        of_groups = {group.models for group in groups.values()}
        keys = [(f"key {key.name}", key.rules) for key in self.config.keys if key.rules not in of_groups]
        return [*((f"group {name}", group.models) for name, group in groups.items()), *keys]

    def _matches_something(self, rule: str) -> bool:
        """Whether a rule allows or denies some model. True if it may match a provider with unknown models."""
        kind, pattern = split(rule.removeprefix("!"))
        unknown = (*self._unknown, *(skipped.name for skipped in self.config.skipped))
        if any(map(matcher([pattern]), unknown)) if RULES[kind].per_provider else self._unknown:
            return True
        if self._is_accepted(rule) or (not kind and self._matches_virtual(rule)):
            return True
        return bool(self._visibility.matched(rule))

    def _matches_virtual(self, rule: str) -> bool:
        """Whether an id rule allows or denies a virtual model."""
        if not self.config.models:
            return False
        matches = loose_matcher([rule[1:]]) if rule.startswith("!") else matcher([rule])
        return any(matches(model.id) for model in self.config.models)

    def _of_providers(self) -> Iterator[Finding]:
        callers = {key.rules for key in self.config.keys if self.now < key.valid_until}
        if self.config.anonymous:
            callers.add(self.config.anonymous.models)
        accessible = self._accessible_providers(callers)
        for result in self.results:
            name = result.provider.name
            offers = self.offers[name]
            if offers and name not in accessible:
                yield Finding("inaccessible", f"provider {name}", _INACCESSIBLE)
            if result.is_known:
                yield from self._of_selection(result, offers)
                yield from self._of_fields(result)

    def _accessible_providers(self, callers: Iterable[Globs]) -> set[str]:
        """The providers of which some caller can access a model."""
        allowed = 0
        behind_virtual: set[str] = set()
        for rules in callers:
            allowed |= self._visibility.allowed(rules)
            behind_virtual.update(offer.provider for offer in self._offers_of_virtual_models(rules))
        return behind_virtual | {offer.provider for at, offer in enumerate(self._all_offers) if allowed >> at & 1}

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
        is_known = not self._unknown and not self.config.skipped
        if "[" in hides and is_known and not self._listed_ids.matching_loosely(hides.removeprefix("!")):
            hint = "`[` is matched literally; write one pattern per character"
            return Finding("hides_nothing", who, f"{text}; {hint}")
        return Finding("matches_nothing", who, text)

    @cached_property
    def _listed_ids(self) -> PatternIndex:
        """The own ids of all models, before any rule."""
        return PatternIndex(entry.id for result in self.results for entry in result.entries)

    def _of_owners(self) -> Iterator[Finding]:
        """Findings about `owners`: the first match wins, over the ids of providers without a setting `owner`."""
        by_rule = [result.provider.name for result in self.results if not result.provider.owner]
        if not set(by_rule).isdisjoint(self._unknown):
            return
        ids = {offer.entry.id for name in by_rule for offer in self.offers[name]}
        for number, rule in enumerate(self.config.owners):
            who = f"owners[{number}]"
            for pattern in rule.match:
                matches = matcher([pattern])
                if not any(map(matches, ids)):
                    text = f"pattern {pattern!r} has no effect: it matches no model, or only models of earlier patterns"
                    yield Finding("matches_nothing", who, text)
                ids = {own_id for own_id in ids if not matches(own_id)}

    def _of_models(self) -> Iterator[Finding]:
        """Findings about virtual models: targets that no provider lists, or that cannot be called."""
        if self._unknown or self.config.skipped:
            return
        providers: dict[str, list[Provider]] = {}
        for result in self.results:
            for offer in self.offers[result.provider.name]:
                providers.setdefault(self._form(offer.id), []).append(result.provider)
        for model in self.config.models:
            for target in model.targets:
                listing = providers.get(self._form(target), [])
                if not any(provider.target for provider in listing):
                    why = "only listed by providers that cannot be called" if listing else "not listed by any provider"
                    yield Finding("matches_nothing", f"virtual model {model.id}", f"target {target!r} is {why}")

    def _of_routing(self) -> Iterator[Finding]:
        """Findings about `routing`: patterns that match no model."""
        if self._unknown or self.config.skipped:
            return
        for number, rule in enumerate(self.config.routing):
            for pattern in rule.match:
                if not self._public_ids.matching(pattern) and not self._is_accepted(pattern):
                    yield Finding("matches_nothing", f"routing[{number}]", f"pattern {pattern!r} matches no model")

    @cached_property
    def _public_ids(self) -> PatternIndex:
        return PatternIndex(self._offers_by_id)

    def _form(self, public_id: str) -> str:
        """An id as it is compared with others."""
        return public_id.casefold() if self.config.merge.ignore_case else public_id

    def _of_spellings(self) -> Iterator[Finding]:
        """Ids that differ only in case: clients see two models where there may be one."""
        if self.config.merge.ignore_case:
            return
        spellings: dict[str, set[str]] = {}
        for offer in chain.from_iterable(self.offers.values()):
            spellings.setdefault(offer.id.casefold(), set()).add(offer.id)
        twins = [" and ".join(sorted(ids)) for ids in spellings.values() if len(ids) > 1]
        if twins:
            more = f" and {len(twins) - _MAX_TWINS} more" if len(twins) > _MAX_TWINS else ""
            text = f"ids differ only in case: {', '.join(sorted(twins)[:_MAX_TWINS])}{more}"
            yield Finding("differs_in_case", "merge", f"{text}; `ignore_case: true` lists them once")

    def _of_look_alikes(self) -> Iterator[Finding]:
        """Ids that look like denied ones: those that are not denied, and those that a rule of one id denies, too."""
        for who, rules in self._holders:
            allowed = self._visibility.allowed(rules)
            for rule in rules:
                kind, pattern = split(rule.removeprefix("!"))
                if rule.startswith("!") and not kind:
                    others = sorted(self._public_ids.look_alikes(pattern))
                    missed = [other for other in others if any(allowed >> at & 1 for at in self._offers_by_id[other])]
                    if missed:
                        text = f"rule {rule!r} does not deny ids that look like those it denies: {_quoted(missed)}"
                        yield Finding("looks_denied", who, text)
                    if others and WILDCARDS.isdisjoint(pattern):
                        matches = loose_matcher([pattern])
                        if denied := [other for other in others if other != pattern and matches(other)]:
                            yield Finding("looks_denied", who, f"rule {rule!r} also denies {_quoted(denied)}")

    @cached_property
    def _offers_by_id(self) -> Mapping[str, Sequence[int]]:
        """Public id -> the positions of its offers."""
        by_id: dict[str, list[int]] = {}
        for at, offer in enumerate(self._all_offers):
            by_id.setdefault(offer.id, []).append(at)
        return by_id


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


def failures(audit: Audit, *, strict: bool = False) -> tuple[str, ...]:
    """Why `check` fails, one sentence each. `strict`: optional, skipped, incomplete and empty providers count, too."""
    results = [result for result in audit.results if strict or not result.provider.optional]
    failed = [result.provider.name for result in results if result.error]
    reasons = []
    if failed:
        hint = "fix the errors above" if strict else "fix the errors above, or set `optional: true`"
        reasons.append(f"{count(len(failed), 'provider')} failed: {', '.join(failed)}; {hint}")
    if strict:
        empty = [result.provider.name for result in audit.results if _lacks_models(result, audit)]
        skipped = [provider.name for provider in audit.config.skipped if provider.state == "skipped"]
        for names, state in ((skipped, "skipped"), (audit.partial, "incomplete"), (empty, "without models")):
            if names:
                reasons.append(f"{count(len(names), 'provider')} {state}: {', '.join(names)} (--strict)")
    return (*reasons, *map(str, audit.errors()))


def _lacks_models(result: ProbeResult, audit: Audit) -> bool:
    """Whether a provider responded, but none of its models is shown, and that is not declared as normal."""
    is_normal = result.provider.may_be_empty and not result.entries
    return not result.error and not audit.offers[result.provider.name] and not is_normal


def _offers(config: Config, results: Iterable[ProbeResult], now: float) -> Mapping[str, tuple[Offer, ...]]:
    """Provider -> its offers, computed as the server does."""
    return {
        result.provider.name: tuple(
            per_provider(result.provider, config, lambda: now)(result.fetched.entries if result.fetched else ())
        )
        for result in results
    }


def _acceptors(
    config: Config, results: Iterable[ProbeResult], offers: Mapping[str, Sequence[Offer]]
) -> Sequence[AcceptedNames]:
    """The providers that accept other names than they list."""
    sources = [result.source(offers[result.provider.name]) for result in results]
    return [acceptor for source in sources if (acceptor := run_now(accepted_names(source, config)))]


def _no_access(rules: Globs) -> str:
    why = f"no model is allowed by {', '.join(rules)}" if rules else "the list of rules is empty"
    return f"no access to any model: {why}"
