"""Names that providers accept but do not list. Pure.

Besides the ids it lists, a provider accepts the id as it writes it (`models/m`), `m` for `m:latest`, other names in an
entry (`aliases`), and what the setting `accept` matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from proxy.catalog.naming import Naming
from proxy.catalog.pattern_index import PatternIndex
from proxy.catalog.rules import aliased, owner_rule
from proxy.catalog.values import Offer
from proxy.config import Config, Provider
from proxy.cooperative import Cooperative, batched
from proxy.dialects.entry import Entry
from proxy.dialects.identity import problem_of_id
from proxy.dialects.known_facts import Facts
from proxy.patterns import WILDCARDS, matcher

LATEST = ":latest"
_REGISTRY = re.compile(r"(?:https?://)?(?:registry\.ollama\.ai/)?library/", re.IGNORECASE)
"""The prefix that Ollama adds to a name without a registry: `library/m` is `m`."""


class Source(NamedTuple):
    """A provider and its current models."""

    provider: Provider
    entries: Sequence[Entry]
    """The entries of its list, before rules."""
    offers: Sequence[Offer]
    """What the rules make of its entries and its declared models."""
    is_known: bool
    """Whether its models are known: not before the first response, and not after `max_stale`."""


class Accepted(NamedTuple):
    """A model under a name that is not listed."""

    offer: Offer
    own_id: str
    """The provider's own name."""
    behind: tuple[Offer, ...]
    """The listed offers that the name refers to, if the provider reports them."""
    is_known: bool
    """Whether the models of the provider are known."""


class AcceptedNames:
    """The names that one provider accepts but does not list."""

    def __init__(
        self,
        source: Source,
        config: Config,
        offers: Mapping[str, Sequence[Offer]],
        aliases: Mapping[str, Sequence[str]],
    ) -> None:
        """`offers`: own id -> its offers, none if the rules remove it; `aliases`: name -> own ids of the entries that
        contain it."""
        provider = source.provider
        self._provider = provider.name
        self._is_known = source.is_known
        self._naming = Naming(provider, config)
        self._owner_of = owner_rule(provider, config)
        self._accepts, self._excluded = matcher(provider.accept), matcher(provider.exclude)
        self._has_patterns = bool(provider.accept)
        self._offers = offers
        self._aliases = aliases

    def find(self, name: str) -> Accepted | None:
        """Return the model with a public name, None if the provider does not accept the name, or lists it."""
        for own_id in self._naming.own_ids(name):
            if own_id in self._offers or self._excluded(own_id) or problem_of_id(own_id):
                continue
            behind = self._behind(own_id)
            if behind is None:
                continue
            if behind:
                first = behind[0]
                is_prefixed = first.entry.written == own_id
                entry = first.entry if is_prefixed else aliased(first.entry, own_id)
                offer = Offer(name, self._provider, first.owned_by, entry, facts=_common_facts(behind))
            elif self._accepts(own_id) and not self._is_variant_of_removed(own_id):
                entry = Entry(own_id, self._reported_owner(own_id), root=own_id)
                offer = Offer(name, self._provider, self._owner_of(entry), entry)
            else:
                continue
            if name in self._naming.public_ids(own_id, offer.owned_by):
                return Accepted(offer, own_id, behind, self._is_known)
        return None

    def _behind(self, own_id: str) -> tuple[Offer, ...] | None:
        """Return the listed offers whose entries contain a name; None if the rules remove one of these models."""
        listed = [self._offers[alias] for alias in dict.fromkeys(self._aliases.get(own_id, ()))]
        return tuple(chain.from_iterable(listed)) if all(listed) else None

    def accepts_any(self, pattern: str) -> bool:
        """Return whether the provider accepts a name that matches a pattern over public ids; True if unknown."""
        if WILDCARDS.isdisjoint(pattern):
            return self.find(pattern) is not None
        if self._has_patterns:
            return True
        return bool(self._known.matching(pattern))

    @cached_property
    def _known(self) -> PatternIndex:
        """The public names of the names in entries."""
        known = ((own_id, behind[0].owned_by) for own_id in self._aliases if (behind := self._behind(own_id)))
        names = (self._naming.public_ids(own_id, owner) for own_id, owner in known)
        return PatternIndex(chain.from_iterable(names))

    def _is_variant_of_removed(self, own_id: str) -> bool:
        """Whether the rules remove the model that a name may be a variant of."""
        return any(
            self._excluded(base_id) or (base_id in self._offers and not self._offers[base_id])
            for base_id in bases_of(own_id)
        )

    def _reported_owner(self, own_id: str) -> str:
        """The owner that the provider reports for the listed model that a name may be a variant of."""
        offers = [offer for base_id in bases_of(own_id) for offer in self._offers.get(base_id, ())]
        return offers[0].entry.owner if offers else ""


def _common_facts(offers: Sequence[Offer]) -> Facts | None:
    """The facts of the models that one name matches, None if they differ: then the facts are unknown."""
    return offers[0].facts if all(offer.facts == offers[0].facts for offer in offers) else None


def accepted_names(source: Source, config: Config) -> Cooperative[AcceptedNames | None]:
    """Read the names that a provider accepts in batches. None if there are none, or if it cannot be called."""
    provider = source.provider
    if provider.target is None:
        return None
    aliases: dict[str, list[str]] = {}
    for entries in batched(chain(source.entries, (offer.entry for offer in source.offers))):
        for entry in entries:
            for name in other_names(entry):
                aliases.setdefault(name, []).append(entry.id)
        yield
    if not aliases and not provider.accept:
        return None
    offers: dict[str, tuple[Offer, ...]] = {}
    for entries in batched(source.entries):
        offers.update((entry.id, ()) for entry in entries)
        yield
    for batch in batched(source.offers):
        for offer in batch:
            offers[offer.entry.id] = (*offers.get(offer.entry.id, ()), offer)
        yield
    return AcceptedNames(source, config, offers, aliases)


def other_names(entry: Entry) -> Iterator[str]:
    """The names besides its id under which a provider accepts an entry."""
    if entry.written:
        yield entry.written
    if entry.id.endswith(LATEST):
        yield entry.id.removesuffix(LATEST)
    yield from entry.aliases


def bases_of(name: str) -> Iterator[str]:
    """Yield the models that a name may be another spelling of, or a variant of."""
    yield from without_suffixes(name)
    plain = without_registry(name)
    if plain != name:
        yield plain
        yield from without_suffixes(plain)


def without_registry(name: str) -> str:
    """`registry.ollama.ai/library/m` -> `m`."""
    match = _REGISTRY.match(name)
    return name[match.end() :] if match else name


def without_suffixes(name: str) -> Iterator[str]:
    """`a:b:c` -> `a:b`, `a`."""
    while ":" in name:
        name = name.rpartition(":")[0]
        yield name
