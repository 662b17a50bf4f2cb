"""The models of all providers as `check` fetched them: what access rules and patterns match. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import chain

from proxy.access import Policy
from proxy.access.visibility import Visibility
from proxy.catalog import Offer, per_provider
from proxy.catalog.names import AcceptedNames, accepted_names
from proxy.catalog.pattern_index import PatternIndex
from proxy.catalog.virtual import offers_by_target
from proxy.cli.probe_result import ProbeResult
from proxy.config import Config
from proxy.config.access_rules import RULES, split
from proxy.config.fields import Globs
from proxy.config.routing import VirtualModel
from proxy.cooperative import run_now
from proxy.patterns import loose_matcher, matcher


class AuditedModels:
    """The models of all providers, and which of them access rules match."""

    def __init__(self, config: Config, results: Sequence[ProbeResult], now: float) -> None:
        """`results`: of all providers, in the order of the file; `now`: Unix seconds."""
        self.config = config
        self.results = tuple(results)
        self.now = now
        self.offers = offers_of(config, results, now)
        self.all_offers = tuple(chain.from_iterable(self.offers.values()))
        self.visibility = Visibility(self.all_offers)
        self.unknown = tuple(result.provider.name for result in results if not result.is_known)
        """Providers whose models are not all known. A rule that matches nothing may be meant for one of them."""
        self._policy = cache(Policy)
        self._acceptors = _acceptors(config, results, self.offers)

    def allows_nothing(self, rules: Globs) -> bool:
        if self.unknown and any(map(self._policy(rules).may_allow, self.unknown)):
            return False
        if any(not rule.startswith("!") and self.is_accepted(rule) for rule in rules):
            return False
        return not self.visibility.allowed(rules) and not self.offers_of_virtual_models(rules)

    def offers_of_virtual_models(self, rules: Globs) -> Sequence[Offer]:
        """The offers through which these rules allow virtual models."""
        policy = self._policy(rules) if self.config.models else None
        return [offer for model in self.config.models if policy for offer in self._usable(model, policy)]

    def _usable(self, model: VirtualModel, policy: Policy) -> Iterator[Offer]:
        if allows := policy.target_filter(model.id):
            for target in model.targets:
                yield from filter(allows, self._offers_by_target[self.form(target)])

    @cached_property
    def _offers_by_target(self) -> Mapping[str, Sequence[Offer]]:
        return run_now(offers_by_target(self.all_offers, self.config, self.form))

    def is_accepted(self, rule: str) -> bool:
        """Whether an id rule may match a name that a provider accepts but does not list."""
        if not self._acceptors:
            return False
        kind, pattern = split(rule.removeprefix("!"))
        return not kind and any(acceptor.accepts_any(pattern) for acceptor in self._acceptors)

    def matches_something(self, rule: str) -> bool:
        """Whether a rule allows or denies some model. True if it may match a provider with unknown models."""
        kind, pattern = split(rule.removeprefix("!"))
        unknown = (*self.unknown, *(skipped.name for skipped in self.config.skipped))
        if any(map(matcher([pattern]), unknown)) if RULES[kind].per_provider else self.unknown:
            return True
        if self.is_accepted(rule) or (not kind and self._matches_virtual(rule)):
            return True
        return bool(self.visibility.matched(rule))

    def _matches_virtual(self, rule: str) -> bool:
        """Whether an id rule allows or denies a virtual model."""
        if not self.config.models:
            return False
        matches = loose_matcher([rule[1:]]) if rule.startswith("!") else matcher([rule])
        return any(matches(model.id) for model in self.config.models)

    def accessible_providers(self, callers: Iterable[Globs]) -> set[str]:
        """The providers of which some caller can access a model."""
        allowed = 0
        behind_virtual: set[str] = set()
        for rules in callers:
            allowed |= self.visibility.allowed(rules)
            behind_virtual.update(offer.provider for offer in self.offers_of_virtual_models(rules))
        return behind_virtual | {offer.provider for at, offer in enumerate(self.all_offers) if allowed >> at & 1}

    @cached_property
    def listed_ids(self) -> PatternIndex:
        """The own ids of all models, before any rule."""
        return PatternIndex(entry.id for result in self.results for entry in result.entries)

    @cached_property
    def public_ids(self) -> PatternIndex:
        return PatternIndex(self.offers_by_id)

    def form(self, public_id: str) -> str:
        """An id as it is compared with others."""
        return public_id.casefold() if self.config.merge.ignore_case else public_id

    @cached_property
    def offers_by_id(self) -> Mapping[str, Sequence[int]]:
        """Public id -> the positions of its offers."""
        by_id: dict[str, list[int]] = {}
        for at, offer in enumerate(self.all_offers):
            by_id.setdefault(offer.id, []).append(at)
        return by_id


def offers_of(config: Config, results: Iterable[ProbeResult], now: float) -> Mapping[str, tuple[Offer, ...]]:
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
