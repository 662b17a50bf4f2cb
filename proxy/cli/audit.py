"""What a catalogue tells about its configuration: who sees nothing, what matches nothing, what would collide.

No I/O: it thinks about what was heard when every provider was asked once (`Heard`). Of a provider that did not
answer nothing is judged, and neither is a rule that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Literal, get_args

from proxy.access import Policy
from proxy.catalog import Catalog, FetchResult, Offer, merge, per_provider
from proxy.config import Config, Provider
from proxy.config.access_rules import RULES, split
from proxy.config.fields import Globs
from proxy.config.settings import Merge
from proxy.dialects import DIALECTS, entry_of
from proxy.dialects.entry import Entry
from proxy.errors import UpstreamError
from proxy.patterns import matcher

Kind = Literal["sees_nothing", "expired", "matches_nothing", "seen_by_nobody", "hides_nothing"]
DUPLICATES: tuple[str, ...] = get_args(Merge.model_fields["duplicates"].annotation)
NO_KEY = "callers without a key"


@dataclass(frozen=True)
class ProbeResult:
    """What one provider said when it was asked: an answer or an error; neither where nobody is asked."""

    provider: Provider
    answer: FetchResult | None = None
    error: UpstreamError | None = None
    seconds: float = 0.0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every model that it declares or lists, before any rule."""
        declared = (entry_of(DIALECTS["static"], said, b"", {}) for said in self.provider.models)
        return (*declared, *(self.answer.entries if self.answer else ()))


@dataclass(frozen=True)
class Finding:
    """One thing that an operator may not have meant."""

    kind: Kind
    who: str
    """A key, a group, a provider, or a rule of `owners`, as the file names it."""
    text: str

    def __str__(self) -> str:
        return f"{self.who} {self.text}"


@dataclass(frozen=True)
class DuplicatesPreview:
    """What the catalogue would be with another `merge.duplicates`."""

    duplicates: str
    models: int
    collisions: Mapping[str, tuple[str, ...]]
    """Public id -> the providers that would share it, in the operator's order."""


