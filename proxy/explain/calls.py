"""Which offers serve a call of a model, in which order, and why the others do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from proxy.calls import API_NAMES, APIS, Api
from proxy.catalog import Model, Offer
from proxy.catalog.values import TargetOffer
from proxy.config import Config
from proxy.errors import ModelNotCallable
from proxy.explain.access import Caller
from proxy.explain.reasons import Reasons
from proxy.explain.values import CallPart, Calls, Reason
from proxy.inference.permitted import permitted, refuser
from proxy.inference.request.body import NoBody
from proxy.inference.routing import Candidate, candidates
from proxy.inference.strategies import Strategies


class CallStates(Protocol):
    """The state of the calls to providers."""

    @property
    def new_offers(self) -> Mapping[str, Collection[str]]:
        """Provider -> own ids that its first list did not contain."""

    def load(self, provider: str) -> int:
        """Return the number of calls in progress and in the queue."""

    def is_full(self, provider: str) -> bool:
        """Return whether a provider is at its concurrency limit."""

    def rejection(self, provider: str, key: str, model: str) -> str:
        """Return why a call is not sent at the moment, "" if it is. `model`: the provider's own id."""


class NoCalls:
    """The states before the first call."""

    def __init__(self, new_offers: Mapping[str, Collection[str]] | None = None) -> None:
        self.new_offers: Mapping[str, Collection[str]] = new_offers or {}

    def load(self, provider: str) -> int:
        return 0

    def is_full(self, provider: str) -> bool:
        return False

    def rejection(self, provider: str, key: str, model: str) -> str:
        return ""


class CallExplainer:
    """Explains the calls of models."""

    def __init__(self, config: Config, states: CallStates, reasons: Reasons) -> None:
        self._config = config
        self._states = states
        self._reasons = reasons
        self._providers = {provider.name: provider for provider in config.providers}
        self._targets = {provider.name: target for provider in config.providers if (target := provider.target)}
        self._strategies = Strategies(config, states.load)
        self._failover_to = {name: self._providers[name].failover_to for name in self._targets}

    def of(self, model: Model, caller: Caller) -> Calls:
        """Explain the calls of a model that a caller can find."""
        strategy, reason = self._strategy(model)
        try:
            ordered = self._candidates(model)
        except ModelNotCallable as error:
            parts = [self._unused(offer) for offer in model.offers]
            return Calls(False, strategy, parts, [Reason("calls", "stops", error.message)])
        attempts = sorted(permitted(ordered, self._failover_to, self._states.new_offers), key=self._is_last)
        parts = [self._attempt(attempt, n, attempts, caller) for n, attempt in enumerate(attempts, 1)]
        parts += [self._not_permitted(each, ordered) for each in ordered if each not in attempts]
        used = [candidate.offer for candidate in ordered]
        parts += [self._unused(offer) for offer in model.offers if offer not in used]
        return Calls(caller.may_call, strategy, parts, [*reason, *self._apis(model)])

    def _candidates(self, model: Model) -> Sequence[Candidate]:
        """Raises ModelNotCallable."""

        def preview(model_id: str, batch: Sequence[Candidate]) -> Sequence[Candidate]:
            return self._strategies.ordered(None, model_id, batch)

        return candidates(lambda name: model, NoBody(model.id), self._targets, (), self._api(model), order=preview)

    def _api(self, model: Model) -> Api:
        """The first API through which a model can be called."""
        targets = [target for offer in model.offers if (target := self._targets.get(offer.provider))]
        return next((api for api in APIS if any(api in target.speaks for target in targets)), APIS[0])

    def _is_last(self, candidate: Candidate) -> bool:
        name = candidate.offer.provider
        return self._states.is_full(name) and self._providers[name].failover

    def _strategy(self, model: Model) -> tuple[str, list[Reason]]:
        virtual = next((each for each in self._config.models if each.id == model.id), None)
        if virtual:
            path = ("models", virtual.id, "strategy")
            strategy = virtual.strategy
        else:
            number = self._strategies.rule_of(model.id)
            strategy = "order" if number is None else self._config.routing[number].strategy
            path = () if number is None else ("routing", number)  # type: ignore[assignment]
        text = {
            "order": "in the order of the file",
            "weighted": "each conversation stays at one provider, chosen by weight; below in the order of the file",
            "least_busy": "the fewest calls in progress relative to the weight first",
        }[strategy]
        return strategy, [self._reasons.of("strategy", "sets", f"strategy {strategy}: {text}", *path)]

    def _apis(self, model: Model) -> list[Reason]:
        """A note if not all offers speak the same APIs."""
        speaks = {self._targets[offer.provider].speaks for offer in model.offers if offer.provider in self._targets}
        if len(speaks) < 2:
            return []
        return [Reason("speaks", "changes", f"for the {API_NAMES[self._api(model)]}; offers differ in `speaks`")]

    def _attempt(self, candidate: Candidate, position: int, attempts: Sequence[Candidate], caller: Caller) -> CallPart:
        name, own_id = candidate.offer.provider, candidate.offer.entry.id
        found = []
        rejection = self._states.rejection(name, caller.key or "", own_id)
        if rejection:
            found.append(Reason("circuit", "stops", f"skipped at the moment: {rejection}"))
        if self._states.is_full(name):
            text = "at its concurrency limit (max_in_flight): calls wait in its queue"
            found.append(self._reasons.of_provider("max_in_flight", "stops", text, name, "max_in_flight"))
        if not self._providers[name].failover and position < len(attempts):
            text = "failover is false: calls that fail here are not sent to the next one"
            found.append(self._reasons.of_provider("failover", "stops", text, name, "failover"))
        return CallPart(name, self._targets[name].called(own_id), position, bool(rejection), found)

    def _not_permitted(self, candidate: Candidate, ordered: Sequence[Candidate]) -> CallPart:
        refuses = refuser(ordered, self._failover_to, self._states.new_offers)
        found = []
        for before in ordered[: ordered.index(candidate)]:
            refusal = refuses(candidate, before)
            if refusal:
                name = before.offer.provider
                to = self._failover_to[name]
                why = _WHY_NOT[refusal].format(provider=candidate.offer.provider)
                text = f"no failover to it: failover_to of {name} is {to}, and {why}"
                found.append(self._reasons.of_provider("failover_to", "stops", text, name, "failover_to"))
                break
        called = self._targets[candidate.offer.provider].called(candidate.offer.entry.id)
        return CallPart(candidate.offer.provider, called, 0, False, found)

    def _unused(self, offer: Offer) -> CallPart:
        name = offer.provider
        if name not in self._targets:
            text = "list-only: the models of this provider cannot be called"
            reason = self._reasons.of_provider("call", "stops", text, name, "call")
        else:
            text = f"speaks only {', '.join(self._targets[name].speaks)}"
            reason = self._reasons.of_provider("speaks", "stops", text, name, "speaks")
        return CallPart(name, offer.entry.id, 0, False, [reason])


_WHY_NOT = {
    "new offer": "the first list of {provider} did not contain the model",
    "other owner": "{provider} lists it with another owner",
}


def target_of(offer: Offer) -> str:
    """The target of a virtual model that an offer belongs to, "" for any other model."""
    return offer.target if isinstance(offer, TargetOffer) else ""
