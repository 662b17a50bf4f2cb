"""Explain one model: what each provider has, what the rules make of it, who may see it, and which offer serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import msgspec

from proxy.access import Policy
from proxy.catalog import Catalog, Model, Offer
from proxy.catalog.names import Accepted, Source
from proxy.catalog.naming import Naming
from proxy.catalog.virtual import catalog_of
from proxy.config import Config, Provider
from proxy.config.routing import VirtualModel
from proxy.cooperative import Cooperative, batched
from proxy.dialects.entry import Entry
from proxy.dialects.identity import why_no_model
from proxy.explain.access import (
    Caller,
    access_part,
    caller_of,
    reasons_for,
    reasons_for_target,
    reasons_for_virtual,
)
from proxy.explain.calls import CallExplainer, CallStates, target_of
from proxy.explain.entries import Trace, Tracer
from proxy.explain.facts import Facts
from proxy.explain.nearest import difference, nearest
from proxy.explain.reasons import Reasons
from proxy.explain.values import (
    AccessPart,
    Calls,
    Explanation,
    Fact,
    Near,
    OfferPart,
    ProviderPart,
    Reason,
    Verdict,
)
from proxy.patterns import matcher
from proxy.states import ListState
from proxy.store.names import Lazy, NameIndex, Names, Refusal

_MAX_TRACES = 20
"""Models of one provider that are explained for one name."""


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


@dataclass(frozen=True)
class Lists:
    """What is known of all providers, in the order of the file."""

    providers: Sequence[ProviderList]
    index: Lazy[NameIndex]


class Explainer:
    """Explains models of one configuration and one moment."""

    def __init__(self, config: Config, lists: Lists, calls: CallStates, now: float) -> None:
        """`now`: Unix seconds."""
        self.config = config
        self.lists = lists
        self.calls = calls
        self._now = now
        self.reasons = Reasons(config)
        self.form: Callable[[str], str] = str.casefold if config.merge.ignore_case else str
        """A public id as it is compared with others."""
        self.providers = {provider.name: provider for provider in config.providers}
        self._tracers = {
            each.source.provider.name: Tracer(each.source.provider, config, now, self.reasons)
            for each in lists.providers
        }

    def caller(self, key: str | None) -> Caller | None:
        """The caller with the key of this name: see `caller_of`."""
        return caller_of(self.config, key, self._now, self.reasons)

    def names(self, caller: Caller) -> Names:
        """The names besides listed ids that a caller can use. It must be prepared before `explain`."""
        return Names(Catalog(()), caller.policy, self.lists.index)

    def trace(self, provider: str, own_id: str) -> Trace:
        """Trace one model of a provider."""
        (known,) = (each for each in self.lists.providers if each.source.provider.name == provider)
        entries = [each for each in known.source.entries if each.id == own_id or own_id in each.aliases]
        return self.trace_of(known.source.provider, own_id, entries)

    def trace_of(self, provider: Provider, own_id: str, entries: Iterable[Entry]) -> Trace:
        """Trace one model of a provider. `entries`: those of its list with this id, or with it as another name."""
        return self._tracers[provider.name].trace(own_id, entries)

    def owner_of_unlisted(self, offer: Offer) -> Reason:
        """Why a name that a provider accepts but does not list has its owner."""
        return self._tracers[offer.provider].owner(msgspec.structs.replace(offer, owned_by=""))

    def virtual(self, model_id: str) -> VirtualModel | None:
        """The virtual model with this id."""
        return next((model for model in self.config.models if model.id == model_id), None)

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

    def explain(self, name: str, caller: Caller, names: Names) -> Cooperative[Explanation]:
        """Explain the model that a name means for a caller. `names`: those of the caller."""
        work = _Work(self, name, caller, names)
        return (yield from work.run())


class _Work:
    """The explanation of one name."""

    def __init__(self, explainer: Explainer, name: str, caller: Caller, names: Names) -> None:
        self._of = explainer
        self._config = explainer.config
        self._reasons = explainer.reasons
        self._name = name
        self._caller = caller
        self._names = names
        self._virtual = explainer.virtual(name)
        self._traces: dict[str, list[Trace]] = {}
        self._offers: list[Offer] = []
        self._is_listed = False
        """Whether a caller who is allowed everything finds it in the list."""
        self._accepted: list[Accepted] = []
        """What providers accept under the name without listing it, if the caller's list does not contain it."""

    def run(self) -> Cooperative[Explanation]:
        yield from self._find_offers()
        providers = []
        for each in self._of.lists.providers:
            providers.append((yield from self._provider(each)))
        providers += [
            ProviderPart(skipped.name, skipped.state, skipped.reason, False, (), None)
            for skipped in self._config.skipped
        ]
        catalog = yield from catalog_of(self._offers, self._caller.policy, self._config)
        listed = catalog.find(self._name)
        self._accepted = [] if listed or self._virtual else [*self._names.accepted(self._name)]
        model = listed or self._names.find(self._name)
        verdict = self._verdict(catalog, model)
        near: list[Near] = []
        if model is None:
            near = yield from self._nearest()
        calls = CallExplainer(self._config, self._of.calls, self._reasons).of(model, self._caller) if model else None
        return Explanation(
            model=self._name,
            key=self._caller.key,
            verdict=verdict,
            text=self._text(verdict, model, calls, providers),
            id=model.id if model else "",
            owned_by=model.owned_by if model else "",
            created=model.created if model else 0,
            is_virtual=self._virtual is not None,
            targets=self._virtual.targets if self._virtual else (),
            providers=providers,
            access=self._access(),
            offers=self._parts,
            facts=self._facts(model) if model else (),
            calls=calls,
            nearest=near,
        )

    def _find_offers(self) -> Cooperative[None]:
        """Find the offers that decide on the name. Other spellings of an id count only if it is found by this name."""
        self._offers = yield from self._of.offers_of(self._name)
        catalog = yield from catalog_of(self._offers, EVERYTHING, self._config)
        self._is_listed = catalog.find(self._name) is not None
        if not self._is_listed and not self._virtual:
            self._offers = [offer for offer in self._offers if offer.id == self._name]

    # -- providers ---------------------------------------------------------------------------------------------

    def _provider(self, known: ProviderList) -> Cooperative[ProviderPart]:
        """What a provider has under the name: models that are listed under it, or that have it as own id."""
        provider = known.source.provider
        ids = dict.fromkeys(Naming(provider, self._config).own_ids(self._name))
        ids[self._name] = None
        related: dict[str, list[Entry]] = {}
        declared = [Entry(str(each["id"])) for each in provider.models]
        for batch in batched(chain(known.source.entries, declared)):
            for entry in batch:
                if entry.id in ids or entry.written == self._name:
                    related.setdefault(entry.id, [])
                elif entry.aliases and provider.list_aliases:
                    for alias in entry.aliases:
                        if alias in ids:
                            related.setdefault(alias, [])
            yield
        for offers in batched(known.source.offers):  # those with another spelling of the id, too
            for offer in offers:
                if offer.id == self._name or (self._is_listed and self._of.form(offer.id) == self._of.form(self._name)):
                    related.setdefault(offer.entry.id, [])
            yield
        for batch in batched(known.source.entries):
            for entry in batch:
                for own_id in (entry.id, *entry.aliases):
                    if own_id in related:
                        related[own_id].append(entry)
            yield
        traces = [self._of.trace_of(provider, own_id, related[own_id]) for own_id in [*related][:_MAX_TRACES]]
        self._traces[provider.name] = traces
        models = [trace.model for trace in traces]
        return ProviderPart(
            provider.name, known.state, known.error, known.source.is_known, models, self._accepts(known)
        )

    def _accepts(self, known: ProviderList) -> Reason | None:
        """The reason why a provider accepts the name without listing it."""
        provider = known.source.provider
        found = next((each for each in self._names.accepted(self._name) if each.offer.provider == provider.name), None)
        if found is None:
            return None
        if found.behind:
            listed = found.behind[0].entry
            text = f"accepts it as another name of {listed.id!r}"
            return Reason("aliases", "keeps", text)
        index = next((n for n, pattern in enumerate(provider.accept) if matcher([pattern])(found.own_id)), 0)
        text = f"accepts it without listing it: accept {provider.accept[index]!r}"
        return self._reasons.of_provider("accept", "keeps", text, provider.name, "accept", index)

    # -- verdict -----------------------------------------------------------------------------------------------

    def _verdict(self, catalog: Catalog, model: Model | None) -> Verdict:
        if catalog.find(self._name):
            return "listed"
        if model:
            return "accepted"
        if self._accepted or self._is_listed:
            return "denied"
        has_models = any(trace.model for traces in self._traces.values() for trace in traces)
        return "not_listed" if self._virtual or has_models else "unknown"

    def _text(
        self, verdict: Verdict, model: Model | None, calls: Calls | None, providers: Sequence[ProviderPart]
    ) -> str:
        name, who = repr(self._name), "" if self._caller.key is None else f" for {self._caller.who}"
        if verdict == "unknown":
            unknown = [each.name for each in providers if not each.is_known]
            lists, are = ("list", "is") if len(unknown) == 1 else ("lists", "are")
            caveat = f" The {lists} of {', '.join(unknown)} {are} not known." if unknown else ""
            no_model = f" {name} is a {why}." if (why := why_no_model(self._name)) else ""
            return f"No provider lists {name}.{no_model}{caveat}"
        if verdict == "denied":
            return f"{name} exists, but is not available{who}: {self._why_denied()}."
        if verdict == "not_listed":
            what = "none of its targets can be used" if self._virtual else "settings remove or rename it"
            return f"{name} is not listed{who}: {what}."
        state = f"is listed{who}" if verdict == "listed" else f"is not listed{who}, but accepted"
        return f"{name} {state}. {_calls_text(calls)}"

    def _why_denied(self) -> str:
        reasons = [reason for offer in self._denied_offers for reason in offer.reasons if reason.effect == "denies"]
        return "; ".join(dict.fromkeys(reason.text for reason in reasons)) or "its rules do not allow it"

    # -- access ------------------------------------------------------------------------------------------------

    def _access(self) -> AccessPart | None:
        if self._caller.key is None:
            return None
        offers = [*self._offers, *(each.offer for each in self._accepted)]
        return access_part(self._caller, offers, self._virtual.id if self._virtual else "", self._reasons)

    @cached_property
    def _denied_offers(self) -> list[OfferPart]:
        return [part for part in self._parts if not part.is_allowed]

    @cached_property
    def _parts(self) -> list[OfferPart]:
        if self._virtual:
            return [*self._parts_of_targets(self._virtual)]
        return [*map(self._part, self._offers), *map(self._accepted_part, self._accepted)]

    def _part(self, offer: Offer) -> OfferPart:
        is_allowed = self._caller.policy.allows(offer)
        return _offer_part(offer, is_allowed, reasons_for(self._caller, offer, self._reasons))

    def _accepted_part(self, accepted: Accepted) -> OfferPart:
        refusal = self._names.refusal(accepted)
        if refusal is None or refusal == "rules":
            reasons = reasons_for(self._caller, accepted.offer, self._reasons)
        else:
            reasons = [Reason("accept", "denies", _REFUSALS[refusal])]
        return _offer_part(accepted.offer, refusal is None, reasons)

    def _parts_of_targets(self, virtual: VirtualModel) -> Iterator[OfferPart]:
        form = self._of.form
        allows = self._caller.policy.target_filter(virtual.id)
        of_id = reasons_for_virtual(self._caller, virtual.id, self._reasons)
        for target in virtual.targets:
            for offer in self._offers:
                if form(offer.id) != form(target):
                    continue
                reasons = (
                    of_id if allows is None else reasons_for_target(self._caller, virtual.id, offer, self._reasons)
                )
                can_call = self._of.providers[offer.provider].target is not None
                if not can_call:
                    text = "list-only: a virtual model uses only offers that can be called"
                    reasons = [self._reasons.of_provider("call", "stops", text, offer.provider, "call")]
                yield _offer_part(offer, bool(allows and allows(offer) and can_call), reasons, target)

    # -- fields ------------------------------------------------------------------------------------------------

    def _facts(self, model: Model) -> list[Fact]:
        withheld = {each.source.provider.name: each.withheld for each in self._of.lists.providers}
        facts = Facts(self._config, withheld, self._reasons)
        first = model.offers[0]
        allowed = [offer for offer in self._offers if self._caller.policy.allows(offer)] or list(model.offers)
        if target := target_of(first):
            allowed = self._offers_of_target(target, first.provider)
        return facts.of(model, allowed, self._owner_reason(first))

    def _offers_of_target(self, target: str, provider: str) -> list[Offer]:
        """The offers of a target, from that of the provider whose fields are shown on."""
        form = self._of.form
        offers = [offer for offer in self._offers if form(offer.id) == form(target)]
        first = next(n for n, offer in enumerate(offers) if offer.provider == provider)
        return offers[first:]

    def _owner_reason(self, offer: Offer) -> Reason:
        """Why the model of an offer has its owner: a name that is not listed has that of the model that it refers to."""
        accepted = next((each for each in self._accepted if each.offer.provider == offer.provider), None)
        listed = accepted.behind[0] if accepted and accepted.behind else offer.alias_of or offer
        if accepted and not accepted.behind:
            return self._of.owner_of_unlisted(accepted.offer)
        reasons = self._of.trace(offer.provider, listed.entry.id).model.reasons
        return next(reason for reason in reasons if reason.effect == "sets")

    # -- similar ids -------------------------------------------------------------------------------------------

    def _nearest(self) -> Cooperative[list[Near]]:
        offers: dict[str, list[Offer]] = {}
        removed: dict[str, list[str]] = {}
        for each in self._of.lists.providers:
            own_ids = set()
            for batch in batched(each.source.offers):
                for offer in batch:
                    offers.setdefault(offer.id, []).append(offer)
                    own_ids.add(offer.entry.id)
                yield
            for entries in batched(each.source.entries):
                for entry in entries:
                    if entry.id not in own_ids:
                        removed.setdefault(entry.id, []).append(each.source.provider.name)
                yield
        virtual = {model.id for model in self._config.models}
        # Not the name itself, which is explained above.
        others = {**offers, **removed, **dict.fromkeys(virtual)}.keys() - {self._name}
        ids = yield from nearest(self._name, others)
        near = []
        for other in ids:
            near.append((yield from self._near(other, offers.get(other, ()), removed.get(other, ()))))
        return near

    def _near(self, other: str, offers: Sequence[Offer], removed: Sequence[str]) -> Cooperative[Near]:
        prefixes = [provider.prefix for provider in self._config.providers]
        how = difference(self._name, other, prefixes, ignores_case=self._config.merge.ignore_case)
        found = [Reason("id", "no_match", how)] if how else []
        deciding = yield from self._of.offers_of(other)
        catalog = yield from catalog_of(deciding, self._caller.policy, self._config)
        is_allowed = catalog.find(other) is not None
        if not is_allowed and self._of.virtual(other):
            found += reasons_for_virtual(self._caller, other, self._reasons)
        elif not is_allowed:
            found += [reason for offer in offers for reason in reasons_for(self._caller, offer, self._reasons)]
        if not offers:
            for provider in removed:
                found += [
                    reason for reason in self._of.trace(provider, other).model.reasons if reason.effect == "removes"
                ]
        providers = list(dict.fromkeys([*(offer.provider for offer in offers), *removed]))
        return Near(other, providers, is_allowed, list(dict.fromkeys(found)))


def _offer_part(offer: Offer, is_allowed: bool, reasons: Sequence[Reason], target: str = "") -> OfferPart:
    return OfferPart(offer.provider, offer.entry.id, offer.owned_by, offer.created, target, is_allowed, reasons)


def _calls_text(calls: Calls | None) -> str:
    if calls is None or not any(part.position for part in calls.candidates):
        return "It cannot be called."
    if not calls.can_call:
        return "This caller cannot call it."
    first, *others = [part for part in calls.candidates if part.position]
    following = f"; if it fails, to {', then to '.join(part.provider for part in others)}" if others else ""
    return f"Calls go to {first.provider}{following}."


EVERYTHING = Policy.of(("*",))
_REFUSALS: Mapping[Refusal, str] = {
    "listed model denied": "a rule denies the listed model that this is another name of",
    "list unknown": "the list of the provider is not known, so the name may mean a model that a rule denies",
    "variant of denied model": "a rule denies the model that it is a variant of",
    "similar to denied model": "a rule denies a listed model whose id begins with this name, or that it begins with",
}
"""Why a name that is allowed by the rules is not available."""
