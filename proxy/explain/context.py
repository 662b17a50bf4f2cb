"""What explanations are based on: a configuration, the lists of its providers, and the state of calls at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from proxy.access import Policy
from proxy.catalog import Catalog, Offer
from proxy.catalog.names import Source
from proxy.config import Config
from proxy.config.routing import VirtualModel
from proxy.cooperative import Cooperative, batched
from proxy.explain.access import Caller, caller_of
from proxy.explain.calls import CallStates
from proxy.explain.entries import Trace, Tracer
from proxy.explain.reasons import Reasons
from proxy.explain.values import Reason
from proxy.limits.limiter import Status
from proxy.states import ListState
from proxy.store.names import Lazy, NameIndex, Names


class ProviderList(NamedTuple):
    """What is known of one provider."""

    source: Source
    state: ListState
    error: str = ""
    """Why the list is not complete and current, "" if it is."""
    dropped: Mapping[str, int] = {}
    """Reason -> entries of the list that were dropped."""
    withheld: frozenset[str] = frozenset()
    """Own ids of models whose creation time is not shown."""
    expired: frozenset[str] = frozenset()
    """Public ids in the last list, if it has expired."""


@dataclass(frozen=True)
class Lists:
    """What is known of all providers, in the order of the file."""

    providers: Sequence[ProviderList]
    index: Lazy[NameIndex]
    seconds_until_known: Callable[[Policy, str], float] = lambda policy, name: 0.0
    """Returns after how many seconds a name that is not listed may be, 0 for never: see `store.absent`."""


class Context:
    """One configuration at one moment."""

    def __init__(
        self, config: Config, lists: Lists, calls: CallStates, now: float, limits: Sequence[Status] = ()
    ) -> None:
        """`now`: Unix seconds; `limits`: those of the caller, if their remaining amounts are known."""
        self.config = config
        self.lists = lists
        self.calls = calls
        self.limits = limits
        self.reasons = Reasons(config)
        self.form: Callable[[str], str] = str.casefold if config.merge.ignore_case else str
        """A public id as it is compared with others."""
        self.providers = {provider.name: provider for provider in config.providers}
        self.known = {each.source.provider.name: each for each in lists.providers}
        self.tracers = {name: Tracer(self.providers[name], config, now, self.reasons) for name in self.known}
        self.now = now

    def caller(self, key: str | None) -> Caller | None:
        """The caller with the key of this name: see `caller_of`."""
        return caller_of(self.config, key, self.now, self.reasons)

    def names(self, caller: Caller) -> Names:
        """The names besides listed ids that a caller can use. They must be prepared before a model is explained."""
        return Names(Catalog(()), caller.policy, self.lists.index)

    def virtual(self, model_id: str) -> VirtualModel | None:
        """The virtual model with this id."""
        return next((model for model in self.config.models if model.id == model_id), None)

    def trace(self, provider: str, own_id: str) -> Cooperative[Trace]:
        """Trace one model of a provider."""
        entries = []
        for batch in batched(self.known[provider].source.entries):
            entries += [each for each in batch if each.id == own_id or own_id in each.aliases]
            yield
        return self.tracers[provider].trace(own_id, entries)

    def owner_of_unlisted(self, offer: Offer) -> Reason:
        """Why a name that a provider accepts but does not list has its owner."""
        return self.tracers[offer.provider].owner(msgspec.structs.replace(offer, owned_by=""))

    def offers_of(self, model_id: str) -> Cooperative[list[Offer]]:
        """The offers that decide on an id, those of the targets of a virtual model included."""
        virtual = self.virtual(model_id)
        ids = {self.form(model_id), *(self.form(target) for target in (virtual.targets if virtual else ()))}
        found: list[Offer] = []
        for each in self.lists.providers:
            for batch in batched(each.source.offers):
                found += [offer for offer in batch if self.form(offer.id) in ids]
                yield
        return found