class Audit:
    """What was heard of all providers, in the operator's order, and what follows from it."""

    def __init__(self, config: Config, heard: Sequence[ProbeResult], now: float) -> None:
        """`now` is Unix seconds; it tells which keys have expired."""
        self.config = config
        self.heard = tuple(heard)
        self._now = now
        self.offers = _offers(config, heard)
        self.unheard = tuple(one.provider.name for one in heard if one.error)

    def catalog(self, rules: Iterable[str] = ("*",)) -> Catalog:
        """What these rules let their holder see."""
        return merge(chain.from_iterable(self.offers.values()), Policy(rules).allows)

    def other_policies(self) -> tuple[DuplicatesPreview, ...]:
        """The duplicate policies that the file does not choose."""
        chosen = self.config.merge.duplicates
        return tuple(self._under(policy) for policy in DUPLICATES if policy != chosen)

    def _under(self, duplicates: str) -> DuplicatesPreview:
        other = self.config.merge.model_copy(update={"duplicates": duplicates})
        by_id: dict[str, list[str]] = {}
        for name, offers in _offers(replace(self.config, merge=other), self.heard).items():
            for offer in offers:
                by_id.setdefault(offer.id, []).append(name)
        shared = {model_id: tuple(by_id[model_id]) for model_id in sorted(by_id) if len(by_id[model_id]) > 1}
        return DuplicatesPreview(duplicates, len(by_id), shared)

    def findings(self, key: str | None = None) -> tuple[Finding, ...]:
        """All of them, or only those of one key and of its group."""
        found = (*self._of_callers(), *self._of_rules(), *self._of_providers(), *self._of_owners())
        if key is None:
            return found
        group = next(known.group for known in self.config.keys if known.name == key)
        return tuple(finding for finding in found if finding.who in {f"key {key}", f"group {group}"})

    def errors(self) -> tuple[Finding, ...]:
        """Those with which the configuration shows what it should hide."""
        return tuple(finding for finding in self.findings() if finding.kind == "hides_nothing")

    def _of_callers(self) -> Iterator[Finding]:
        sees_nothing = cache(self._sees_nothing)
        anonymous = self.config.anonymous
        if anonymous and sees_nothing(anonymous.models):
            yield Finding("sees_nothing", NO_KEY, _why_blind(anonymous.models, "see"))
        for key in self.config.keys:
            if self._now >= key.valid_until:
                yield Finding("expired", f"key {key.name}", f"has expired ({key.expires}); it is refused with 401")
            if sees_nothing(key.rules):
                yield Finding("sees_nothing", f"key {key.name}", _why_blind(key.rules, "sees"))

    def _sees_nothing(self, rules: Globs) -> bool:
        return not self._is_seen(Policy(rules), chain.from_iterable(self.offers.values()))

    def _of_rules(self) -> Iterator[Finding]:
        groups = self.config.groups
        of_groups = {group.models for group in groups.values()}
        holders = [(f"group {name}", group.models) for name, group in groups.items()]
        holders += [(f"key {key.name}", key.rules) for key in self.config.keys if key.rules not in of_groups]
        matches = cache(self._matches_something)
        for who, rules in holders:
            for rule in rules:
                if not matches(rule):
                    text = f"has the rule {rule!r}, which matches nothing"
                    yield self._unmatched(who, text, hides=rule if rule.startswith("!") else "")

    def _matches_something(self, rule: str) -> bool:
        """Whether a rule allows or forbids some model, as far as that is known."""
        kind, pattern = split(rule.removeprefix("!"))
        if RULES[kind].per_provider:
            not_there = (*self.unheard, *(skipped.name for skipped in self.config.skipped))
            if any(map(matcher([pattern]), not_there)):
                return True
        offers = chain.from_iterable(self.offers.values())
        if rule.startswith("!"):
            return not all(map(Policy(["*", rule]).allows, offers))
        return self._is_seen(Policy([rule]), offers)

    @staticmethod
    def _is_seen(policy: Policy, offers: Iterable[Offer]) -> bool:
        return any(map(policy.allows, offers))

    def _of_providers(self) -> Iterator[Finding]:
        callers = {key.rules for key in self.config.keys if self._now < key.valid_until}
        if self.config.anonymous:
            callers.add(self.config.anonymous.models)
        policies = [Policy(rules) for rules in sorted(callers)]
        for one in self.heard:
            name = one.provider.name
            offers = self.offers[name]
            if offers and not any(self._is_seen(policy, offers) for policy in policies):
                yield Finding("seen_by_nobody", f"provider {name}", "has models that nobody may see")
            if not one.error:
                yield from self._of_selection(one, offers)

    def _of_selection(self, one: ProbeResult, offers: Sequence[Offer]) -> Iterator[Finding]:
        """`include`, `exclude` and `aliases` of a provider that answered."""
        provider, who = one.provider, f"provider {one.provider.name}"
        listed = {entry.id for entry in one.entries}
        kept = {offer.entry.id for offer in offers}
        given = provider.model_fields_set
        for setting, patterns in (("include", provider.include), ("exclude", provider.exclude)):
            for pattern in patterns if setting in given else ():
                if not any(map(matcher([pattern]), listed)):
                    text = f"has {setting} {pattern!r}, which matches none of its models"
                    yield self._unmatched(who, text, hides=pattern if setting == "exclude" else "")
        for public, own_id in provider.aliases.items():
            if own_id not in kept:
                why = "which include and exclude leave out" if own_id in listed else "which it does not list"
                yield Finding("matches_nothing", who, f"has the alias {public!r} for {own_id!r}, {why}")

    def _unmatched(self, who: str, text: str, hides: str) -> Finding:
        """A pattern that matches nothing. `hides`: the pattern, where it hides models.

        That is an error if `[` is in it: a character class of before would hide nothing now. It is judged only when
        every provider answered: what is not known may have this very id.
        """
        if "[" in hides and not self.unheard and not self.config.skipped:
            return Finding(
                "hides_nothing", who, f"{text}; `[` is matched literally, so write one pattern per character"
            )
        return Finding("matches_nothing", who, text)

    def _of_owners(self) -> Iterator[Finding]:
        """Rules of `owners`: first match wins, over the ids of providers that force no owner of their own."""
        ids = {
            offer.entry.id for one in self.heard if not one.provider.owner for offer in self.offers[one.provider.name]
        }
        for number, rule in enumerate(self.config.owners):
            who = f"owners[{number}]"
            for pattern in rule.match:
                matches = matcher([pattern])
                if not any(map(matches, ids)):
                    text = f"matches nothing with {pattern!r}, or only what comes before it claims"
                    yield Finding("matches_nothing", who, text)
                ids = {own_id for own_id in ids if not matches(own_id)}


def _offers(config: Config, heard: Iterable[ProbeResult]) -> Mapping[str, tuple[Offer, ...]]:
    """The offers of each provider, as the server makes them."""
    return {
        one.provider.name: tuple(per_provider(one.provider, config)(one.answer.entries if one.answer else ()))
        for one in heard
    }


def _why_blind(rules: Globs, sees: str) -> str:
    return f"{sees} nothing: " + (
        f"no model is allowed by {', '.join(rules)}" if rules else "the list of rules is empty"
    )
