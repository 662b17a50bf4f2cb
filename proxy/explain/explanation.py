"""Explain one model: what each provider has, what the rules make of it, who may see it, and which offer serves it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from proxy.access import Policy
from proxy.catalog import Catalog, Model, Offer
from proxy.catalog.names import Accepted
from proxy.catalog.naming import Naming
from proxy.catalog.virtual import catalog_of
from proxy.cooperative import Cooperative, batched
from proxy.dialects.entry import Entry
from proxy.explain.access import Caller, access_part
from proxy.explain.calls import CallExplainer, target_of
from proxy.explain.context import Context, ProviderList
from proxy.explain.facts import Facts
from proxy.explain.limits import limit_parts
from proxy.explain.nearest import Nearest
from proxy.explain.offers import Decided, decided
from proxy.explain.values import AccessPart, Explanation, Fact, ProviderPart, Reason, Verdict
from proxy.explain.verdict import sentence
from proxy.patterns import matcher
from proxy.store.names import Names

_MAX_TRACES = 20
"""Models of one provider that are explained for one name."""
_EVERYTHING = Policy.of(("*",))


def explaining(context: Context, name: str, caller: Caller, names: Names) -> Cooperative[Explanation]:
    """Explain the model that a name means for a caller, in steps. `names`: those of the caller, prepared."""
    return (yield from _Explaining(context, name, caller, names).run())


class _Explaining:
    """The explanation of one name."""

    def __init__(self, context: Context, name: str, caller: Caller, names: Names) -> None:
        self._context = context
        self._config = context.config
        self._reasons = context.reasons
        self._name = name
        self._caller = caller
        self._names = names
        self._virtual = context.virtual(name)
        self._offers: list[Offer] = []
        self._is_listed = False
        """Whether a caller who is allowed everything finds it in the list."""
        self._accepted: list[Accepted] = []
        """What providers accept under the name without listing it, if the caller's list does not contain it."""

    def run(self) -> Cooperative[Explanation]:
        yield from self._find_offers()
        providers = []
        for each in self._context.lists.providers:
            providers.append((yield from self._provider(each)))
        providers += [
            ProviderPart(skipped.name, skipped.state, skipped.reason, False, False, {}, (), None)
            for skipped in self._config.skipped
        ]
        catalog = yield from catalog_of(self._offers, self._caller.policy, self._config)
        listed = catalog.find(self._name)
        self._accepted = [] if listed or self._virtual else [*self._names.accepted(self._name)]
        model = listed or self._names.find(self._name)
        verdict = self._verdict(catalog, model, providers)
        decisions = decided(self._context, self._caller, self._names, self._virtual, self._offers, self._accepted)
        parts = [each.part for each in decisions]
        calls = (
            CallExplainer(self._config, self._context.calls, self._reasons).of(model, self._caller) if model else None
        )
        return Explanation(
            model=self._name,
            key=self._caller.key,
            verdict=verdict,
            text=sentence(
                self._name,
                verdict,
                self._caller,
                providers,
                parts,
                calls,
                is_virtual=self._virtual is not None,
                is_awaited=model is None
                and self._context.lists.seconds_until_known(self._caller.policy, self._name) > 0,
            ),
            id=model.id if model else "",
            owned_by=model.owned_by if model else "",
            created=model.created if model else 0,
            is_virtual=self._virtual is not None,
            targets=self._virtual.targets if self._virtual else (),
            providers=providers,
            access=self._access(),
            limits=limit_parts(self._config, self._caller.key, self._context.limits, self._reasons),
            offers=parts,
            facts=(yield from self._facts(model, decisions)) if model else (),
            calls=calls,
            nearest=() if model else (yield from Nearest(self._context, self._caller).find(self._name)),
        )

    def _find_offers(self) -> Cooperative[None]:
        """Find the offers that decide on the name. Other spellings of an id count only if it is found by this name."""
        self._offers = yield from self._context.offers_of(self._name)
        catalog = yield from catalog_of(self._offers, _EVERYTHING, self._config)
        self._is_listed = catalog.find(self._name) is not None
        if not self._is_listed and not self._virtual:
            self._offers = [offer for offer in self._offers if offer.id == self._name]

    def _verdict(self, catalog: Catalog, model: Model | None, providers: Sequence[ProviderPart]) -> Verdict:
        if catalog.find(self._name):
            return "listed"
        if model:
            return "accepted"
        if self._accepted or self._is_listed:
            return "denied"
        return "not_listed" if self._virtual or any(each.models for each in providers) else "unknown"

    # -- providers ---------------------------------------------------------------------------------------------

    def _provider(self, known: ProviderList) -> Cooperative[ProviderPart]:
        """What a provider has under the name: models that are listed under it, or that have it as own id."""
        provider = known.source.provider
        related = yield from self._related(known)
        for batch in batched(known.source.entries):
            for entry in batch:
                for own_id in (entry.id, *entry.aliases):
                    if own_id in related:
                        related[own_id].append(entry)
            yield
        tracer = self._context.tracers[provider.name]
        models = [tracer.trace(own_id, related[own_id]).model for own_id in [*related][:_MAX_TRACES]]
        return ProviderPart(
            name=provider.name,
            state=known.state,
            error=known.error,
            is_known=known.source.is_known,
            had_it=self._name in known.expired,
            dropped=known.dropped,
            models=[model for model in models if model.is_listed or model.is_declared or model.ids],
            accepts=self._accepts(known),
        )

    def _related(self, known: ProviderList) -> Cooperative[dict[str, list[Entry]]]:
        """The own ids that a name can mean at a provider: of models before any rule, and of its offers."""
        provider = known.source.provider
        ids = {*Naming(provider, self._config).own_ids(self._name), self._name}
        related: dict[str, list[Entry]] = {}
        declared = [Entry(str(each["id"])) for each in provider.models]
        for entries in batched(chain(known.source.entries, declared)):
            for entry in entries:
                if entry.id in ids or entry.written == self._name:
                    related.setdefault(entry.id, [])
                if provider.list_aliases:
                    related |= {alias: [] for alias in entry.aliases if alias in ids}
            yield
        form = self._context.form
        for offers in batched(known.source.offers):
            for offer in offers:
                if offer.id == self._name or (self._is_listed and form(offer.id) == form(self._name)):
                    related.setdefault(offer.entry.id, [])
            yield
        return related

    def _accepts(self, known: ProviderList) -> Reason | None:
        """The reason why a provider accepts the name without listing it."""
        provider = known.source.provider
        found = next((each for each in self._names.accepted(self._name) if each.offer.provider == provider.name), None)
        if found is None:
            return None
        if found.behind:
            return Reason("aliases", "keeps", f"accepts it as another name of {found.behind[0].entry.id!r}")
        index = next((n for n, pattern in enumerate(provider.accept) if matcher([pattern])(found.own_id)), 0)
        text = f"accepts it without listing it: accept {provider.accept[index]!r}"
        return self._reasons.of_provider("accept", "keeps", text, provider.name, "accept", index)

    # -- access and fields -------------------------------------------------------------------------------------

    def _access(self) -> AccessPart | None:
        if self._caller.key is None:
            return None
        offers = [*self._offers, *(each.offer for each in self._accepted)]
        # Of a model that no provider has, only the id is known.
        return access_part(self._caller, offers, self._name if self._virtual or not offers else "", self._reasons)

    def _facts(self, model: Model, decisions: Sequence[Decided]) -> Cooperative[list[Fact]]:
        """Explain the fields with the offers that are merged: those that are allowed, of the first target."""
        first = model.offers[0]
        merged = [each.offer for each in decisions if each.part.is_allowed and each.part.target == target_of(first)]
        owner = yield from self._owner(first)
        withheld = {each.source.provider.name: each.withheld for each in self._context.lists.providers}
        return Facts(self._config, withheld, self._reasons, self._context.now).of(model, merged, owner)

    def _owner(self, offer: Offer) -> Cooperative[Reason]:
        """Why a model has its owner: a name that is not listed has that of the model that it refers to."""
        accepted = next((each for each in self._accepted if each.offer.provider == offer.provider), None)
        if accepted and not accepted.behind:
            return self._context.owner_of_unlisted(accepted.offer)
        listed = accepted.behind[0] if accepted else offer.alias_of or offer
        trace = yield from self._context.trace(offer.provider, listed.entry.id)
        return next(reason for reason in trace.model.reasons if reason.effect == "sets")
